//! Strangers who speak HTTP to a program with `--grape`: little is served, within bounds.
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use p2pchat::wire::grenache::rpc::write_request;
use p2pchat::wire::grenache::websocket::WebSocket;

use super::hosts::host::Loopback;
use super::hosts::program::TIMEOUT;
use super::hosts::wait::wait_until;
use super::{wait_joined, wait_line};

const ADDRESS: &str = "127.0.0.1:9999";
const MASK: [u8; 4] = [1, 2, 3, 4];

fn connect(lo: &Loopback) -> TcpStream {
    let connected = lo.host.namespace.inside(|| TcpStream::connect(ADDRESS));
    let stream = connected.expect("a listener");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream
}

/// Sends bytes, and returns what comes until the program closes the stream.
fn ask(lo: &Loopback, bytes: &[u8]) -> String {
    let mut stream = connect(lo);
    stream.write_all(bytes).expect("a program");
    let mut answer = Vec::new();
    // Bytes that nobody read turn the end into a reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a request as a plain client, and returns what comes back first.
fn request(lo: &Loopback, text: &str) -> Option<String> {
    let address = ADDRESS.parse().expect("an address");
    let (mut websocket, head) = WebSocket::client(address, [7; 16]);
    let head = String::from_utf8(head)
        .expect("ASCII")
        .replace("p2pchat", "ws");
    let mut stream = connect(lo);
    stream.write_all(head.as_bytes()).ok()?;
    let mut buffer = [0; 4096];
    let mut read = |websocket: &mut WebSocket, stream: &mut TcpStream| {
        let read = stream.read(&mut buffer).ok()?;
        Some(websocket.receive(buffer.get(..read)?, MASK))
    };
    if !read(&mut websocket, &mut stream)?.is_opened {
        return None;
    }
    let message = write_request("1", "alice", "bob", text);
    stream.write_all(&websocket.text(&message, MASK)).ok()?;
    read(&mut websocket, &mut stream)?.messages.pop()
}

/// Garbage, pages in browsers and giant heads are refused; a thousand streams that say nothing keep
/// neither a peer nor, after their time, a client away. Without the option, nothing is served.
#[test]
fn strangers_who_speak_http_are_bounded() {
    let Some(lo) = Loopback::new() else { return };
    let options = ["-p", "9999", "--grape", "http://127.0.0.1:9", "listen"];
    let alice = lo.start("alice", &options);
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let giant = format!("{upgrade}X: {}", "x".repeat(1 << 20));
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        ("GARBAGE\r\n\r\n", "HTTP/1.1 400 "),
        (
            &format!("{upgrade}Origin: http://evil.example\r\n\r\n"),
            "HTTP/1.1 403 ",
        ),
        ("HELLO\r\n\r\n", ""),
    ] {
        let answer = ask(&lo, bytes.as_bytes());
        assert!(
            answer.starts_with(status) && answer.is_empty() == status.is_empty(),
            "{answer}"
        );
    }
    let mut stream = connect(&lo);
    let _ = stream.write_all(giant.as_bytes());
    assert!(
        !stream
            .read_to_end(&mut Vec::new())
            .is_ok_and(|read| read > 512)
    );
    assert_eq!(
        request(&lo, "hi").as_deref(),
        Some(r#"["1",null,{"ack":true}]"#)
    );
    wait_line(&alice, "#grenache * guest/bob joined");
    wait_line(&alice, "#grenache guest/bob: hi");

    let streams: Vec<TcpStream> = (0..1_000)
        .filter_map(|n| {
            let mut stream = connect(&lo);
            let is_written = stream.write_all(b"GET ").is_ok();
            (is_written && n >= 800).then_some(stream)
        })
        .collect();
    let _bob = lo.start("bob", &["--grape", "http://127.0.0.1:9", "listen"]);
    wait_joined(&alice, "bob");
    wait_until("a client is served", TIMEOUT, || {
        request(&lo, "again").is_some()
    });
    wait_line(&alice, "#grenache guest/bob: again");
    drop((streams, alice));
    let _alice = lo.start("alice", &["-p", "9999", "listen"]);
    assert_eq!(request(&lo, "hi"), None);
    assert_eq!(ask(&lo, b"GET / HTTP/1.1\r\n\r\n"), "");
}
