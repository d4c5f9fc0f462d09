//! The two UDP sockets of LSNP: one on the port of discovery, which all programs of a host share,
//! and one on a port of our own, from which everything is sent.
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::base::guests::lsnp::LsnpOutput;
use crate::base::interface::Interface;
use crate::shell::net::datagram::{control_buffer, receive_datagram, send_datagram_v4};
use crate::shell::net::interfaces::{addresses_v4, broadcast_address};
use crate::wire::lsnp::LSNP_DISCOVERY_PORT;

/// The ports of which one is ours. LSNP's users expect each other there.
const OWN_PORTS: Range<u16> = 8_000..10_000;
/// Maximum number of datagrams read in a turn. A flood of them thus does not delay the links.
const READS_PER_TURN_MAX: usize = 64;

/// A datagram that was read. Its content is the first `length` bytes of the buffer.
pub struct ReceivedLsnp {
    /// Index of the interface that received the datagram.
    pub interface: u32,
    /// Address of the sender.
    pub source: SocketAddrV4,
    /// Whether the datagram came to the port of discovery.
    pub is_to_all: bool,
    /// Length of the datagram in bytes.
    pub length: usize,
}

struct Listener {
    socket: Socket,
    /// Whether the socket may hold datagrams. A read clears this flag when it finds none.
    is_readable: bool,
}

impl Listener {
    fn open(port: u16, registry: &Registry, token: Token) -> io::Result<Listener> {
        let socket = Socket::new(
            Domain::IPV4,
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        socket.set_broadcast(true)?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        if port == LSNP_DISCOVERY_PORT {
            socket.set_reuse_address(true)?;
        }
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        socket.bind(&SockAddr::from(address))?;
        let descriptor = socket.as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Listener {
            socket,
            is_readable: false,
        })
    }
}

/// The sockets of LSNP.
pub struct LsnpSockets {
    own: Listener,
    own_port: u16,
    /// `None`: another program holds the port alone.
    discovery: Option<Listener>,
    first_token: Token,
    interfaces: Vec<Interface>,
    control_buffer: Vec<u8>,
    reads_left: usize,
}

impl LsnpSockets {
    /// Opens the sockets. `seed` chooses the first port to try. The poll reports them under two
    /// tokens from `first_token` on.
    ///
    /// # Errors
    /// No port is free, or the system does not provide a socket.
    pub fn open(registry: &Registry, first_token: Token, seed: u16) -> io::Result<LsnpSockets> {
        let count = OWN_PORTS.len();
        let mut own = Err(ErrorKind::AddrInUse.into());
        let mut own_port = 0;
        for i in 0..count {
            let offset = (usize::from(seed) + i) % count;
            own_port = OWN_PORTS.start + u16::try_from(offset).unwrap_or(0);
            own = Listener::open(own_port, registry, first_token);
            if own.as_ref().err().map(io::Error::kind) != Some(ErrorKind::AddrInUse) {
                break;
            }
        }
        let discovery_token = Token(first_token.0 + 1);
        Ok(LsnpSockets {
            own: own?,
            own_port,
            discovery: Listener::open(LSNP_DISCOVERY_PORT, registry, discovery_token).ok(),
            first_token,
            interfaces: Vec::new(),
            control_buffer: control_buffer(),
            reads_left: READS_PER_TURN_MAX,
        })
    }

    /// The port on which we get what others send to us alone.
    pub fn own_port(&self) -> u16 {
        self.own_port
    }

    /// Whether discoveries of others arrive.
    pub fn hears_discoveries(&self) -> bool {
        self.discovery.is_some()
    }

    /// Sets the interfaces on which datagrams are sent.
    pub fn set_interfaces(&mut self, interfaces: Vec<Interface>) {
        self.interfaces = interfaces;
    }

    /// Whether the poll reports one of the sockets under this token.
    pub fn owns_token(&self, token: Token) -> bool {
        (self.first_token.0..self.first_token.0 + 2).contains(&token.0)
    }

    /// Records a poll event for `token`.
    pub fn mark_readable(&mut self, token: Token) {
        match &mut self.discovery {
            Some(discovery) if token != self.first_token => discovery.is_readable = true,
            _ => self.own.is_readable = true,
        }
    }

    /// Whether [`LsnpSockets::receive`] has sockets to read. If so, the event loop must not sleep.
    pub fn has_readable(&self) -> bool {
        let discovery = self.discovery.as_ref();
        self.own.is_readable || discovery.is_some_and(|listener| listener.is_readable)
    }

    /// Allows [`LsnpSockets::receive`] another 64 reads.
    pub fn begin_turn(&mut self) {
        self.reads_left = READS_PER_TURN_MAX;
    }

    /// Reads the next datagram into `buffer`. What others send to us alone comes first, so that a
    /// flood on the shared port does not hide it. `None`: no datagram waits, or this turn has made
    /// 64 reads.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<ReceivedLsnp> {
        loop {
            let (listener, is_to_all) = match &mut self.discovery {
                _ if self.own.is_readable => (&mut self.own, false),
                Some(discovery) if discovery.is_readable => (discovery, true),
                _ => return None,
            };
            self.reads_left = self.reads_left.checked_sub(1)?;
            match receive_datagram(&listener.socket, buffer, &mut self.control_buffer) {
                Ok(raw) if raw.is_truncated => {}
                Ok(raw) => {
                    if let Some(SocketAddr::V4(source)) = raw.source {
                        return Some(ReceivedLsnp {
                            interface: raw.interface,
                            source,
                            is_to_all,
                            length: raw.length,
                        });
                    }
                }
                Err(Errno::EINTR) => {}
                // Reading another error clears it, such as a refusal by the last recipient.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => {}
                Err(_) => listener.is_readable = false,
            }
        }
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// The system did not take a datagram for one recipient. Of one for everybody, a failure counts
    /// as a loss on the way.
    pub fn send(&self, output: &LsnpOutput) -> io::Result<()> {
        let of_index = |i: &&Interface| output.interface.is_none_or(|index| i.index == index);
        match output.to {
            Some(to) => {
                let interface = self.interfaces.iter().find(of_index);
                let interface = interface.filter(|_| output.interface.is_some());
                let own = interface.and_then(|i| Some((i.index, addresses_v4(i).next()?.0)));
                let (index, from) = own.unwrap_or((0, Ipv4Addr::UNSPECIFIED));
                send_datagram_v4(&self.own.socket, index, from, to, &output.bytes)
            }
            None => {
                for interface in self.interfaces.iter().filter(of_index) {
                    self.broadcast(interface, &output.bytes);
                }
                Ok(())
            }
        }
    }

    fn broadcast(&self, interface: &Interface, bytes: &[u8]) {
        let mut sent_to = Vec::new();
        for (own, prefix) in addresses_v4(interface) {
            let Some(all) = broadcast_address(own, prefix).filter(|all| !sent_to.contains(all))
            else {
                continue;
            };
            sent_to.push(all);
            let to = SocketAddrV4::new(all, LSNP_DISCOVERY_PORT);
            let _ = send_datagram_v4(&self.own.socket, interface.index, own, to, bytes);
        }
    }
}
