//! Segments, the files of a folder: their names, their lines, reading and appending.
pub mod active_segment;
pub mod frontier;
pub mod rewrite;
pub mod segment_file;
pub mod segment_reader;
