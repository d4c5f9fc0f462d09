//! What hostile peers send, claim and withhold.
mod beacons;
mod bounds;
mod bytes;
mod carriers;
mod claims;
mod dials;
mod findings;
mod introductions;
pub mod made_up;
pub mod messages;
mod peers;
pub mod presence;
mod receipts;
mod relays;
mod streams;
mod tables;
mod unstorable;
mod work;
