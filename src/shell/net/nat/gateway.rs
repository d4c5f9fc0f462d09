//! The default gateway, as the kernel's routing table has it.
use std::fs;
use std::net::Ipv4Addr;

const ROUTING_TABLE: &str = "/proc/net/route";
/// `RTF_UP | RTF_GATEWAY`: the route is usable, and has a gateway (route(8)).
const GATEWAY_FLAGS: u32 = 0x3;

/// The IPv4 gateway of the default route with the least metric. `allowed_names`: interfaces that
/// may be used; empty: all.
pub fn default_gateway(allowed_names: &[String]) -> Option<Ipv4Addr> {
    parse_default_gateway(&fs::read_to_string(ROUTING_TABLE).ok()?, allowed_names)
}

/// See [`default_gateway`]. `table` is the text of `/proc/net/route`.
pub fn parse_default_gateway(table: &str, allowed_names: &[String]) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, destination, gateway, flags, _, _, metric, mask, ..] = columns[..] else {
            return None;
        };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let is_default = hex(destination)? == 0 && hex(mask)? == 0;
        let is_usable = hex(flags)? & GATEWAY_FLAGS == GATEWAY_FLAGS;
        let is_allowed = allowed_names.is_empty() || allowed_names.iter().any(|it| it == name);
        // The kernel prints the four bytes as one number of this machine.
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        let metric: u32 = metric.parse().ok()?;
        (is_default && is_usable && is_allowed).then_some((metric, gateway))
    });
    routes.min().map(|(_, gateway)| gateway)
}
