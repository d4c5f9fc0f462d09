#![doc = include_str!("ARCHITECTURE.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod base;
pub mod node;
pub mod shell;
pub mod ui;
pub mod wire;

pub use crate::base::batch::{Batch, LocalFields, LogId};
pub use crate::base::event::{
    Chat, Command, Input, KnownPeer, LoadReply, LoadRequest, LoadedLog, LogCursor, Notice, Output,
    Peer, Position, StreamId,
};
pub use crate::base::identity::{Identity, NetworkTag, PeerId};
pub use crate::base::interface::{FoundVia, Interface, InterfaceAddress};
pub use crate::base::lines::Lines;
pub use crate::base::name::{FolderName, Nick, PeerSelector, Room, Target};
pub use crate::base::range::{LogRange, LogRanges};
pub use crate::base::time::{Now, ReaderStart, Time, WallTime};
pub use crate::node::context::{NodeConfig, ResumeState};
pub use crate::node::node::Node;
pub use crate::node::save_barrier::SaveBarrier;
