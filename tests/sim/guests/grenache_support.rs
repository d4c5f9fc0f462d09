//! Alice, and clients and services of Grenache that exist only as bytes.
use std::net::SocketAddr;

use p2pchat::base::event::input::Input;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::wire::grenache::rpc::{RpcRequest, write_answer, write_request};
use p2pchat::wire::grenache::websocket::WebSocket;
use p2pchat::wire::grenache::websocket_frame::{Opcode, write_frame};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::open_stream_from;

pub const MASK: [u8; 4] = [1, 2, 3, 4];
pub const ACK: &str = r#"["1",null,{"ack":true}]"#;

/// Alice, who uses Grapes and is in `#grenache`.
pub fn service_of_alice(seed: u64) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.peers[alice].uses_grapes = true;
    lan.start(alice);
    lan.join(alice, "#grenache");
    lan.run_for(100);
    (lan, alice)
}

pub fn host(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 9, n], 40_000))
}

pub fn write(lan: &mut Lan, who: PeerIndex, stream: StreamId, bytes: &[u8]) {
    lan.feed(who, Input::Bytes { stream, bytes });
}

/// The request of a client that is no p2pchat.
pub fn upgrade() -> Vec<u8> {
    let (_, request) = WebSocket::client(host(1), [7; 16]);
    let request = String::from_utf8(request).expect("ASCII");
    request.replace("p2pchat", "ws").into_bytes()
}

/// Opens a stream from this host, and upgrades it.
pub fn client(lan: &mut Lan, who: PeerIndex, n: u64, source: SocketAddr) -> StreamId {
    let stream = open_stream_from(lan, who, n, source);
    write(lan, who, stream, &upgrade());
    let answer = lan.take_external_writes(who, stream);
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{answer:?}");
    stream
}

/// A text as a client sends it.
pub fn masked(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(Opcode::Text, text.as_bytes(), Some(MASK), &mut bytes);
    bytes
}

/// Sends a request over a stream, and returns the answer.
pub fn request(
    lan: &mut Lan,
    who: PeerIndex,
    stream: StreamId,
    service: &str,
    from: &str,
    text: &str,
) -> String {
    let bytes = masked(&write_request("1", service, from, text));
    write(lan, who, stream, &bytes);
    let answer = lan.take_external_writes(who, stream);
    String::from_utf8(answer.get(2..).unwrap_or_default().to_vec()).expect("UTF-8")
}

/// A Grape names addresses of a service.
pub fn find(lan: &mut Lan, who: PeerIndex, service: &str, addresses: &[SocketAddr]) {
    let input = Input::ServiceFound {
        service: service.to_owned(),
        addresses: addresses.to_vec(),
    };
    lan.feed(who, input);
    lan.run_for(10);
}

/// A service that alice dials: her stream, and its end of the WebSocket.
pub struct Service {
    pub stream: StreamId,
    pub websocket: WebSocket,
}

impl Service {
    /// Listens at an address that a Grape names, and accepts the upgrade.
    pub fn start(lan: &mut Lan, who: PeerIndex, name: &str, address: SocketAddr) -> Service {
        lan.external_listeners.insert(address, Vec::new());
        find(lan, who, name, &[address]);
        Service::accept(lan, who, address)
    }

    /// Accepts the upgrade of the last stream that was dialed there.
    pub fn accept(lan: &mut Lan, who: PeerIndex, address: SocketAddr) -> Service {
        // As a peer, the address is dialed as well.
        let dialed = lan.external_listeners[&address].clone();
        let mut heads = dialed.into_iter().rev().map(|stream| {
            let head = lan.take_external_writes(who, stream);
            (stream, head)
        });
        let upgrade = heads.find(|(_, head)| head.starts_with(b"GET "));
        let (stream, head) = upgrade.expect("a dial");
        let head = String::from_utf8(head)
            .expect("ASCII")
            .replace("p2pchat", "ws");
        let mut websocket = WebSocket::server();
        let received = websocket.receive(head.as_bytes(), MASK);
        assert!(received.is_opened);
        write(lan, who, stream, &received.reply);
        Service { stream, websocket }
    }

    /// The requests that came since the last call.
    pub fn requests(&mut self, lan: &mut Lan, who: PeerIndex) -> Vec<RpcRequest> {
        let bytes = lan.take_external_writes(who, self.stream);
        let received = self.websocket.receive(&bytes, MASK);
        let messages = received.messages.iter();
        messages
            .map(|it| RpcRequest::parse(it).expect("a request"))
            .collect()
    }

    pub fn answer(&self, lan: &mut Lan, who: PeerIndex, id: &str, error: Option<&str>) {
        let bytes = self.websocket.text(&write_answer(id, error), MASK);
        write(lan, who, self.stream, &bytes);
    }
}

/// A guest of this name, whose program on this host has sent a request.
pub fn guest(lan: &mut Lan, who: PeerIndex, n: u8, name: &str) -> StreamId {
    let stream = client(lan, who, u64::from(n), host(n));
    request(lan, who, stream, "alice", name, "hi");
    stream
}

/// Where the service on this host listens.
pub fn service_address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 9, n], 5_001))
}
