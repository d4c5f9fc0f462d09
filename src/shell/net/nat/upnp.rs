//! The exchange with a gateway that knows neither PCP nor NAT-PMP, but UPnP.
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use crate::shell::net::nat::mapping::{LIFETIME_S, Mapping, NoMapping};
use crate::wire::upnp::{
    CONFLICT, GatewayUrl, MappingService, ONLY_PERMANENT, SEARCH, SSDP_ADDRESS, deletion_arguments,
    mapping_arguments, parse_error, parse_external_address, parse_search_answer,
};

/// How often the gateway is searched for.
const SEARCHES: u32 = 2;
/// Time for the answers to a search.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Longest wait for a datagram. In between, the thread looks whether the program ends.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Time for one HTTP request, in seconds.
const HTTP_TIMEOUT_S: u64 = 3;
/// Longest description or answer that is read, in bytes.
const ANSWER_MAX_BYTES: u64 = 64 * 1024;
/// Longest header of an answer, in bytes.
const HEADERS_MAX_BYTES: usize = 8 * 1024;
/// Number of external ports that are tried if other hosts have the first ones.
const PORTS_TRIED: u16 = 8;

/// A gateway that speaks UPnP.
pub struct UpnpGateway {
    service: MappingService,
    client: SocketAddrV4,
    /// The external port of the mapping.
    mapped_port: Option<u16>,
}

impl UpnpGateway {
    /// Searches for the gateway, and reads its description. `client` is our address and TCP port.
    ///
    /// # Errors
    /// [`NoMapping::Silent`]: this gateway speaks no UPnP. [`NoMapping::Stopped`].
    pub fn find(
        gateway: Ipv4Addr,
        client: SocketAddrV4,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<UpnpGateway, NoMapping> {
        let location = search(gateway, *client.ip(), is_stopped)?;
        let description = read_answer(minreq::get(location.to_text()))?;
        let service = MappingService::find(&description, &location).ok_or(NoMapping::Silent)?;
        Ok(UpnpGateway {
            service,
            client,
            mapped_port: None,
        })
    }

    /// Makes or renews the mapping.
    ///
    /// # Errors
    /// The gateway refuses, or does not answer any more.
    pub fn map(&mut self) -> Result<Mapping, NoMapping> {
        let answer = self.post("GetExternalIPAddress", &[])?;
        let ip = parse_external_address(&answer).ok_or(NoMapping::Useless)?;
        let first = self.mapped_port.unwrap_or(self.client.port());
        let (mut lifetime_s, mut last_code) = (LIFETIME_S, 0);
        for n in 0..PORTS_TRIED {
            let Some(port) = first.checked_add(n) else {
                break;
            };
            let mut code = self.add(port, lifetime_s)?;
            if code == Some(ONLY_PERMANENT) {
                lifetime_s = 0;
                code = self.add(port, lifetime_s)?;
            }
            match code {
                None => {
                    self.mapped_port = Some(port);
                    return Ok(Mapping {
                        external: SocketAddr::new(ip.into(), port),
                        lifetime_s: LIFETIME_S,
                        protocol: "UPnP",
                        epoch_s: 0,
                    });
                }
                Some(code) => last_code = code,
            }
            if last_code != CONFLICT {
                break;
            }
        }
        Err(NoMapping::Refused("UPnP", last_code))
    }

    /// Deletes the mapping.
    pub fn delete(&mut self) {
        if let Some(port) = self.mapped_port.take() {
            let _ = self.post("DeletePortMapping", &deletion_arguments(port));
        }
    }

    /// Asks for a mapping. Returns the error code of a refusal.
    fn add(&self, port: u16, lifetime_s: u32) -> Result<Option<u16>, NoMapping> {
        let arguments = mapping_arguments(port, self.client, lifetime_s);
        let answer = self.post("AddPortMapping", &arguments)?;
        Ok(parse_error(&answer))
    }

    fn post(&self, action: &str, arguments: &[(&str, String)]) -> Result<String, NoMapping> {
        let request = minreq::post(self.service.control.to_text())
            .with_header("Content-Type", "text/xml; charset=\"utf-8\"")
            .with_header("SOAPAction", self.service.action_header(action))
            .with_body(self.service.body(action, arguments));
        read_answer(request)
    }
}

/// Sends a request. A bounded part of the answer is read, and no redirection is followed: it could
/// lead to another host.
fn read_answer(request: minreq::Request) -> Result<String, NoMapping> {
    let sent = request
        .with_timeout(HTTP_TIMEOUT_S)
        .with_follow_redirects(false)
        .with_max_headers_size(HEADERS_MAX_BYTES)
        .with_max_status_line_length(HEADERS_MAX_BYTES)
        .send_lazy();
    let answer = sent.map_err(|_| NoMapping::Silent)?;
    let mut text = Vec::new();
    let read = answer.take(ANSWER_MAX_BYTES).read_to_end(&mut text);
    read.map_err(|_| NoMapping::Silent)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Searches for the description of this gateway. Answers of other hosts are ignored.
fn search(
    gateway: Ipv4Addr,
    client: Ipv4Addr,
    is_stopped: &dyn Fn() -> bool,
) -> Result<GatewayUrl, NoMapping> {
    let socket = UdpSocket::bind((client, 0)).map_err(|_| NoMapping::Silent)?;
    let mut buffer = [0; 2048];
    for _ in 0..SEARCHES {
        let _ = socket.send_to(SEARCH.as_bytes(), SSDP_ADDRESS);
        let until = Instant::now() + SEARCH_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if is_stopped() {
                return Err(NoMapping::Stopped);
            }
            if left.is_zero() {
                break;
            }
            let _ = socket.set_read_timeout(Some(left.min(WAIT_MAX)));
            if let Ok((n, from)) = socket.recv_from(&mut buffer)
                && from.ip() == gateway
                && let Some(location) = parse_search_answer(&buffer[..n], gateway)
            {
                return Ok(location);
            }
        }
    }
    Err(NoMapping::Silent)
}
