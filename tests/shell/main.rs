//! Parts of the shell without a running program: options, store, history, state directory, standard
//! streams and sockets.

#[path = "../support/batches/mod.rs"]
mod batches;
#[path = "../support/documents/mod.rs"]
mod documents;
#[path = "../support/folders/mod.rs"]
mod folders;
#[path = "../support/hosts/mod.rs"]
mod hosts;
#[path = "../support/sentences/mod.rs"]
mod sentences;
#[path = "../support/vector_files/mod.rs"]
mod vector_files;

mod clock;
mod config;
#[cfg(feature = "dht")]
mod dht;
mod exit_policy;
#[cfg(feature = "finders")]
mod finders;
mod folder_audits;
mod frontend;
#[cfg(feature = "grenache")]
mod grapes;
mod history;
#[cfg(any(feature = "grenache", feature = "upnp"))]
mod http;
mod interface_watch;
mod missed_lines;
mod multicast;
mod path_mtu;
mod pending;
mod resolver;
#[cfg(feature = "scan")]
mod scan;
mod segment_vectors;
mod state;
mod stdio;
mod store;
mod tcp;
mod transcript;
mod typed_lines;
mod vectors;
