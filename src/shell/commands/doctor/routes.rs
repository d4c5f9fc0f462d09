//! Checks the routes: several default routes, and several interfaces in one subnet.
use std::fs::File;
use std::io::Read as _;
use std::net::Ipv4Addr;

use crate::base::interface::Interface;
use crate::shell::net::interfaces::addresses_v4;
use crate::ui::doctor_check::Check;

/// Maximum number of bytes of the routing table that are read.
const ROUTES_MAX_BYTES: u64 = 256 * 1024;
/// Column of the metric in a row of the kernel's routing table.
const METRIC_COLUMN: usize = 6;
/// Column of the mask.
const MASK_COLUMN: usize = 7;

/// An IPv4 default route.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DefaultRoute {
    interface: String,
    gateway: Ipv4Addr,
    metric: u32,
}

/// Checks the routes of this network namespace.
pub fn check_routes(interfaces: &[Interface]) -> Vec<Check> {
    let mut table = String::new();
    let file = File::open("/proc/thread-self/net/route");
    let _ = file.and_then(|file| file.take(ROUTES_MAX_BYTES).read_to_string(&mut table));
    let routes = table.lines().filter_map(parse_default_route);
    let routes: Vec<DefaultRoute> = routes.collect();
    let described = describe_default_route(&routes);
    let mut checks: Vec<Check> = check_default_routes(routes).into_iter().collect();
    checks.extend(check_subnets(interfaces));
    if checks.is_empty() {
        checks.push(Check::ok("route", described));
    }
    checks
}

/// Says where packets go that are for no network of ours.
fn describe_default_route(routes: &[DefaultRoute]) -> String {
    match routes.iter().min_by_key(|route| route.metric) {
        None => "no default route: only own networks are reached".to_owned(),
        Some(DefaultRoute {
            interface, gateway, ..
        }) if gateway.is_unspecified() => format!("the default route is over {interface}"),
        Some(DefaultRoute {
            interface, gateway, ..
        }) => format!("the default route is over {interface}, by {gateway}"),
    }
}

/// Parses a row `NAME DESTINATION GATEWAY FLAGS REFERENCES USES METRIC MASK …`. `None`: it is no
/// default route.
fn parse_default_route(row: &str) -> Option<DefaultRoute> {
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    let hex = |column: usize| u32::from_str_radix(fields.get(column)?, 16).ok();
    if hex(1)? != 0 || hex(MASK_COLUMN)? != 0 {
        return None;
    }
    Some(DefaultRoute {
        interface: (*fields.first()?).to_owned(),
        gateway: Ipv4Addr::from(hex(2)?.to_ne_bytes()),
        metric: fields.get(METRIC_COLUMN)?.parse().ok()?,
    })
}

fn check_default_routes(mut routes: Vec<DefaultRoute>) -> Option<Check> {
    routes.sort_by_key(|route| route.metric);
    let (first, others) = routes.split_first()?;
    let other = others
        .iter()
        .rfind(|other| other.interface != first.interface)?;
    let content = format!(
        "two default routes: over {} and over {}; what is outside is dialed over {0} alone",
        first.interface, other.interface
    );
    let via = match other.gateway.is_unspecified() {
        true => String::new(),
        false => format!("via {} ", other.gateway),
    };
    let mend = format!(
        "ip route del default {via}dev {} metric {}",
        other.interface, other.metric
    );
    Some(Check::finding("route", content, mend))
}

fn check_subnets(interfaces: &[Interface]) -> Option<Check> {
    let mut rest = interfaces.iter();
    while let Some(interface) = rest.next() {
        for (own, prefix) in addresses_v4(interface) {
            let is_shared = |other: &&Interface| {
                !other.is_loopback
                    && addresses_v4(other).any(|(address, bits)| {
                        bits == prefix && prefix < 32 && interface.is_on_link(address.into())
                    })
            };
            if let Some(other) = rest.clone().find(is_shared) {
                let (name, other) = (&interface.name, &other.name);
                return Some(Check::finding(
                    "subnet",
                    format!("{name} and {other} are both in the subnet of {own}/{prefix}"),
                    format!("p2pchat --interface {name}"),
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{check_default_routes, parse_default_route};

    #[test]
    fn of_default_routes_the_later_one_goes() {
        let gateway = format!("{:08X}", u32::from_ne_bytes([10, 0, 0, 9]));
        let row = |name: &str, metric: u32| {
            format!("{name}\t00000000\t{gateway}\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0")
        };
        let parse = |row: &str| parse_default_route(row).expect("a default route");
        let one = parse(&row("eth0", 200));
        assert_eq!(check_default_routes(vec![one.clone()]), None);
        assert_eq!(check_default_routes(vec![one.clone(), one.clone()]), None);
        let both = check_default_routes(vec![one, parse(&row("wlan0", 100))]);
        let mend = both.and_then(|check| check.mend).expect("a finding");
        assert_eq!(
            mend,
            "ip route del default via 10.0.0.9 dev eth0 metric 200"
        );
        assert_eq!(
            parse_default_route("eth0 0000000A 0 1 0 0 0 00FFFFFF"),
            None
        );
        assert_eq!(parse_default_route("Iface Destination Gateway"), None);
    }
}
