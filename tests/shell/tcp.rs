//! TCP streams without a program.
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::time::Time;
use p2pchat::shell::net::read_budget::ReadBudget;
use p2pchat::shell::net::tcp::{StreamEvent, TcpStreams, WriteOutcome};
use socket2::SockRef;

/// A stream that was accepted from a peer on this host.
struct Accepted {
    streams: TcpStreams,
    stream: StreamId,
    peer: TcpStream,
    _poll: Poll,
}

/// A listener with its poll and its port.
fn listen() -> (TcpStreams, Poll, u16) {
    let poll = Poll::new().expect("a poll");
    let listened = TcpStreams::listen(0, poll.registry(), Token(0), 1);
    let streams = listened.expect("a listener");
    let port = streams.port().expect("a port");
    (streams, poll, port)
}

fn accept() -> Accepted {
    let (mut streams, poll, port) = listen();
    let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    let mut changes = Vec::new();
    streams.accept(poll.registry(), Time(0), |_| true, &mut changes);
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

/// A line for one room waits behind the bulk of another only as long as a few hundred KiB take:
/// neither the sender's kernel nor that of the receiver queues more.
#[test]
fn few_bytes_wait_in_the_kernel() {
    let Accepted {
        mut streams,
        stream,
        mut peer,
        _poll,
    } = accept();
    let small = SockRef::from(&peer).set_recv_buffer_size(16 * 1024);
    small.expect("an option of every socket");
    let bytes = [0; 16 * 1024];
    let mut sent = bytes.len();
    while streams.write(stream, &bytes) == WriteOutcome::Accepted {
        sent += bytes.len();
        assert!(sent < 512 * 1024, "too much waits to be sent");
    }
    let small = SockRef::from(&peer).set_send_buffer_size(16 * 1024);
    small.expect("an option of every socket");
    peer.set_nonblocking(true).expect("an open connection");
    let (mut written, mut read, mut buffer) = (0, 0, vec![0; 16 * 1024]);
    while read < 32 * 1024 * 1024 {
        while let Ok(n) = peer.write(&bytes) {
            written += n;
        }
        read += streams.read(stream, &mut buffer).expect("bytes");
        assert!(written - read < 512 * 1024, "too much waits to be read");
    }
}

/// A line is read before the bulk on a stream that is older, whichever came first.
#[test]
fn the_stream_with_the_least_to_read_comes_first() {
    let (mut streams, mut poll, port) = listen();
    let mut peers = connect(port, 2);
    let mut changes = Vec::new();
    streams.accept(poll.registry(), Time(0), |_| true, &mut changes);
    let accepted = changes.iter().map(|change| match change {
        StreamEvent::Accepted(stream, _) => *stream,
        other => panic!("{other:?}"),
    });
    let accepted: Vec<StreamId> = accepted.collect();
    let mut send = |streams: &mut TcpStreams, n: usize, bytes: &[u8]| {
        peers[n].write_all(bytes).expect("an open connection");
        let token = Token(1 + accepted[n].0 as usize);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut has_arrived = false;
        while !has_arrived {
            assert!(Instant::now() < deadline, "no event of stream {n}");
            let mut events = Events::with_capacity(8);
            let polled = poll.poll(&mut events, Some(Duration::from_millis(10)));
            polled.expect("events");
            for event in &events {
                has_arrived |= event.token() == token && event.is_readable();
                streams.handle_event(event, &mut Vec::new());
            }
        }
    };
    let (bulk, line) = (0, 1);
    send(&mut streams, bulk, &[b'b'; 4096]);
    send(&mut streams, line, b"line");
    for stream in streams.take_readable() {
        streams.read(stream, &mut [0; 1024]).expect("bytes");
    }
    send(&mut streams, line, b"line");
    let readable = streams.take_readable();
    assert_eq!(readable, [accepted[line], accepted[bulk]]);
}

/// A turn reads more from a stream that has more, once it alone has brought bytes for 100 ms.
#[test]
fn a_turn_reads_more_from_a_stream_that_is_alone() {
    let (small, large) = (64 * 1024, 256 * 1024);
    let [bulk, line] = [1, 2].map(StreamId::accepted);
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut budget = ReadBudget::default();
    budget.record_read(bulk, at(0));
    assert_eq!(budget.bytes(small, at(99)), small);
    budget.record_read(bulk, at(99));
    assert_eq!(budget.bytes(small, at(100)), large);
    assert_eq!(budget.bytes(small - 1, at(100)), small, "it has no more");
    for (since, shares) in [(1_000, true), (2_000, false)] {
        match shares {
            true => budget.record_read(line, at(since)),
            false => budget.record_opened(at(since)),
        }
        assert_eq!(budget.bytes(small, at(since + 50)), small);
        budget.record_read(bulk, at(since + 50));
        assert_eq!(budget.bytes(small, at(since + 149)), small);
        assert_eq!(budget.bytes(small, at(since + 150)), large);
    }
}

/// Connects `count` times to this port.
fn connect(port: u16, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    (0..count).map(connect).collect()
}

/// A flood of connections is accepted in turns, so that it delays neither the streams nor the
/// handshake of a peer among them.
#[test]
fn a_turn_accepts_a_bounded_number_of_connections() {
    let (mut streams, poll, port) = listen();
    let _peers = connect(port, 80);
    streams.mark_waiting();
    for (accepted, is_more_expected) in [(32, true), (32, true), (16, false)] {
        assert!(streams.has_waiting(Time(0)));
        let mut changes = Vec::new();
        streams.accept(poll.registry(), Time(0), |_| true, &mut changes);
        assert_eq!(changes.len(), accepted);
        assert_eq!(streams.has_waiting(Time(0)), is_more_expected);
    }
}

/// At most 512 streams are open. Further connections are closed at once, and no dial begins.
#[test]
fn the_number_of_streams_is_bounded() {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").1;
    let raised = setrlimit(Resource::RLIMIT_NOFILE, limit.min(4_096), limit);
    raised.expect("a limit that is not higher than the highest");
    let (mut streams, poll, port) = listen();
    let (mut peers, mut changes) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        peers.append(&mut connect(port, 100));
        (0..5).for_each(|_| streams.accept(poll.registry(), Time(0), |_| true, &mut changes));
    }
    assert_eq!(changes.len(), 512);
    let last = peers.last_mut().expect("a connection");
    assert!(
        last.read(&mut [0; 1]).is_ok_and(|read| read == 0),
        "it is closed"
    );
    changes.clear();
    let (stream, address) = (StreamId::dialed(1), (Ipv4Addr::LOCALHOST, port).into());
    streams.dial(poll.registry(), stream, address, None, &mut changes);
    assert_eq!(changes, [StreamEvent::Closed(stream)]);
}
