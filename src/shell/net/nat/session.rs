//! The exchange with one gateway: PCP, or NAT-PMP if the gateway knows no PCP.
use std::io::{self, ErrorKind};
#[cfg(feature = "upnp")]
use std::net::SocketAddrV4;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::shell::net::nat::mapping::{LIFETIME_S, Mapping, NoMapping};
#[cfg(feature = "upnp")]
use crate::shell::net::nat::upnp::UpnpGateway;
use crate::wire::nat_pmp::{self, NatPmpAnswer};
use crate::wire::pcp::{GATEWAY_PORT, PCP_MAX_BYTES, PcpAnswer, PcpMapRequest};

/// Time to the first repetition of a request. Each repetition doubles it (RFC 6886, 3.1).
const FIRST_TIMEOUT: Duration = Duration::from_millis(250);
/// How often PCP is tried before NAT-PMP, if there is no answer: for 3.75 s.
const PCP_TRIES: u32 = 4;
/// How often NAT-PMP is tried: for 7.75 s.
const NAT_PMP_TRIES: u32 = 5;
/// How often the deletion of a mapping is tried, as the program ends: for 0.75 s at most.
const DELETE_TRIES: u32 = 2;
/// Longest wait for a datagram. In between, the thread looks whether the program ends.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// A socket that is connected to the gateway, so the kernel drops datagrams of others.
pub struct GatewaySession {
    socket: UdpSocket,
    client: Ipv4Addr,
    nonce: [u8; 12],
    port: u16,
    /// Where others reached our port last. The gateway is asked for the same again.
    suggested: SocketAddr,
    /// The gateway answered in NAT-PMP. It is not asked in PCP again.
    has_only_nat_pmp: bool,
    /// A request in PCP or NAT-PMP was sent, so the port may be mapped, whatever was answered.
    may_be_mapped: bool,
    /// The gateway answered in UPnP only.
    #[cfg(feature = "upnp")]
    upnp: Option<UpnpGateway>,
}

impl GatewaySession {
    /// Opens a socket to the gateway. `port` is our TCP port.
    ///
    /// # Errors
    /// The system refuses the socket, or there is no route.
    pub fn open(gateway: Ipv4Addr, port: u16, nonce: [u8; 12]) -> io::Result<GatewaySession> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((gateway, GATEWAY_PORT))?;
        let client = match socket.local_addr()?.ip() {
            IpAddr::V4(client) => client,
            IpAddr::V6(_) => return Err(ErrorKind::AddrNotAvailable.into()),
        };
        Ok(GatewaySession {
            socket,
            client,
            nonce,
            port,
            suggested: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            has_only_nat_pmp: false,
            may_be_mapped: false,
            #[cfg(feature = "upnp")]
            upnp: None,
        })
    }

    /// Whether our address towards the gateway is the same as when the socket was opened, and the
    /// gateway is this one.
    pub fn is_to(&self, gateway: Ipv4Addr) -> bool {
        let peer = self.socket.peer_addr().map(|peer| peer.ip());
        // A new socket shows which address the routes choose now.
        let probe = GatewaySession::open(gateway, self.port, self.nonce);
        peer.is_ok_and(|ip| ip == gateway) && probe.is_ok_and(|new| new.client == self.client)
    }

    /// Makes or renews the mapping. Calls `is_stopped` while it waits.
    ///
    /// # Errors
    /// [`NoMapping`].
    pub fn map(&mut self, is_stopped: &dyn Fn() -> bool) -> Result<Mapping, NoMapping> {
        if !is_behind_nat(self.client) {
            return Err(NoMapping::Public);
        }
        let mapping = self.map_by_any(is_stopped)?;
        let external = mapping.external;
        let ip = external.ip();
        if external.port() == 0
            || ip.is_unspecified()
            || ip.is_multicast()
            || ip.is_loopback()
            || mapping.lifetime_s == 0
        {
            return Err(NoMapping::Useless);
        }
        if let IpAddr::V4(ip) = ip
            && is_behind_nat(ip)
        {
            return Err(NoMapping::Nested(ip));
        }
        self.suggested = external;
        Ok(Mapping {
            lifetime_s: mapping.lifetime_s.min(LIFETIME_S),
            ..mapping
        })
    }

    /// Asks in the protocol that the gateway knows: PCP, then NAT-PMP, then UPnP.
    fn map_by_any(&mut self, is_stopped: &dyn Fn() -> bool) -> Result<Mapping, NoMapping> {
        #[cfg(feature = "upnp")]
        if let Some(upnp) = &mut self.upnp {
            let mapped = upnp.map(is_stopped);
            if matches!(mapped, Ok(_) | Err(NoMapping::Stopped)) {
                return mapped;
            }
        }
        self.may_be_mapped = true;
        let mut mapped = Err(NoMapping::Silent);
        if !self.has_only_nat_pmp {
            mapped = self.map_by_pcp(LIFETIME_S, PCP_TRIES, is_stopped);
        }
        if mapped == Err(NoMapping::Silent) {
            mapped = self.map_by_nat_pmp(is_stopped);
        }
        #[cfg(feature = "upnp")]
        if mapped == Err(NoMapping::Silent)
            && let Ok(SocketAddr::V4(gateway)) = self.socket.peer_addr()
        {
            let client = SocketAddrV4::new(self.client, self.port);
            let mut upnp = UpnpGateway::find(*gateway.ip(), client, is_stopped)?;
            if let Some(had) = &self.upnp {
                upnp.take_over(had);
            }
            mapped = upnp.map(is_stopped);
            self.may_be_mapped &= mapped.is_err();
            self.upnp = Some(upnp);
        }
        mapped
    }

    /// Deletes what may be mapped. Waits for the answer for a short time only.
    pub fn delete(&mut self) {
        #[cfg(feature = "upnp")]
        if let Some(upnp) = &mut self.upnp {
            upnp.delete();
        }
        if !std::mem::take(&mut self.may_be_mapped) {
            return;
        }
        if self.has_only_nat_pmp {
            let request = nat_pmp::map_request(self.port, 0, 0);
            let _ = self.exchange(&request, DELETE_TRIES, &|| false, &mut nat_pmp::parse);
        } else {
            let _ = self.map_by_pcp(0, DELETE_TRIES, &|| false);
        }
    }

    fn map_by_pcp(
        &mut self,
        lifetime_s: u32,
        tries: u32,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Mapping, NoMapping> {
        let request = PcpMapRequest {
            nonce: self.nonce,
            client: self.client.into(),
            internal_port: self.port,
            suggested: self.suggested,
            lifetime_s,
        };
        let mut parse = |bytes: &[u8]| PcpAnswer::parse(bytes, &request);
        match self.exchange(&request.encode(), tries, is_stopped, &mut parse)? {
            PcpAnswer::Mapped {
                external,
                lifetime_s,
                epoch_s,
            } => Ok(Mapping {
                external,
                lifetime_s,
                protocol: "PCP",
                epoch_s,
            }),
            PcpAnswer::Refused(code) => Err(NoMapping::Refused("PCP", code.into())),
            PcpAnswer::UnsupportedVersion => {
                self.has_only_nat_pmp = true;
                Err(NoMapping::Silent)
            }
        }
    }

    fn map_by_nat_pmp(&mut self, is_stopped: &dyn Fn() -> bool) -> Result<Mapping, NoMapping> {
        let refused = |code| Err(NoMapping::Refused("NAT-PMP", code));
        let mut parse = |bytes: &[u8]| match nat_pmp::parse(bytes) {
            Some(NatPmpAnswer::Mapping { .. }) => None,
            answer => answer,
        };
        let request = nat_pmp::ADDRESS_REQUEST;
        let ip = match self.exchange(&request, NAT_PMP_TRIES, is_stopped, &mut parse)? {
            NatPmpAnswer::Address(ip) => ip,
            NatPmpAnswer::Refused(code) => return refused(code),
            NatPmpAnswer::Mapping { .. } => return Err(NoMapping::Useless),
        };
        self.has_only_nat_pmp = true;
        let own_port = self.port;
        let mut parse = |bytes: &[u8]| match nat_pmp::parse(bytes) {
            Some(NatPmpAnswer::Mapping { internal_port, .. }) if internal_port != own_port => None,
            Some(NatPmpAnswer::Address(_)) => None,
            answer => answer,
        };
        let request = nat_pmp::map_request(own_port, self.suggested.port(), LIFETIME_S);
        match self.exchange(&request, NAT_PMP_TRIES, is_stopped, &mut parse)? {
            NatPmpAnswer::Mapping {
                external_port,
                lifetime_s,
                epoch_s,
                ..
            } => Ok(Mapping {
                external: SocketAddr::new(ip.into(), external_port),
                lifetime_s,
                protocol: "NAT-PMP",
                epoch_s,
            }),
            NatPmpAnswer::Refused(code) => refused(code),
            NatPmpAnswer::Address(_) => Err(NoMapping::Useless),
        }
    }

    /// Sends a request, if need be again, until `parse` recognises the answer.
    fn exchange<T>(
        &self,
        request: &[u8],
        tries: u32,
        is_stopped: &dyn Fn() -> bool,
        parse: &mut dyn FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, NoMapping> {
        let mut buffer = [0; PCP_MAX_BYTES + 1];
        for n in 0..tries {
            // An error may be one of an earlier datagram, as that nobody listens there.
            let _ = self.socket.send(request);
            let until = Instant::now() + FIRST_TIMEOUT * 2u32.pow(n);
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if is_stopped() {
                    return Err(NoMapping::Stopped);
                }
                if left.is_zero() {
                    break;
                }
                let _ = self.socket.set_read_timeout(Some(left.min(WAIT_MAX)));
                match self.socket.recv(&mut buffer) {
                    Ok(n) => {
                        if let Some(answer) = parse(&buffer[..n]) {
                            return Ok(answer);
                        }
                    }
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                        ) => {}
                    // Nobody listens there.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                        return Err(NoMapping::Silent);
                    }
                    Err(_) => std::thread::sleep(left.min(WAIT_MAX)),
                }
            }
        }
        Err(NoMapping::Silent)
    }
}

/// Whether hosts of other networks cannot dial this address: it is private, shared or link-local.
fn is_behind_nat(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private() || address.is_link_local() || a == 100 && b & 0xc0 == 64
}
