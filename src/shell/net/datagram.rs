//! Sends and receives single datagrams with their ancillary data.
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrLike, SockaddrStorage,
    recvmsg, sendmsg,
};
use socket2::Socket;

/// Sends a datagram to `to`, without waiting.
///
/// # Errors
/// The kernel refuses the datagram.
pub fn send_datagram<A: SockaddrLike>(
    socket: &Socket,
    bytes: &[u8],
    control: &[ControlMessage],
    to: &A,
) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(bytes)];
    loop {
        match sendmsg(socket.as_raw_fd(), &parts, control, flags, Some(to)) {
            Err(Errno::EINTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Sends a datagram from our address `from` over the interface with this index, without waiting.
/// The routes of the host do not matter.
///
/// # Errors
/// The kernel refuses the datagram.
pub fn send_datagram_v4(
    socket: &Socket,
    interface: u32,
    from: Ipv4Addr,
    to: SocketAddrV4,
    bytes: &[u8],
) -> io::Result<()> {
    let packet_info = libc::in_pktinfo {
        ipi_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
        ipi_spec_dst: in_addr(from),
        ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
    };
    let control = [ControlMessage::Ipv4PacketInfo(&packet_info)];
    send_datagram(socket, bytes, &control, &SockaddrIn::from(to))
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

/// What one read of a socket returned.
pub struct RawDatagram {
    /// Number of bytes read.
    pub length: usize,
    /// Whether the datagram was longer than the buffer.
    pub is_truncated: bool,
    /// Index of the interface that received the datagram. 0: unknown, because `IP_PKTINFO` is off
    /// for this socket.
    pub interface: u32,
    /// The sender's address.
    pub source: Option<SocketAddr>,
}

/// Reads the next datagram into `buffer`, without waiting. `control`: a buffer for the
/// ancillary data.
///
/// # Errors
/// `EAGAIN`: no datagram waits. Any other error: the socket failed.
pub fn receive_datagram(
    socket: &Socket,
    buffer: &mut [u8],
    control: &mut [u8],
) -> nix::Result<RawDatagram> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let mut interface = 0;
    for part in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = part {
            interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
        }
    }
    let source = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
    });
    Ok(RawDatagram {
        length: message.bytes,
        is_truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
        interface,
        source,
    })
}

/// A buffer for the ancillary data of [`receive_datagram`].
pub fn control_buffer() -> Vec<u8> {
    nix::cmsg_space!(libc::in_pktinfo)
}
