//! Hears that a gateway has restarted, or has another address outside. It then sends a datagram to
//! all hosts (RFC 6886, 3.2.1; RFC 6887, 14.1), so that they map their ports again.
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::shell::os::thread;
use crate::wire::pcp::GATEWAY_PORT;

/// The group of all hosts, and the UDP port at which they hear announcements.
const ANNOUNCED_AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 5350);
/// Least time between two announcements that count. Others on the LAN can forge them.
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(1);

/// Listens to one gateway, in a helper thread, until it is dropped.
pub struct Announcements {
    socket: UdpSocket,
    is_over: Arc<AtomicBool>,
}

impl Announcements {
    /// Sends to `heard` when this gateway announces something. What it says is not read: it is
    /// asked instead.
    ///
    /// # Errors
    /// The system refuses the socket or the thread.
    pub fn listen(gateway: Ipv4Addr, heard: Sender<()>) -> io::Result<Announcements> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // All programs of a host that map ports listen there.
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(ANNOUNCED_AT))?;
        // The kernel drops datagrams of others.
        socket.connect(&SockAddr::from(SocketAddrV4::new(gateway, GATEWAY_PORT)))?;
        let socket = UdpSocket::from(socket);
        let is_over = Arc::new(AtomicBool::new(false));
        let (receiver, is_thread_over) = (socket.try_clone()?, Arc::clone(&is_over));
        let work = move || {
            while receiver.recv(&mut [0; 1]).is_ok() && !is_thread_over.load(Ordering::Acquire) {
                let _ = heard.try_send(());
                std::thread::sleep(ANNOUNCEMENT_INTERVAL);
            }
        };
        thread::spawn_helper("nat-announcements", Box::new(work))?;
        Ok(Announcements { socket, is_over })
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Ends the wait of the thread.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }
}
