//! The exchange with a gateway that knows neither PCP nor NAT-PMP, but UPnP.
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use crate::shell::net::http::{self, HttpFailure};
use crate::shell::net::nat::mapping::{LIFETIME_S, Mapping, NoMapping};
use crate::wire::http::HttpAnswer;
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
/// Time for the description.
const DESCRIPTION_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for all requests that make one mapping.
const MAP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the deletion of the mapping, as the program ends.
const DELETE_TIMEOUT: Duration = Duration::from_millis(750);
/// Number of external ports that are tried if other hosts have the first ones.
const PORTS_TRIED: u16 = 8;

/// A gateway that speaks UPnP.
pub struct UpnpGateway {
    service: MappingService,
    client: SocketAddrV4,
    /// The external port that may be mapped, whatever was answered.
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
        let deadline = Instant::now() + DESCRIPTION_TIMEOUT;
        let answer = exchange(&location, &location.get_request(), deadline, is_stopped)?;
        let service = MappingService::find(&answer.body, &location).ok_or(NoMapping::Silent)?;
        Ok(UpnpGateway {
            service,
            client,
            mapped_port: None,
        })
    }

    /// Makes or renews the mapping. Calls `is_stopped` while it waits.
    ///
    /// # Errors
    /// The gateway refuses, or does not answer any more. [`NoMapping::Stopped`].
    pub fn map(&mut self, is_stopped: &dyn Fn() -> bool) -> Result<Mapping, NoMapping> {
        let deadline = Instant::now() + MAP_TIMEOUT;
        let post = |action: &str, arguments: &[(&str, String)]| {
            let request = self.service.request(action, arguments);
            exchange(&self.service.control, &request, deadline, is_stopped)
        };
        let answer = post("GetExternalIPAddress", &[])?;
        let ip = parse_external_address(&answer.body).ok_or(NoMapping::Useless)?;
        // Returns the error code of a refusal.
        let add = |port: u16, lifetime_s: u32| {
            let arguments = mapping_arguments(port, self.client, lifetime_s);
            let answer = post("AddPortMapping", &arguments)?;
            let code = parse_error(&answer.body);
            Ok(code.or((answer.status != 200).then_some(answer.status)))
        };
        let first = self.mapped_port.unwrap_or(self.client.port());
        let (mut lifetime_s, mut last_code) = (LIFETIME_S, 0);
        for n in 0..PORTS_TRIED {
            let Some(port) = first.checked_add(n) else {
                break;
            };
            let had = self.mapped_port.replace(port);
            let mut code = add(port, lifetime_s)?;
            if code == Some(ONLY_PERMANENT) {
                lifetime_s = 0;
                code = add(port, lifetime_s)?;
            }
            match code {
                None => {
                    return Ok(Mapping {
                        external: SocketAddr::new(ip.into(), port),
                        lifetime_s: LIFETIME_S,
                        protocol: "UPnP",
                        epoch_s: 0,
                    });
                }
                Some(code) => last_code = code,
            }
            self.mapped_port = had;
            if last_code != CONFLICT {
                break;
            }
        }
        Err(NoMapping::Refused("UPnP", last_code))
    }

    /// Takes the mapping over from an earlier find of the gateway.
    pub fn take_over(&mut self, had: &UpnpGateway) {
        self.mapped_port = had.mapped_port;
    }

    /// Deletes the mapping.
    pub fn delete(&mut self) {
        if let Some(port) = self.mapped_port.take() {
            let arguments = deletion_arguments(port);
            let request = self.service.request("DeletePortMapping", &arguments);
            let deadline = Instant::now() + DELETE_TIMEOUT;
            let _ = exchange(&self.service.control, &request, deadline, &|| false);
        }
    }
}

/// Sends a request to the gateway, at the address of this URL.
fn exchange(
    url: &GatewayUrl,
    request: &str,
    deadline: Instant,
    is_stopped: &dyn Fn() -> bool,
) -> Result<HttpAnswer, NoMapping> {
    let address = SocketAddr::V4(url.address());
    let answer = http::exchange(address, request.as_bytes(), deadline, is_stopped);
    answer.map_err(|failure| match failure {
        HttpFailure::Failed(_) => NoMapping::Silent,
        HttpFailure::Stopped => NoMapping::Stopped,
    })
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
