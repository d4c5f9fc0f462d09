//! What only a person at a terminal sees of the transcript: day lines, highlights, colours.
pub mod day_line;
pub mod mention;
pub mod palette;
