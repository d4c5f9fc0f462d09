//! Grenache's phonebook: what is requested of a Grape over HTTP, and what it answers. A Grape maps
//! the name of a service to addresses. It proves nothing.
use std::net::SocketAddr;

use serde::Deserialize;

use crate::base::batch::batch_content::write_json_string;
use crate::base::domain;
use crate::base::identity::Hash;
use crate::base::name::Room;
use crate::base::text::rfc4648::HEXLOWER;
use crate::wire::message::parse_json;

/// Maximum number of addresses that are read from one answer. Further ones are ignored.
pub const GRAPE_ADDRESSES_MAX: usize = 32;
/// What a Grape answers to an announcement if it knows no other Grape, or has lost the others for a
/// while. The announcement is found all the same.
const NO_NODES: &str = "No nodes to query";

/// The name of the service for a room. In a closed network, whose key for beacons is given, only
/// members can compute it.
pub fn room_service(room: &Room, beacon_key: Option<&[u8; 32]>) -> String {
    let name = room.as_str().trim_start_matches('#');
    match beacon_key {
        None => format!("p2pchat:{name}"),
        Some(key) => {
            let hash = Hash::of(&[domain::GRENACHE_ROOM, key, name.as_bytes()]);
            format!("p2pchat:{}", HEXLOWER.encode(&hash.0))
        }
    }
}

/// The body of a request that announces a service at a TCP port.
pub fn announcement(service: &str, port: u16) -> Vec<u8> {
    let mut out = b"{\"rid\":\"p2pchat\",\"data\":[".to_vec();
    write_json_string(&mut out, service);
    out.extend_from_slice(format!(",{port}]}}").as_bytes());
    out
}

/// The body of a request for the addresses of a service.
pub fn lookup(service: &str) -> Vec<u8> {
    let mut out = b"{\"rid\":\"p2pchat\",\"data\":".to_vec();
    write_json_string(&mut out, service);
    out.push(b'}');
    out
}

/// The HTTP request with this body. `verb`: `announce` or `lookup`. `host`: the Grape.
pub fn request(host: &str, verb: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /{verb} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What a Grape answers: the number of Grapes that stored an announcement, the addresses that it
/// found, or an error.
#[derive(Deserialize)]
#[serde(untagged)]
enum GrapeAnswer {
    Stored(u64),
    Found(Vec<String>),
    Error(String),
}

/// Reads the answer to an announcement: the number of Grapes that stored it.
///
/// # Errors
/// The Grape refuses: its reason, or that the answer is not one of a Grape.
pub fn parse_announced(answer: &[u8]) -> Result<u64, String> {
    match parse_json(answer) {
        Some(GrapeAnswer::Stored(count)) => Ok(count),
        Some(GrapeAnswer::Error(error)) if error == NO_NODES => Ok(0),
        other => Err(reason(other)),
    }
}

/// Reads the answer to a lookup. What is no address is left out.
///
/// # Errors
/// The Grape refuses: its reason, or that the answer is not one of a Grape.
pub fn parse_found(answer: &[u8]) -> Result<Vec<SocketAddr>, String> {
    match parse_json(answer) {
        Some(GrapeAnswer::Found(texts)) => {
            let addresses = texts.iter().filter_map(|text| text.parse().ok());
            let usable = addresses
                .filter(|it: &SocketAddr| it.port() != 0 && !it.ip().is_unspecified())
                .take(GRAPE_ADDRESSES_MAX);
            Ok(usable.collect())
        }
        Some(GrapeAnswer::Error(error)) if error == NO_NODES => Ok(Vec::new()),
        other => Err(reason(other)),
    }
}

/// Why an answer is of no use, as a part of a sentence.
fn reason(answer: Option<GrapeAnswer>) -> String {
    match answer {
        Some(GrapeAnswer::Error(error)) => {
            format!(
                "the Grape answers {:?}",
                error.chars().take(64).collect::<String>()
            )
        }
        _ => "no Grape answers there".to_owned(),
    }
}
