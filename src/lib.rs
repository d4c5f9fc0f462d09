//! Serverless chat for terminals and shell scripts on a LAN.
//!
//! # The way of one line, from keyboard to the other screen
//!
//! 1. [`shell::keyboard`], a thread of its own, reads stdin and hands a [`base::lines::Lines`] to the loop.
//! 2. [`shell::event_loop`] makes an [`base::event::Input`] of it, and [`node::node::Node::handle`] takes it in.
//! 3. [`node::logs`] gives the line the next number of this author's log; [`base::batch::Batch::sign`] makes a signed batch of it.
//! 4. The core puts `Save`, then a `Notice` (the own echo), then a `Write` for each link into its tray of
//!    [`base::event::Output`]s. [`node::cursors`] says to whom it goes,
//!    [`node::link`] frames and seals it with [`wire::frame`] and [`wire::noise`].
//! 5. The loop carries the outputs out in order: [`shell::store`] appends the batch to the room's segment, [`ui::text`] formats the
//!    echo for [`shell::printer`], [`shell::streams`] writes to the sockets.
//! 6. On the other box the bytes come in as an `Input`, are opened, checked against the author's key and the log's last hash,
//!    saved, shown; and a `have` goes back: the receipt.
//!
//! # The house
//!
//! Five floors; arrows go down only: `main → shell → { node, ui } → wire → base`, and `ui` sees `base` alone. `tests/architecture.rs` guards this.
//! [`node`] and [`wire`] are *sans-IO*: no clock, socket, file, thread or random source; time, bytes and commands come in, and
//! what is to be done goes out. So the simulator in `tests/sim` runs the same code as the program.
#![forbid(unsafe_code)]

pub mod base;
pub mod node;
pub mod shell;
pub mod ui;
pub mod wire;
