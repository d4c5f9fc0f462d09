//! What a gateway answers to requests for a port mapping: PCP and NAT-PMP. The request is that of the
//! test vectors, so the answers that are pinned there are accepted.
#![no_main]
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use p2pchat::wire::nat_pmp;
use p2pchat::wire::pcp::{PcpAnswer, PcpMapRequest};

fuzz_target!(|bytes: &[u8]| {
    let request = PcpMapRequest {
        nonce: *b"twelve bytes",
        client: IpAddr::from([10, 0, 0, 7]),
        internal_port: 9999,
        suggested: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9999)),
        lifetime_s: 7200,
    };
    if let Some(PcpAnswer::Mapped { .. }) = PcpAnswer::parse(bytes, &request) {
        assert_eq!(bytes[24..36], request.nonce);
    }
    let _ = nat_pmp::parse(bytes);
});
