//! The port mapping that `--nat` asks the default gateway for, so that peers of other networks can
//! dial this program behind a NAT.
pub mod announcements;
pub mod gateway;
pub mod mapper;
pub mod mapping;
pub mod session;
#[cfg(feature = "upnp")]
pub mod upnp;
