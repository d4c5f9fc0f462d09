//! Requests to a gateway for a port mapping, and its answers: PCP and NAT-PMP.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use p2pchat::wire::nat_pmp::{self, NatPmpAnswer};
use p2pchat::wire::pcp::{GATEWAY_PORT, PcpAnswer, PcpMapRequest};

use super::vector_files::vector;

fn request() -> PcpMapRequest {
    PcpMapRequest {
        nonce: *b"twelve bytes",
        client: IpAddr::from([10, 0, 0, 7]),
        internal_port: 9999,
        suggested: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9999)),
        lifetime_s: 7200,
    }
}

/// Requests and answers have exactly these bytes (RFC 6886, 3.2 and 3.3; RFC 6887, 7 and 11.1).
#[test]
fn requests_and_answers_are_pinned() {
    let vector = vector("port_mapping.txt");
    vector.check("gateway_port", &GATEWAY_PORT.to_string());
    vector.check_bytes("pcp_request", &request().encode());
    let mapped = PcpAnswer::Mapped {
        external: vector.text("pcp_external").parse().expect("an address"),
        lifetime_s: 3600,
        epoch_s: 100,
    };
    let answer = vector.bytes("pcp_answer");
    assert_eq!(PcpAnswer::parse(&answer, &request()), Some(mapped));
    let refused = vector.bytes("pcp_refusal");
    let parsed = PcpAnswer::parse(&refused, &request());
    assert_eq!(parsed, Some(PcpAnswer::Refused(2)));
    let old = vector.bytes("nat_pmp_answer_to_pcp");
    let parsed = PcpAnswer::parse(&old, &request());
    assert_eq!(parsed, Some(PcpAnswer::UnsupportedVersion));

    vector.check_bytes("nat_pmp_address_request", &nat_pmp::ADDRESS_REQUEST);
    vector.check_bytes("nat_pmp_request", &nat_pmp::map_request(9999, 9999, 7200));
    vector.check_bytes("nat_pmp_deletion", &nat_pmp::map_request(9999, 0, 0));
    let address = vector.bytes("nat_pmp_address_answer");
    let external = Ipv4Addr::from([11, 0, 0, 1]);
    assert_eq!(
        nat_pmp::parse(&address),
        Some(NatPmpAnswer::Address(external))
    );
    let mapping = NatPmpAnswer::Mapping {
        internal_port: 9999,
        external_port: 10_000,
        lifetime_s: 3600,
        epoch_s: 100,
    };
    assert_eq!(
        nat_pmp::parse(&vector.bytes("nat_pmp_answer")),
        Some(mapping)
    );
    let refused = nat_pmp::parse(&vector.bytes("nat_pmp_refusal"));
    assert_eq!(refused, Some(NatPmpAnswer::Refused(2)));
}

/// An answer to another request is none: every field that an attacker could not know is compared.
#[test]
fn other_answers_are_ignored() {
    let vector = vector("port_mapping.txt");
    let answer = vector.bytes("pcp_answer");
    // Version, opcode, nonce, protocol and internal port.
    for at in [0, 1, 24, 35, 36, 40, 41] {
        let mut other = answer.clone();
        other[at] ^= 0x40;
        assert_eq!(PcpAnswer::parse(&other, &request()), None, "byte {at}");
        // A refusal for somebody else is ignored as well.
        other[3] = 2;
        assert_eq!(PcpAnswer::parse(&other, &request()), None, "byte {at}");
    }
    for length in 0..answer.len() {
        let cut = PcpAnswer::parse(&answer[..length], &request());
        assert_eq!(cut, None, "{length} bytes");
    }
    let mut long = answer.clone();
    long.resize(1101, 0);
    assert_eq!(PcpAnswer::parse(&long, &request()), None);
    // Our own request, sent back.
    assert_eq!(PcpAnswer::parse(&request().encode(), &request()), None);

    let answer = vector.bytes("nat_pmp_answer");
    for (at, value) in [(0, 1), (1, 0x81), (1, 2), (1, 0x83)] {
        let mut other = answer.clone();
        other[at] = value;
        assert_eq!(nat_pmp::parse(&other), None, "byte {at}");
    }
    for length in 0..answer.len() {
        assert_eq!(nat_pmp::parse(&answer[..length]), None, "{length} bytes");
    }
}
