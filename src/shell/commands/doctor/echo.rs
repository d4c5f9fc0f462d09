//! Sends ICMP echo requests (RFC 792) of a given size, to find a path that loses large packets.
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::shell::state::identity_file::random_u64;

/// Bytes of the headers of IPv4 and ICMP.
const HEADERS_BYTES: usize = 28;
/// Number of requests of one size.
const REQUESTS: usize = 2;
/// How long to wait for each answer.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Longest packet that is sent.
pub const PACKET_MAX_BYTES: usize = 9000;
const ECHO_REQUEST: u8 = 8;

/// Whether this host answers an echo request of this many bytes, headers included.
///
/// # Errors
/// The system does not allow this user to send echo requests, or no route leads there.
pub fn is_echoed(ip: Ipv4Addr, packet_bytes: usize) -> io::Result<bool> {
    let open = |kind| Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4));
    let mut socket = open(Type::DGRAM).or_else(|_| open(Type::RAW))?;
    socket.connect(&SocketAddr::from((ip, 0)).into())?;
    let token = random_u64().map_err(|failure| io::Error::other(failure.message))?;
    let token = token.to_be_bytes();
    let packet_bytes = packet_bytes.min(PACKET_MAX_BYTES);
    let mut request = vec![0; packet_bytes.saturating_sub(HEADERS_BYTES - 8).max(16)];
    request[0] = ECHO_REQUEST;
    request[8..16].copy_from_slice(&token);
    let sum = checksum(&request).to_be_bytes();
    request[2..4].copy_from_slice(&sum);
    let mut answer = vec![0; PACKET_MAX_BYTES];
    for _ in 0..REQUESTS {
        socket.send(&request)?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            // The socket may also receive other messages of ICMP.
            let Ok(length) = socket.read(&mut answer) else {
                break;
            };
            let answer = answer.get(..length).unwrap_or_default();
            let is_whole = length >= request.len();
            if is_whole && answer.windows(token.len()).any(|part| part == token) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The checksum of the internet (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let words = words.map(|word| {
        let low = word.get(1).copied().unwrap_or(0);
        u32::from(word[0]) << 8 | u32::from(low)
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
