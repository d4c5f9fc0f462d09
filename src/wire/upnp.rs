//! The part of UPnP that maps a port: the search for an Internet Gateway Device (SSDP; UPnP Device
//! Architecture 1.0), its description, and the actions of WANIPConnection (SOAP).
use std::net::{Ipv4Addr, SocketAddrV4};

/// The multicast address of a search.
pub const SSDP_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);
/// The search for a gateway. It answers within a second.
pub const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\
    MAN: \"ssdp:discover\"\r\nMX: 1\r\n\
    ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";
/// The services that map ports. A newer version also takes the actions of the older one.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// Longest path of a URL that is used, in bytes.
const PATH_MAX_BYTES: usize = 256;
/// The code by which a gateway says that another host has the port.
pub const CONFLICT: u16 = 718;
/// The code by which a gateway says that its mappings last until they are deleted.
pub const ONLY_PERMANENT: u16 = 725;

/// A URL at the gateway: only such are used, whatever the gateway names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUrl {
    address: SocketAddrV4,
    path: String,
}

impl GatewayUrl {
    /// Parses `http://ADDRESS[:PORT]/PATH`. `None`: the URL is malformed, or of another host.
    pub fn parse(text: &str, gateway: Ipv4Addr) -> Option<GatewayUrl> {
        let rest = text.trim().strip_prefix("http://")?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let address = host
            .parse()
            .or_else(|_| host.parse().map(|ip| SocketAddrV4::new(ip, 80)))
            .ok()
            .filter(|address: &SocketAddrV4| *address.ip() == gateway && address.port() != 0)?;
        Some(GatewayUrl {
            address,
            path: valid_path(path)?,
        })
    }

    /// The URL that the description names, relative to this one.
    fn join(&self, text: &str) -> Option<GatewayUrl> {
        let text = text.trim();
        if text.starts_with("http:") {
            return GatewayUrl::parse(text, *self.address.ip());
        }
        let path = match text.starts_with('/') {
            true => text.to_owned(),
            false => format!("/{text}"),
        };
        Some(GatewayUrl {
            address: self.address,
            path: valid_path(&path)?,
        })
    }

    /// Where requests are sent.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The request for what is there.
    pub fn get_request(&self) -> String {
        let GatewayUrl { address, path } = self;
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")
    }

    /// The whole text.
    pub fn to_text(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }
}

fn valid_path(path: &str) -> Option<String> {
    let is_plain = path.bytes().all(|b| b.is_ascii_graphic());
    (is_plain && path.len() <= PATH_MAX_BYTES).then(|| path.to_owned())
}

/// The location of the description in the answer to a search. `None`: it is no such answer.
pub fn parse_search_answer(bytes: &[u8], gateway: Ipv4Addr) -> Option<GatewayUrl> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let status = lines.next()?;
    if !status.starts_with("HTTP/1.") || status.split(' ').nth(1) != Some("200") {
        return None;
    }
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let (_, url) = headers.find(|(name, _)| name.trim().eq_ignore_ascii_case("location"))?;
    GatewayUrl::parse(url, gateway)
}

/// The service of a gateway that maps ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingService {
    service: &'static str,
    /// Where its actions are posted.
    pub control: GatewayUrl,
}

impl MappingService {
    /// Finds the service in the description at this location.
    pub fn find(description: &str, location: &GatewayUrl) -> Option<MappingService> {
        SERVICES.into_iter().find_map(|service| {
            let mut parts = description.split("<service>").skip(1);
            let part = parts.find(|part| {
                let name = part.split_once("</service>").map_or("", |(part, _)| part);
                element(name, "serviceType") == Some(service)
            })?;
            let control = location.join(element(part, "controlURL")?)?;
            Some(MappingService { service, control })
        })
    }

    /// The header `SOAPAction` of an action.
    pub fn action_header(&self, action: &str) -> String {
        format!("\"{}#{action}\"", self.service)
    }

    /// The request of an action.
    pub fn request(&self, action: &str, arguments: &[(&str, String)]) -> String {
        let GatewayUrl { address, path } = &self.control;
        let (header, body) = (self.action_header(action), self.body(action, arguments));
        format!(
            "POST {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: {header}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// The body of an action. The values of its arguments need no escapes.
    pub fn body(&self, action: &str, arguments: &[(&str, String)]) -> String {
        let arguments = arguments.iter();
        let arguments = arguments.map(|(name, value)| format!("<{name}>{value}</{name}>"));
        format!(
            "<?xml version=\"1.0\"?><s:Envelope \
             xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{}\">{}</u:{action}></s:Body></s:Envelope>",
            self.service,
            arguments.collect::<String>()
        )
    }
}

/// The arguments of AddPortMapping for a TCP port.
pub fn mapping_arguments(
    external_port: u16,
    client: SocketAddrV4,
    lifetime_s: u32,
) -> Vec<(&'static str, String)> {
    let mut arguments = deletion_arguments(external_port);
    arguments.extend([
        ("NewInternalPort", client.port().to_string()),
        ("NewInternalClient", client.ip().to_string()),
        ("NewEnabled", "1".to_owned()),
        ("NewPortMappingDescription", "p2pchat".to_owned()),
        ("NewLeaseDuration", lifetime_s.to_string()),
    ]);
    arguments
}

/// The arguments of DeletePortMapping for a TCP port.
pub fn deletion_arguments(external_port: u16) -> Vec<(&'static str, String)> {
    vec![
        ("NewRemoteHost", String::new()),
        ("NewExternalPort", external_port.to_string()),
        ("NewProtocol", "TCP".to_owned()),
    ]
}

/// The external address in the answer to GetExternalIPAddress.
pub fn parse_external_address(answer: &str) -> Option<Ipv4Addr> {
    element(answer, "NewExternalIPAddress")?.parse().ok()
}

/// The error code in an answer. `None`: it is no error of UPnP.
pub fn parse_error(answer: &str) -> Option<u16> {
    element(answer, "errorCode")?.parse().ok()
}

/// The text of the first element of this name that has no attributes.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    Some(content.trim())
}
