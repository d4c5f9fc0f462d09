//! TCP streams without a program.
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use mio::{Poll, Token};
use p2pchat::base::event::StreamId;
use p2pchat::shell::net::tcp::{StreamEvent, TcpStreams, WriteOutcome};
use socket2::SockRef;

/// A stream that was accepted from a peer on this host.
struct Accepted {
    streams: TcpStreams,
    stream: StreamId,
    peer: TcpStream,
    _poll: Poll,
}

fn accept() -> Accepted {
    let poll = Poll::new().expect("a poll");
    let listened = TcpStreams::listen(0, poll.registry(), Token(0), 1);
    let mut streams = listened.expect("a listener");
    let port = streams.port().expect("a port");
    let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    let mut changes = Vec::new();
    streams.accept(poll.registry(), |_| true, &mut changes);
    let [StreamEvent::Accepted(stream, _)] = changes[..] else {
        panic!("no stream was accepted");
    };
    Accepted {
        streams,
        stream,
        peer,
        _poll: poll,
    }
}

/// After a failed write, nothing more is tried: the stream is blocked until a read reports its end.
#[test]
fn a_failed_write_blocks_the_stream_until_its_end_is_read() {
    let Accepted {
        mut streams,
        stream,
        peer,
        _poll,
    } = accept();
    // The connection is reset when the peer closes it.
    let lingers = SockRef::from(&peer).set_linger(Some(Duration::ZERO));
    lingers.expect("an option of every socket");
    drop(peer);
    for bytes in [b"one", b"two"] {
        assert_eq!(streams.write(stream, bytes), WriteOutcome::Blocked);
    }
    assert!(streams.take_readable().contains(&stream));
    assert!(streams.read(stream, &mut [0; 16]).is_err());
}

/// What the peer sent before it went is still read after a write has failed.
#[test]
fn bytes_that_came_before_a_failed_write_are_read() {
    let Accepted {
        mut streams,
        stream,
        mut peer,
        _poll,
    } = accept();
    peer.write_all(b"bye").expect("an open connection");
    drop(peer);
    // The kernel of the peer answers the first bytes with a reset.
    assert_eq!(streams.write(stream, b"one"), WriteOutcome::Accepted);
    assert_eq!(streams.write(stream, b"two"), WriteOutcome::Blocked);
    let mut buffer = [0; 16];
    let read = streams.read(stream, &mut buffer).expect("bytes");
    assert_eq!(&buffer[..read], b"bye");
    assert!(streams.read(stream, &mut buffer).is_err());
}
