//! What hostile peers send, claim and withhold.
mod bytes;
mod claims;
mod peers;
mod relays;
