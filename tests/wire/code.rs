//! Endpoints given by users (`--peer`), and connection codes.

use std::net::SocketAddr;

use p2pchat::base::identity::Identity;
use p2pchat::wire::code::{
    ADDRESSES_MAX, ConnectionCode, Endpoint, EndpointError, parse_endpoints, parse_peer,
};

use crate::sentences::assert_one_line;

/// A static peer is a host with an optional port, or an id with up to the maximum of addresses.
#[test]
fn endpoints_are_parsed_in_every_form() {
    let id = Identity::from_seed(&[7; 32]).id();
    let without_id = |host: &str, port| Endpoint {
        peer: None,
        host: host.into(),
        port,
    };
    let with_id = |host: &str, port| Endpoint {
        peer: Some(id),
        host: host.into(),
        port,
    };
    let good = [
        ("box".into(), vec![without_id("box", 9999)]),
        ("box.lan.:80".into(), vec![without_id("box.lan.", 80)]),
        ("10.0.0.7:1".into(), vec![without_id("10.0.0.7", 1)]),
        ("fe80::1".into(), vec![without_id("fe80::1", 9999)]),
        ("[fe80::1]".into(), vec![without_id("fe80::1", 9999)]),
        (
            " [fe80::1%eth0]:65535\n".into(),
            vec![without_id("fe80::1%eth0", 65535)],
        ),
        (format!("{id}@box"), vec![with_id("box", 9999)]),
        (
            format!("{id}@10.0.0.7:5,[2001:db8::1]:6"),
            vec![with_id("10.0.0.7", 5), with_id("2001:db8::1", 6)],
        ),
    ];
    for (text, expected) in good {
        assert_eq!(parse_endpoints(&text), Ok(expected), "{text}");
    }
    let bad = [
        (String::new(), EndpointError::Empty),
        (format!("{id}@"), EndpointError::Empty),
        ("bob@box".into(), EndpointError::InvalidId),
        (
            format!("{}@box", id.to_string().to_uppercase()),
            EndpointError::InvalidId,
        ),
        ("box,box".into(), EndpointError::MissingId),
        (format!("{id}@a,,b"), EndpointError::InvalidHost),
        (
            format!("{id}@{}a", "a,".repeat(ADDRESSES_MAX)),
            EndpointError::TooManyAddresses,
        ),
        (":80".into(), EndpointError::InvalidHost),
        ("a b".into(), EndpointError::InvalidHost),
        ("-box".into(), EndpointError::InvalidHost),
        ("300.1.1.1".into(), EndpointError::InvalidHost),
        ("1.2".into(), EndpointError::InvalidHost),
        ("a..b".into(), EndpointError::InvalidHost),
        ("x".repeat(64), EndpointError::InvalidHost),
        ("box:".into(), EndpointError::InvalidPort),
        ("box:0".into(), EndpointError::InvalidPort),
        ("box:+1".into(), EndpointError::InvalidPort),
        ("box:65536".into(), EndpointError::InvalidPort),
        ("[box]:1".into(), EndpointError::InvalidBrackets),
        ("[::1".into(), EndpointError::InvalidBrackets),
        ("[::1]1".into(), EndpointError::InvalidBrackets),
        ("fe80::1%eth0]:99".into(), EndpointError::InvalidPort),
        (
            format!("{id}@[fe80::1%a@b]:99"),
            EndpointError::InvalidBrackets,
        ),
    ];
    for (text, error) in bad {
        assert_eq!(parse_endpoints(&text), Err(error), "{text}");
        assert_one_line(&error.to_string());
    }
}

/// A connection code lists each usable address once, and parses to itself.
#[test]
fn a_connection_code_is_parsed_back() {
    let id = Identity::from_seed(&[7; 32]).id();
    let parsed =
        |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
    let all = parsed(&[
        "10.0.0.7:9999",
        "0.0.0.0:9999",
        "[fe80::1]:9999",
        "10.0.0.7:9999",
        "[2001:db8::1%3]:9999",
        "224.0.0.1:9",
        "10.0.0.8:0",
    ]);
    let code = ConnectionCode::new(id, &all);
    assert_eq!(
        code.addresses,
        parsed(&["10.0.0.7:9999", "[2001:db8::1]:9999"])
    );
    let text = code.to_string();
    let plain = format!("{id}@10.0.0.7:9999,[2001:db8::1]:9999");
    assert_eq!(text, format!("{plain},=njrj"));
    assert_eq!(plain.parse(), Ok(code.clone()));
    assert_eq!(text.parse(), Ok(code.clone()));
    assert_eq!(format!(" {text}\n").parse(), Ok(code));
    assert_eq!(parse_endpoints(&text).unwrap().len(), 2);

    let many: Vec<SocketAddr> = (1..20)
        .map(|i| SocketAddr::from(([10, 0, 0, i], 1)))
        .collect();
    let code = ConnectionCode::new(id, &many);
    assert_eq!(code.addresses, many[..ADDRESSES_MAX]);
    assert_eq!(code.to_string().parse(), Ok(code.clone()));
    assert_eq!(
        format!("{id}@{}", ["10.0.0.9:1"; ADDRESSES_MAX + 1].join(",")).parse::<ConnectionCode>(),
        Err(EndpointError::TooManyAddresses)
    );
    for (text, error) in [
        (id.to_string(), EndpointError::MissingId),
        (format!("{id}@"), EndpointError::Empty),
        (format!("{id}@box:1"), EndpointError::InvalidHost),
        (format!("{id}@10.0.0.7:0"), EndpointError::InvalidPort),
        ("me@10.0.0.7:1".into(), EndpointError::InvalidId),
    ] {
        assert_eq!(text.parse::<ConnectionCode>(), Err(error), "{text}");
    }
}

/// Where ids are looked up, an id is an endpoint, with `@` or without.
#[test]
fn an_id_alone_names_a_peer() {
    let id = Identity::from_seed(&[7; 32]).id();
    for text in [id.to_string(), format!("@{id}"), format!(" @{id} ")] {
        let endpoints = parse_peer(&text).expect("an endpoint");
        assert_eq!(endpoints.len(), 1);
        assert_eq!(endpoints[0].peer_without_host(), Some(id));
        assert_eq!(endpoints[0].to_string(), format!("@{id}"));
    }
    for text in ["@", "@alice", "@10.0.0.7", &format!("@@{id}")] {
        assert_eq!(parse_peer(text), Err(EndpointError::InvalidId), "{text}");
    }
    let code = format!("{id}@10.0.0.7:1");
    assert_eq!(parse_peer(&code), parse_endpoints(&code));
    assert_eq!(
        parse_peer(&code).expect("an endpoint")[0].peer_without_host(),
        None
    );
}

/// A mistyped or missing character of a code is noticed. A code without its check sum is accepted,
/// and a plain id has none.
#[test]
fn a_mistyped_code_is_refused() {
    let id = Identity::from_seed(&[7; 32]).id();
    let text = ConnectionCode::new(id, &["10.0.0.7:9999".parse().unwrap()]).to_string();
    let check_at = text.find(",=").unwrap();
    for at in 0..text.len() {
        if !(check_at..check_at + 2).contains(&at) {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'7' { b'3' } else { b'7' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(
                parse_endpoints(&typed),
                Err(EndpointError::WrongCheck),
                "{typed}"
            );
        }
        // Without its `=`, the check sum is another host.
        if at != check_at + 1 {
            let mut typed = text.clone();
            typed.remove(at);
            assert!(parse_endpoints(&typed).is_err(), "{typed}");
        }
        let cut = parse_endpoints(&text[..at]);
        assert!(cut.is_err() || at <= check_at, "{at}");
    }
    assert_eq!(ConnectionCode::new(id, &[]).to_string(), id.to_string());
    // Nobody's host is named like an id.
    let error = parse_endpoints(&id.to_string()).unwrap_err();
    assert_eq!(error, EndpointError::MissingAddress);
    assert_one_line(&error.to_string());
    let marked = parse_endpoints(&format!("@{id}"));
    assert_eq!(marked, Err(EndpointError::MissingAddress));
}
