//! Guests: people of foreign networks, which speak in the clear. Each network has a room. What our
//! user says there goes to the guests as well; what guests say is shown and not stored, because
//! nobody signed it.
pub mod go_room;
pub mod grenache;
pub mod grenache_room;
#[allow(clippy::module_inception)]
pub mod guests;
pub mod lsnp;
pub mod own_lines;
pub mod rpc_destinations;
pub mod rpc_stream;
pub mod source_limits;
pub mod visits;
