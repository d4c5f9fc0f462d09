//! Grenache: a phonebook, the Grapes, and requests over WebSocket.
pub mod grape;
pub mod rpc;
pub mod sha1;
pub mod websocket;
pub mod websocket_frame;
