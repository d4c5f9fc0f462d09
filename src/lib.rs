#![doc = include_str!("ARCHITECTURE.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod base;
pub mod node;
pub mod shell;
pub mod ui;
pub mod wire;

pub use crate::base::batch::batch::{Batch, LocalFields, LogId};
pub use crate::base::event::command::Command;
pub use crate::base::event::input::Input;
pub use crate::base::event::load::{LoadReply, LoadRequest, LoadedLog, LogCursor, Position};
pub use crate::base::event::notice::{Chat, Notice};
pub use crate::base::event::output::{KnownPeer, Output};
pub use crate::base::event::peer::Peer;
pub use crate::base::event::stream_id::StreamId;
pub use crate::base::identity::{Identity, NetworkTag, PeerId};
pub use crate::base::interface::{FoundVia, Interface, InterfaceAddress};
pub use crate::base::lines::Lines;
pub use crate::base::name::{FolderName, Nick, PeerSelector, Room, Target};
pub use crate::base::range::{LogRange, LogRanges};
pub use crate::base::time::{Now, ReaderStart, Time, WallTime};
pub use crate::node::config::{NodeConfig, ResumeState};
pub use crate::node::node::Node;
pub use crate::node::save_barrier::SaveBarrier;
