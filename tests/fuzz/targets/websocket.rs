//! What a stream of HTTP sends, to a server or a client of WebSocket, in pieces. No piece makes the
//! answer long, and nothing follows the end.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::wire::grenache::rpc::{RpcRequest, parse_answer, write_answer};
use p2pchat::wire::grenache::websocket::{Received, WebSocket};
use p2pchat::wire::grenache::websocket_frame::WEBSOCKET_MESSAGE_MAX_BYTES;

/// The upgrade, a goodbye and a pong.
const REPLY_MAX_BYTES: usize = 512;

// The first byte chooses the end, whether it is open, and the size of the pieces.
fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else {
        return;
    };
    let mask = [0, 1, 2, 3];
    let (mut end, request) = match mode & 1 {
        0 => (WebSocket::server(), Vec::new()),
        _ => WebSocket::client(([192, 0, 2, 1], 5001).into(), [7; 16]),
    };
    let mut opening = Vec::new();
    if mode & 3 == 2 {
        let (_, request) = WebSocket::client(([192, 0, 2, 1], 5001).into(), [7; 16]);
        let request = String::from_utf8(request).expect("ASCII");
        opening = request.replace("p2pchat", "ws").into_bytes();
    }
    assert!(request.len() < REPLY_MAX_BYTES);
    if !opening.is_empty() {
        assert!(end.receive(&opening, mask).is_opened);
    }
    let mut has_ended = false;
    for piece in bytes.chunks(1 + usize::from(mode >> 2)) {
        let received = end.receive(piece, mask);
        assert!(received.reply.len() < REPLY_MAX_BYTES);
        assert!(!has_ended || received == Received::default());
        has_ended |= received.end.is_some();
        for message in received.messages {
            assert!(message.len() <= WEBSOCKET_MESSAGE_MAX_BYTES);
            let _ = parse_answer(&message);
            if let Some(request) = RpcRequest::parse(&message) {
                assert!(!request.text.contains('\n'));
                let answer = write_answer(&request.id, None);
                assert_eq!(parse_answer(&answer), Some((request.id, true)));
            }
        }
    }
});
