//! Grapes: requests are pinned, and an answer is a claim that is read within bounds.
use p2pchat::base::name::Room;
use p2pchat::wire::grenache::grape::{
    GRAPE_ADDRESSES_MAX, announcement, lookup, parse_announced, parse_found, request, room_service,
};

use super::vector_files::vector;

/// The requests and the answers have exactly these bytes.
#[test]
fn requests_and_answers_are_pinned() {
    let vector = vector("grenache.txt");
    let room = Room::parse_canonical("#general").expect("a room");
    let service = room_service(&room, None);
    vector.check("service", &service);
    vector.check("closed_service", &room_service(&room, Some(&[7; 32])));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    vector.check("announce", &text(announcement(&service, 9999)));
    vector.check("lookup", &text(lookup(&service)));
    let sent = text(request("grape.example:30001", "lookup", &lookup(&service)));
    vector.check("request", &sent.replace("\r\n", "↵"));
    let (announced, no_nodes) = (vector.text("announced"), vector.text("no_nodes"));
    assert_eq!(parse_announced(announced.as_bytes()), Ok(1));
    assert_eq!(parse_announced(no_nodes.as_bytes()), Ok(0));
    assert_eq!(parse_found(no_nodes.as_bytes()), Ok(Vec::new()));
    let found = parse_found(vector.text("found").as_bytes()).expect("addresses");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["127.0.0.1:5001", "[fe80::1]:7"]);
    let refused = vector.text("refused").as_bytes();
    let reason = "the Grape answers \"ERR_GRAPE_LOOKUP\"".to_owned();
    assert_eq!(parse_announced(refused), Err(reason.clone()));
    assert_eq!(parse_found(refused), Err(reason));
}

/// What is no address is left out, and so is what exceeds the bound.
#[test]
fn answers_are_read_within_bounds() {
    let odd = r#"["alice.example:5","10.0.0.7","10.0.0.7:0","0.0.0.0:5","[::]:5","10.0.0.7:5"]"#;
    let found = parse_found(odd.as_bytes()).expect("addresses");
    assert_eq!(found, ["10.0.0.7:5".parse().expect("an address")]);
    let many = format!("[{}]", vec!["\"10.0.0.7:5\""; 1_000].join(","));
    let found = parse_found(many.as_bytes()).expect("addresses");
    assert_eq!(found.len(), GRAPE_ADDRESSES_MAX);
    let long = format!("\"{}\"", "\\u001b[2J".repeat(1_000));
    let sentence = parse_found(long.as_bytes()).expect_err("an error");
    assert!(
        sentence.len() < 800 && !sentence.contains('\u{1b}'),
        "{sentence}"
    );
    for other in ["", "{}", "-1", "[1]", "null", "<html>", "[", "\u{0}"] {
        let none = Err("no Grape answers there".to_owned());
        assert_eq!(parse_announced(other.as_bytes()), none, "{other}");
        assert!(parse_found(other.as_bytes()).is_err(), "{other}");
    }
}
