//! The sources that the event loop polls, except the waker and the signals. Defines their tokens.
//! Also creates the listener, the IPC server and the multicast sockets.
use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use mio::{Poll, Token};

use crate::base::identity::PeerId;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::ipc::server::Server;
use crate::shell::net::lsnp::LsnpSockets;
use crate::shell::net::multicast::Multicast;
use crate::shell::net::tcp::TcpStreams;

/// The token of the TCP listener. Tokens 0, 1, 5 and 6 are defined in `os::poll`.
pub const LISTENER_TOKEN: Token = Token(2);
/// The token of the netlink socket, which reports changes of the interfaces.
pub const NETLINK_TOKEN: Token = Token(3);
/// The first of the two tokens of the sockets of LSNP.
const LSNP_TOKEN: Token = Token(8);
const IPC_TOKENS: Range<usize> = 16..64;
const MULTICAST_TOKENS: Range<usize> = 64..1024;
const FIRST_STREAM_TOKEN: usize = 1024;

/// Listens for TCP connections on this port. With port 0, the system chooses a free port.
///
/// # Errors
/// `AddrInUse`: the port is taken. `PermissionDenied`: this user may not use the port.
pub fn listen_tcp(port: u16, poll: &Poll) -> io::Result<TcpStreams> {
    TcpStreams::listen(port, poll.registry(), LISTENER_TOKEN, FIRST_STREAM_TOKEN)
}

/// Listens on the port that the user gave. Without one, listens on the preferred one, or on any
/// free port if that is taken.
///
/// # Errors
/// Exit status 1: the port is taken or not allowed, or the system provides no socket.
pub fn open_listener(
    port: Option<u16>,
    preferred: u16,
    poll: &Poll,
) -> Result<TcpStreams, Failure> {
    let is_taken = |error: &io::Error| error.kind() == ErrorKind::AddrInUse;
    let opened = match port {
        Some(port) => listen_tcp(port, poll),
        None => match listen_tcp(preferred, poll) {
            Err(error) if is_taken(&error) => listen_tcp(0, poll),
            opened => opened,
        },
    };
    opened.map_err(|error| match port {
        Some(port) if is_taken(&error) => Failure::new(
            ExitStatus::GeneralError,
            format!("port {port} is taken: choose another with -p, or -p 0 for any free one"),
        ),
        Some(port) if error.kind() == ErrorKind::PermissionDenied => Failure::new(
            ExitStatus::GeneralError,
            format!(
                "port {port} is only for root: choose one from 1024 up with -p, or -p 0 for any \
                 free one"
            ),
        ),
        _ => Failure::io("no TCP port can be opened", &error),
    })
}

/// Opens the server of `control.sock` in the directory. Without a directory, the server has no
/// socket. For `own_id` and `wake`, see [`Server::open`].
///
/// # Errors
/// As [`Server::open`].
pub fn open_ipc_server(
    directory: Option<&Path>,
    poll: &Poll,
    own_id: PeerId,
    wake: Arc<dyn Fn() + Send + Sync>,
) -> Result<Server, Failure> {
    Server::open(directory, poll.registry(), IPC_TOKENS, own_id, wake)
}

/// Prepares to send and receive beacons in this multicast group. `None`: the run uses no beacons.
pub fn create_multicast(group: Option<SocketAddrV4>) -> Multicast {
    Multicast::new(group, MULTICAST_TOKENS)
}

/// Opens the sockets of LSNP.
///
/// # Errors
/// No port is free, or the system does not provide a socket.
pub fn open_lsnp(poll: &Poll, seed: u16) -> io::Result<LsnpSockets> {
    LsnpSockets::open(poll.registry(), LSNP_TOKEN, seed)
}

/// Whether this is the token of a TCP stream.
pub fn is_stream(token: Token) -> bool {
    token.0 >= FIRST_STREAM_TOKEN
}
