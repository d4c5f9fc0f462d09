//! The beacon of p2pchat in Go, another program with the same name, group and port. Its beacons are
//! recognised, so that a user learns why that program's people are not here.
use serde::Deserialize;

use crate::base::name::Nick;
use crate::wire::message::parse_json;

/// Longest beacon of p2pchat in Go, in bytes.
const GO_BEACON_MAX_BYTES: usize = 1024;

/// A beacon of p2pchat in Go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoBeacon {
    /// The name that the sender claims.
    pub nick: Nick,
}

/// The fields without which a datagram is none of these beacons. Our own ones have neither an
/// address nor a time.
#[derive(Deserialize)]
struct GoBeaconFields {
    username: String,
    #[serde(rename = "peer_id")]
    _peer_id: String,
    #[serde(rename = "address")]
    _address: String,
    #[serde(rename = "timestamp")]
    _timestamp: String,
}

impl GoBeacon {
    /// Parses a datagram. Returns `None` if it is no beacon of p2pchat in Go.
    pub fn parse(bytes: &[u8]) -> Option<GoBeacon> {
        if bytes.len() > GO_BEACON_MAX_BYTES {
            return None;
        }
        let fields: GoBeaconFields = parse_json(bytes)?;
        Some(GoBeacon {
            nick: Nick::new_or_placeholder(&fields.username),
        })
    }
}
