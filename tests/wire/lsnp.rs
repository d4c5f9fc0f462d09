//! LSNP: its bytes, the messages of other programs, and hostile ones.
use p2pchat::base::guests::guest::PICTURE_MAX_BYTES;
use p2pchat::base::lines::LINE_MAX_BYTES;
use p2pchat::wire::lsnp::{
    LSNP_DISCOVERY_PORT, LSNP_FIELDS_MAX, LSNP_ID_MAX_BYTES, LSNP_LISTED_MAX, LSNP_MAX_BYTES,
    LSNP_TEXT_MAX_BYTES, LSNP_USER_MAX_BYTES, LsnpContent, LsnpMessage,
};

use crate::vector_files::{Vector, vector};

/// The message encodes to exactly the text in the field `name`, and parses back.
fn assert_pinned(vector: &Vector, name: &str, content: LsnpContent<'_>) {
    let message = LsnpMessage {
        user: vector.text("user"),
        timestamp_s: vector.number("timestamp"),
        message_id: vector.text("message_id"),
        gateway: Some(vector.text("gateway")),
        content,
    };
    let bytes = message.encode();
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    let text = text.strip_suffix("\n\n").expect("an empty line at the end");
    vector.check(name, &text.replace('|', "/").replace('\n', "|"));
    assert_eq!(LsnpMessage::parse(&bytes), Some(message));
}

#[test]
fn messages_are_pinned() {
    let vector = vector("lsnp.txt");
    vector.check("port", &LSNP_DISCOVERY_PORT.to_string());
    assert_pinned(&vector, "discovery", LsnpContent::Discovery { port: 9588 });
    assert_pinned(&vector, "list_request", LsnpContent::ListRequest);
    let users = ["zed@10.0.0.7", "a\"b@10.0.0.8"].map(str::to_owned);
    assert_pinned(
        &vector,
        "list_response",
        LsnpContent::ListResponse(users.to_vec()),
    );
    assert_pinned(&vector, "post", LsnpContent::Post("a post: with a colon"));
    let direct = LsnpContent::Direct {
        to: "zed@10.0.0.7",
        line: "hello zed",
    };
    assert_pinned(&vector, "direct", direct);
    let profile = LsnpContent::Profile {
        display_name: "Alice A",
        status: "busy",
        avatar: Some(("image/png", "YQ==")),
    };
    assert_pinned(&vector, "profile", profile);
    assert_pinned(&vector, "revoke", LsnpContent::Revoke);
}

fn parse(text: &str) -> Option<LsnpMessage<'_>> {
    LsnpMessage::parse(text.as_bytes())
}

/// Programs differ in blanks, line ends and the fields that they leave out.
#[test]
fn messages_of_other_programs_are_understood() {
    let post = parse("TYPE: POST\r\nUSER_ID: zed@10.0.0.7\r\nCONTENT: hi\r\n\r\nrest").unwrap();
    assert_eq!(post.content, LsnpContent::Post("hi"));
    assert_eq!((post.user, post.nick().as_str()), ("zed@10.0.0.7", "zed"));
    assert_eq!(
        (post.timestamp_s, post.message_id, post.gateway),
        (0, "", None)
    );
    // Only the token says who leaves.
    let revoke = parse("TYPE:REVOKE\nTOKEN:zed@10.0.0.7|1795234490|chat\n\n").unwrap();
    assert_eq!(revoke.user, "zed@10.0.0.7");
    // A message without its last line, and a name without an address.
    assert_eq!(parse("TYPE:PROFILE\nUSER_ID:zed").unwrap().user, "zed");
}

#[test]
fn other_datagrams_are_refused() {
    let user = "USER_ID:zed@10.0.0.7\n";
    for (kind, rest) in [
        ("", ""),
        ("NONSENSE", ""),
        ("PEER_DISCOVERY", ""),
        ("PEER_DISCOVERY", "PORT:0\n"),
        ("PEER_DISCOVERY", "PORT:1023\n"),
        ("PEER_DISCOVERY", "PORT:65536\n"),
        ("PEER_LIST_RESPONSE", "PEERS:[1]\n"),
        ("PEER_LIST_RESPONSE", ""),
        ("POST", ""),
        ("POST", "CONTENT:\n"),
        ("POST", "\nCONTENT:after the end\n"),
        ("DM", "CONTENT:hi\n"),
    ] {
        let text = format!("TYPE:{kind}\n{user}{rest}\n");
        assert_eq!(parse(&text), None, "{text}");
    }
    assert_eq!(parse("TYPE:POST\nCONTENT:nobody says\n\n"), None);
    assert_eq!(parse("TYPE:POST\nUSER_ID:\nCONTENT:nobody says\n\n"), None);
    assert_eq!(
        LsnpMessage::parse(b"TYPE:POST\nUSER_ID:z\nCONTENT:\xff\n\n"),
        None
    );
}

/// A line end in a value would begin a field, and an empty line would end the message.
#[test]
fn no_value_can_inject_a_field() {
    let message = LsnpMessage {
        user: "zed@10.0.0.7\n\nTYPE:REVOKE",
        timestamp_s: 0,
        message_id: "",
        gateway: None,
        content: LsnpContent::Post("hi\nUSER_ID:alice@10.0.0.1\r\n\nTYPE:DM"),
    };
    let bytes = message.encode();
    let parsed = LsnpMessage::parse(&bytes).unwrap();
    assert_eq!(parsed.user, "zed@10.0.0.7  TYPE:REVOKE");
    let line = "hi USER_ID:alice@10.0.0.1   TYPE:DM";
    assert_eq!(parsed.content, LsnpContent::Post(line));
}

#[test]
fn everything_in_a_message_is_bounded() {
    let post = |user: &str, content: &str| {
        format!("TYPE:POST\nUSER_ID:{user}\nCONTENT:{content}\nMESSAGE_ID:{content}\n\n")
    };
    let long = "é".repeat(10_000);
    let text = post("zed", &long);
    let parsed = parse(&text).unwrap();
    let LsnpContent::Post(line) = parsed.content else {
        panic!("a post");
    };
    assert_eq!(
        (line.len(), parsed.message_id.len()),
        (LINE_MAX_BYTES, LSNP_ID_MAX_BYTES)
    );
    let profile = format!("TYPE:PROFILE\nUSER_ID:z\nSTATUS:{long}\n\n");
    let LsnpContent::Profile { status, .. } = parse(&profile).unwrap().content else {
        panic!("a profile");
    };
    assert_eq!(status.len(), LSNP_TEXT_MAX_BYTES);
    let user = "z".repeat(LSNP_USER_MAX_BYTES);
    assert!(parse(&post(&user, "hi")).is_some());
    assert_eq!(parse(&post(&(user + "z"), "hi")), None);
    let fields = "X:1\n".repeat(LSNP_FIELDS_MAX - 3);
    let crowded = |more: &str| format!("TYPE:POST\nUSER_ID:zed\n{fields}{more}CONTENT:hi\n\n");
    assert!(parse(&crowded("")).is_some());
    assert_eq!(parse(&crowded("X:1\n")), None);
    let whole = post("zed", &"x".repeat(10)) + &"y".repeat(LSNP_MAX_BYTES);
    assert!(parse(&whole[..LSNP_MAX_BYTES]).is_some());
    assert_eq!(parse(&whole[..=LSNP_MAX_BYTES]), None);
    let names = vec!["\"zed\""; LSNP_LISTED_MAX + 1].join(",");
    let list = format!("TYPE:PEER_LIST_RESPONSE\nFROM:z\nPEERS:[{names}]\n\n");
    let LsnpContent::ListResponse(users) = parse(&list).unwrap().content else {
        panic!("a list");
    };
    assert_eq!(users.len(), LSNP_LISTED_MAX);
}

/// A picture is kept if it is base64, and is small enough to be sent as well.
#[test]
fn only_pictures_are_kept() {
    let is_kept = |data: &str| {
        let head = "TYPE:PROFILE\nUSER_ID:z\nAVATAR_ENCODING:base64\nAVATAR_DATA:";
        let text = format!("{head}{data}\n\n");
        let LsnpContent::Profile { avatar, .. } = parse(&text).unwrap().content else {
            panic!("a profile");
        };
        avatar.is_some()
    };
    let largest = "a".repeat(PICTURE_MAX_BYTES);
    assert!(is_kept("YQ==") && is_kept(&largest));
    for data in ["", "YQ=", "Y Q==", "\u{1b}[2J", "é=", &(largest + "YQ==")] {
        assert!(!is_kept(data), "{data:?}");
    }
    let long = "é".repeat(10_000);
    let picture = "a".repeat(PICTURE_MAX_BYTES);
    let message = LsnpMessage {
        user: "alice@10.0.0.1",
        timestamp_s: 0,
        message_id: "1f",
        gateway: None,
        content: LsnpContent::Profile {
            display_name: &long,
            status: &long,
            avatar: Some((&long, &picture)),
        },
    };
    assert!(LsnpMessage::parse(&message.encode()).is_some());
}

/// No program gets an escape code or a line end from us.
#[test]
fn control_characters_are_not_sent() {
    let message = LsnpMessage {
        user: "alice@10.0.0.1",
        timestamp_s: 0,
        message_id: "1f",
        gateway: None,
        content: LsnpContent::Post("a\u{1b}[2J\r\n\u{9b}\u{7f}b"),
    };
    let bytes = message.encode();
    let sent = LsnpMessage::parse(&bytes).expect("a message");
    assert_eq!(sent.content, LsnpContent::Post("a [2J    b"));
}
