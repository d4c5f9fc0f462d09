//! The messages on `control.sock`, and their encoding.
//!
//! A message is one line of words separated by single spaces. If its last word is `*N`, a body of
//! N bytes follows the line. Names, rooms, ids and numbers contain no space and never begin with
//! `*`, so nothing is escaped. Printed lines do not travel: both sides read them from the
//! history, and the server sends how far it reaches.
#[allow(clippy::module_inception)]
pub mod message;
pub mod notice;
pub mod request;
pub mod response;
pub mod word_parser;
