//! WebSocket: the bytes of RFC 6455 are pinned, and nothing that breaks a rule or a bound goes on.
use std::net::SocketAddr;

use data_encoding::{BASE64, HEXLOWER};
use p2pchat::wire::grenache::sha1::sha1;
use p2pchat::wire::grenache::websocket::{
    Received, WEBSOCKET_HEAD_MAX_BYTES, WebSocket, WebSocketEnd,
};
use p2pchat::wire::grenache::websocket_frame::{
    Opcode, WEBSOCKET_MESSAGE_MAX_BYTES, WebSocketFrame, write_frame,
};

use super::vector_files::vector;

/// The mask of the examples in RFC 6455.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn lines(text: &str) -> String {
    text.replace('↵', "\r\n")
}

fn hex(name: &str) -> Vec<u8> {
    let vector = vector("grenache_rpc.txt");
    HEXLOWER.decode(vector.text(name).as_bytes()).expect("hex")
}

/// Both ends with the nonce of RFC 6455, and the request of the client.
fn client() -> (WebSocket, Vec<u8>) {
    let vector = vector("grenache_rpc.txt");
    let nonce = BASE64.decode(vector.text("websocket_nonce").as_bytes());
    let nonce = nonce.expect("base64").try_into().expect("16 bytes");
    let host: SocketAddr = "192.0.2.1:5001".parse().expect("an address");
    WebSocket::client(host, nonce)
}

/// A request of a client that is no p2pchat, with this line in place of another one.
fn request_with(old: &str, new: &str) -> Vec<u8> {
    let vector = vector("grenache_rpc.txt");
    let request = lines(vector.text("websocket_ws_request"));
    assert!(request.contains(old), "{old}");
    request.replace(old, new).into_bytes()
}

fn open_server() -> WebSocket {
    let mut server = WebSocket::server();
    let received = server.receive(&request_with("Host", "Host"), MASK);
    assert!(received.is_opened && received.end.is_none(), "{received:?}");
    server
}

/// A masked frame, as a client sends it.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(Opcode::Text, content, Some(MASK), &mut bytes);
    bytes[0] = first;
    bytes
}

/// SHA-1 gives the hashes of RFC 3174 and FIPS 180.
#[test]
fn sha1_is_that_of_the_standard() {
    let long = "a".repeat(1_000_000);
    for (text, hash) in [
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
        ),
        (&long, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
    ] {
        assert_eq!(HEXLOWER.encode(&sha1(text.as_bytes())), hash);
    }
}

/// The upgrade and the frames have exactly these bytes.
#[test]
fn the_bytes_are_those_of_the_standard() {
    let vector = vector("grenache_rpc.txt");
    let (mut dialer, request) = client();
    assert_eq!(request, lines(vector.text("websocket_request")).as_bytes());
    let mut server = WebSocket::server();
    let received = server.receive(&request_with("Host", "Host"), MASK);
    let answer = lines(vector.text("websocket_answer"));
    assert_eq!(received.reply, answer.as_bytes());
    let received = dialer.receive(answer.as_bytes(), MASK);
    assert!(received.is_opened && received.reply.is_empty());
    assert_eq!(server.text("Hello", MASK), hex("frame_hello"));
    assert_eq!(dialer.text("Hello", MASK), hex("frame_hello_masked"));
    let hello = |received: Received| assert_eq!(received.messages, ["Hello"]);
    hello(server.receive(&hex("frame_hello_masked"), MASK));
    hello(dialer.receive(&hex("frame_hello"), MASK));
    let parts = ["frame_hello_part_1", "frame_hello_part_2"].map(hex);
    hello(dialer.receive(&parts.concat(), MASK));
    let received = dialer.receive(&hex("frame_ping"), MASK);
    assert_eq!(received.reply, hex("frame_pong_masked"));
    assert_eq!(dialer.goodbye(MASK), hex("frame_goodbye_masked"));
    assert_eq!(
        dialer.receive(&hex("frame_pong_masked")[..0], MASK),
        Received::default()
    );
}

/// A browser asks for more than the upgrade, and for other protocols.
#[test]
fn an_upgrade_may_stand_in_a_list() {
    for (old, new) in [
        ("Connection: Upgrade", "connection: keep-alive, upgrade"),
        ("Upgrade: websocket", "UPGRADE: h2c,WebSocket"),
    ] {
        let received = WebSocket::server().receive(&request_with(old, new), MASK);
        assert!(received.is_opened, "{new}");
    }
}

/// Both ends understand each other byte by byte, at every length, also behind the upgrade.
#[test]
fn bytes_may_come_one_by_one() {
    let mut server = WebSocket::server();
    let mut stream = request_with("Host", "Host");
    let lengths = [
        0,
        1,
        125,
        126,
        127,
        255,
        256,
        4_000,
        WEBSOCKET_MESSAGE_MAX_BYTES,
    ];
    let texts = lengths.map(|length| "x".repeat(length));
    for text in &texts {
        stream.extend(frame(0x81, text.as_bytes()));
    }
    let mut messages = Vec::new();
    for byte in &stream {
        let received = server.receive(&[*byte], MASK);
        assert_eq!(received.end, None);
        messages.extend(received.messages);
    }
    assert_eq!(messages, texts);
    let whole = WebSocket::server().receive(&stream, MASK);
    assert!(whole.is_opened);
    assert_eq!(whole.messages, texts);
}

/// What is no upgrade is refused: other requests, versions and keys, pages in browsers, p2pchats,
/// and a head without an end.
#[test]
fn other_requests_are_refused() {
    let refused = |request: &[u8]| {
        let received = WebSocket::server().receive(request, MASK);
        assert!(!received.is_opened);
        let end = received.end.expect("an end");
        assert_eq!(end, WebSocketEnd::Violation);
        let known = ["websocket_bad_request", "websocket_forbidden"];
        let vector = vector("grenache_rpc.txt");
        let is_sent = |name: &&str| lines(vector.text(name)).as_bytes() == received.reply;
        known
            .into_iter()
            .find(is_sent)
            .expect("a refusal of the vectors")
    };
    for (old, new) in [
        ("GET /ws", "POST /ws"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("HTTP/1.1", "HTTP/1.1 x\r\nbroken"),
        ("Version: 13", "Version: 8"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: close"),
        ("Key: dGhl", "Key: "),
        ("Key: dGhl", "Key: dGhlIHNh"),
        ("Key: dGhl", "Key: ****"),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Kex"),
    ] {
        assert_eq!(
            refused(&request_with(old, new)),
            "websocket_bad_request",
            "{new}"
        );
    }
    for header in ["Origin: http://evil.example", "User-Agent: p2pchat"] {
        let request = request_with("Host:", &format!("{header}\r\nHost:"));
        assert_eq!(refused(&request), "websocket_forbidden", "{header}");
    }
    assert_eq!(refused(&client().1), "websocket_forbidden");
    for garbage in [
        b"G\r\n\r\n".to_vec(),
        b"GET \xff\r\n\r\n".to_vec(),
        vec![b'G'; 65_536],
    ] {
        assert_eq!(refused(&garbage), "websocket_bad_request");
    }
}

/// A head that does not end is given up at its bound, however slowly it comes.
#[test]
fn a_head_is_bounded() {
    let mut server = WebSocket::server();
    let begin = request_with("\r\n\r\n", "\r\nX: ");
    let mut sent = begin.len();
    assert_eq!(server.receive(&begin, MASK), Received::default());
    while server.receive(b"x", MASK).end.is_none() {
        sent += 1;
        assert!(sent < WEBSOCKET_HEAD_MAX_BYTES, "{sent}");
    }
    assert_eq!(sent, WEBSOCKET_HEAD_MAX_BYTES - 1);
}

/// A server that answers in another way is none: the client says nothing more.
#[test]
fn other_answers_are_refused() {
    let vector = vector("grenache_rpc.txt");
    let answer = lines(vector.text("websocket_answer"));
    for (old, new, end) in [
        ("101", "200", WebSocketEnd::Violation),
        ("s3pP", "t3pP", WebSocketEnd::Violation),
        ("Upgrade: websocket", "Upgrade: x", WebSocketEnd::Violation),
        (
            "Connection",
            "Sec-WebSocket-Extensions: x\r\nConnection",
            WebSocketEnd::Violation,
        ),
        (
            "101 Switching Protocols",
            "403 Forbidden",
            WebSocketEnd::Forbidden,
        ),
    ] {
        let (mut dialer, _) = client();
        let received = dialer.receive(answer.replace(old, new).as_bytes(), MASK);
        assert!(!received.is_opened && received.reply.is_empty(), "{new}");
        assert_eq!(received.end, Some(end), "{new}");
        let later = dialer.receive(&hex("frame_hello"), MASK);
        assert_eq!(later, Received::default(), "{new}");
    }
    let (mut dialer, _) = client();
    let received = dialer.receive(b"P2\x02\x00no HTTP\r\n\r\n", MASK);
    assert_eq!(received.end, Some(WebSocketEnd::Violation));
}

/// Each frame that breaks a rule ends the stream, with a goodbye that says so.
#[test]
fn broken_frames_end_the_stream() {
    let unmasked = hex("frame_hello");
    let masked = hex("frame_hello_masked");
    let length = |bytes: &[u8]| [&[0x81], bytes, &[0; 200][..]].concat();
    for broken in [
        unmasked,
        frame(0xc1, b"reserved bit"),
        frame(0x82, b"binary"),
        frame(0x83, b"reserved"),
        frame(0x80, b"nothing to continue"),
        frame(0x09, b"a ping in parts"),
        frame(0x89, &[b'x'; 126]),
        frame(0x81, b"\xff"),
        [frame(0x01, b"one"), frame(0x81, b"two")].concat(),
        length(&[0x80 | 126, 0, 125]),
        length(&[0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        length(&[0x80 | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        length(&[0x80 | 127, 0, 0, 0, 1, 0, 0, 0, 0]),
        length(&[0x80 | 126, 0x80, 0x01]),
    ] {
        let received = open_server().receive(&[&masked[..], &broken].concat(), MASK);
        assert_eq!(received.messages, ["Hello"], "{broken:x?}");
        assert_eq!(received.end, Some(WebSocketEnd::Violation), "{broken:x?}");
        assert_eq!(received.reply, [0x88, 2, 0x03, 0xea], "{broken:x?}");
    }
    let (mut dialer, _) = client();
    dialer.receive(
        lines(vector("grenache_rpc.txt").text("websocket_answer")).as_bytes(),
        MASK,
    );
    let received = dialer.receive(&masked, MASK);
    assert_eq!(received.end, Some(WebSocketEnd::Violation));
}

/// A message is bounded in all its parts together, and a giant one before it has come.
#[test]
fn messages_are_bounded() {
    let mut server = open_server();
    let part = vec![b'x'; 1024];
    let mut parts = 0;
    let mut first = 0x01;
    while server.receive(&frame(first, &part), MASK).end.is_none() {
        (parts, first) = (parts + 1, 0x00);
        assert!(parts <= 32, "{parts} KiB");
    }
    assert_eq!(parts, 32);
    let giant = frame(0x81, &vec![b'x'; WEBSOCKET_MESSAGE_MAX_BYTES + 1]);
    let header = open_server().receive(&giant[..8], MASK);
    assert_eq!(header.end, Some(WebSocketEnd::Violation));
    // Parts without content cost nothing, however many they are.
    let mut server = open_server();
    server.receive(&frame(0x01, b""), MASK);
    for _ in 0..10_000 {
        assert_eq!(server.receive(&frame(0x00, b""), MASK), Received::default());
    }
    assert_eq!(server.receive(&frame(0x80, b"end"), MASK).messages, ["end"]);
}

/// Many pings at once get one answer, and nothing follows a goodbye.
#[test]
fn answers_do_not_amplify() {
    let mut server = open_server();
    let pings = [frame(0x89, b"x").repeat(10_000), frame(0x89, b"last")].concat();
    let received = server.receive(&pings, MASK);
    assert_eq!(received.reply, b"\x8a\x04last");
    assert_eq!(
        server.receive(&frame(0x8a, b"pong"), MASK),
        Received::default()
    );
    let goodbye = [
        frame(0x89, b"x"),
        frame(0x88, b"\x03\xe8bye"),
        frame(0x81, b"more"),
    ]
    .concat();
    let received = server.receive(&goodbye, MASK);
    assert_eq!(received.reply, [0x88, 2, 0x03, 0xe8]);
    assert_eq!(received.end, Some(WebSocketEnd::Closed));
    assert!(received.messages.is_empty());
    assert_eq!(
        server.receive(&frame(0x81, b"more"), MASK),
        Received::default()
    );
}

/// Each beginning of a frame is awaited to its end.
#[test]
fn a_frame_is_parsed_when_it_is_complete() {
    for length in [5, 200, 70_000] {
        let content = vec![b'x'; length];
        let whole = frame(0x81, &content);
        for end in (0..whole.len()).step_by(1 + whole.len() / 300) {
            let parsed = WebSocketFrame::parse(&whole[..end], true, 80_000);
            assert_eq!(parsed, Ok(None), "{end} of {length}");
        }
        let (parsed, taken) = WebSocketFrame::parse(&whole, true, 80_000)
            .expect("a frame")
            .expect("all of it");
        assert_eq!((parsed.content, taken), (content, whole.len()));
    }
}
