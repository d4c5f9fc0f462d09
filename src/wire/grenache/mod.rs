//! Grenache: a phonebook, the Grapes, and requests over WebSocket.
pub mod grape;
