//! The messages on `control.sock`, and their encoding.
//!
//! A message is one line of words separated by single spaces. If its last word is `*N`, a body of
//! N bytes follows the line. Names, rooms, ids and numbers contain no space and never begin with
//! `*`, so nothing is escaped. The server does not send chat lines. It sends the position at which
//! each folder ends, and the client reads the lines from the history.
#[allow(clippy::module_inception)]
pub mod message;
pub mod notice;
pub mod request;
pub mod response;
pub mod word_parser;
