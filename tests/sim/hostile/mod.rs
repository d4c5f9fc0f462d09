//! What hostile peers send, claim and withhold.
mod beacons;
pub mod bounds;
mod bytes;
mod carriers;
mod claims;
mod dials;
mod findings;
mod introductions;
pub mod messages;
mod peers;
pub mod presence;
mod relays;
mod streams;
mod tables;
mod unstorable;
mod work;
