//! People of foreign networks: what they can make a program show, send and remember.
mod go_room;
#[cfg(feature = "grenache")]
mod grenache_room;
#[cfg(feature = "grenache")]
mod grenache_services;
#[cfg(feature = "grenache")]
mod grenache_support;
mod lsnp;
mod lsnp_floods;
#[cfg(feature = "grenache")]
mod services;
mod support;
