//! The connection code of this program.
use std::io;
use std::net::SocketAddr;

use crate::base::identity::PeerId;
use crate::shell::net::interfaces;
use crate::wire::code::ConnectionCode;

/// The connection code of `own`: the address at the gateway that a NAT maps to us, if there is one,
/// and all addresses of the usable interfaces except loopback, each with `port`. `allowed_names`:
/// see [`interfaces::list_usable`].
///
/// # Errors
/// The interfaces cannot be listed.
pub fn connection_code(
    own: PeerId,
    allowed_names: &[String],
    port: u16,
    mapped: Option<SocketAddr>,
) -> io::Result<ConnectionCode> {
    let usable = interfaces::list_usable(allowed_names)?;
    let addresses = usable
        .list
        .iter()
        .filter(|interface| !interface.is_loopback)
        .flat_map(|interface| &interface.addresses)
        .map(|address| (address.ip, port).into());
    let addresses: Vec<SocketAddr> = mapped.into_iter().chain(addresses).collect();
    Ok(ConnectionCode::new(own, &addresses))
}
