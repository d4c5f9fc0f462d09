//! Which addresses a scan tries.
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};

use p2pchat::base::interface::{Interface, InterfaceAddress};
use p2pchat::shell::config::scan_target::ScanTarget;
use p2pchat::shell::net::finders::scan::{host_addresses, own_subnets};

fn parse(text: &str) -> Result<ScanTarget, String> {
    ScanTarget::parse(OsStr::new(text))
}

/// A value is `own` or a subnet, perhaps with a port.
#[test]
fn a_target_is_parsed() {
    let ten = |bits| Some((Ipv4Addr::new(10, 0, 0, 0), bits));
    let rows = [
        ("own", None, 9999),
        ("own:80", None, 80),
        ("10.0.0.0/24", ten(24), 9999),
        ("10.0.0.77/24:7000", ten(24), 7000),
        ("10.0.0.0/16", ten(16), 9999),
    ];
    for (text, subnet, port) in rows {
        assert_eq!(parse(text), Ok(ScanTarget { subnet, port }));
    }
    let malformed = [
        "",
        "Own",
        "10.0.0.1",
        "10.0.0.0/33",
        "10.0.0.0/24:0",
        "10.0.0.0/24:x",
        "::1/64",
        "/",
    ];
    for text in malformed {
        assert!(
            parse(text).is_err_and(|it| it.contains("10.0.0.0/24")),
            "{text}"
        );
    }
    for text in ["0.0.0.0/0", "10.0.0.0/15"] {
        assert!(parse(text).is_err_and(|it| it.contains("/16")), "{text}");
    }
}

/// The network and its broadcast address are no hosts.
#[test]
fn a_subnet_has_its_hosts() {
    let hosts = |first: &str, bits| -> Vec<String> {
        let first = first.parse().expect("an address");
        host_addresses(first, bits)
            .map(|it| it.to_string())
            .collect()
    };
    assert_eq!(hosts("10.0.0.4", 30), ["10.0.0.5", "10.0.0.6"]);
    assert_eq!(hosts("10.0.0.4", 31), ["10.0.0.4", "10.0.0.5"]);
    assert_eq!(hosts("10.0.0.4", 32), ["10.0.0.4"]);
    assert_eq!(hosts("10.0.0.0", 24).len(), 254);
    assert_eq!(
        hosts("255.255.255.0", 24).last().map(String::as_str),
        Some("255.255.255.254")
    );
    assert_eq!(hosts("10.1.0.0", 16).len(), 65_534);
}

/// Large subnets are not scanned unless they are named, and neither is loopback.
#[test]
fn own_subnets_are_small() {
    let interface = |ip: &str, prefix_bits, is_loopback| Interface {
        index: 1,
        name: "eth0".to_owned(),
        addresses: vec![InterfaceAddress {
            ip: ip.parse::<IpAddr>().expect("an address"),
            prefix_bits,
        }],
        on_link_routes: Vec::new(),
        is_loopback,
    };
    let own = [
        interface("10.0.0.7", 24, false),
        interface("10.0.0.8", 24, false),
        interface("10.1.0.7", 21, false),
        interface("10.2.3.7", 22, false),
        interface("127.0.0.1", 24, true),
        interface("fe80::1", 64, false),
    ];
    let expected = [
        (Ipv4Addr::new(10, 0, 0, 0), 24),
        (Ipv4Addr::new(10, 2, 0, 0), 22),
    ];
    assert_eq!(own_subnets(&own), expected);
}
