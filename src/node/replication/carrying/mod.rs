//! Carrying: direct messages that a peer keeps for others.
pub mod carriers;
pub mod paused_requests;
pub mod recipient_requests;
pub mod relayed_offers;
