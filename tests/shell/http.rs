//! HTTP to a gateway or a Grape: whatever it answers, the exchange is bounded and ends.
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use p2pchat::shell::net::http::{self, HttpFailure};
use p2pchat::wire::http::HttpAnswer;

const REQUEST: &[u8] = b"GET /x HTTP/1.0\r\n\r\n";

/// Asks a server that answers as `server` does, and returns how long that took.
fn ask(
    timeout: Duration,
    is_stopped: &dyn Fn() -> bool,
    server: impl FnOnce(TcpStream) + Send,
) -> (Result<HttpAnswer, HttpFailure>, Duration) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let address = listener.local_addr().expect("an address");
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let n = stream.read(&mut request).expect("a request");
            assert_eq!(&request[..n], REQUEST);
            server(stream);
        });
        let begin = Instant::now();
        let answer = http::exchange(address, REQUEST, begin + timeout, is_stopped);
        (answer, begin.elapsed())
    })
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// Writes until the client is gone. Returns how much that was.
fn flood(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < 64 << 20 && stream.write_all(bytes).is_ok() {
        written += bytes.len();
    }
    written
}

/// A head or a body without an end is given up after its bound, also after a first header line of
/// exactly 8191 bytes.
#[test]
fn an_endless_answer_is_given_up() {
    let line = format!("{}\n", "h".repeat(8190));
    for begin in [
        format!("HTTP/1.0 200 OK\r\n{line}"),
        "HTTP/1.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\nContent-Length: 4294967296\r\n\r\n".to_owned(),
        String::new(),
    ] {
        let (answer, took) = ask(LONG, &|| false, |mut stream| {
            let _ = stream.write_all(begin.as_bytes());
            let written = flood(&mut stream, &[b'x'; 8191]);
            assert!(written < 32 << 20, "{written} bytes were taken");
        });
        assert!(matches!(answer, Err(HttpFailure::Failed(_))), "{answer:?}");
        assert!(took < LONG / 2, "{took:?}");
    }
}

/// A server that sends a byte now and then does not keep us, nor does one when the program ends.
#[test]
fn a_slow_answer_ends_at_the_deadline() {
    let drip = |mut stream: TcpStream| {
        while stream.write_all(b"H").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    };
    let (answer, took) = ask(SHORT, &|| false, drip);
    assert!(matches!(answer, Err(HttpFailure::Failed(_))), "{answer:?}");
    assert!((SHORT..LONG / 2).contains(&took), "{took:?}");
    let begin = Instant::now();
    let (answer, took) = ask(LONG, &|| begin.elapsed() > SHORT, drip);
    assert!(matches!(answer, Err(HttpFailure::Stopped)), "{answer:?}");
    assert!(took < LONG / 2, "{took:?}");
}

/// An answer ends where its head says, or with the connection.
#[test]
fn an_answer_is_read_to_its_end() {
    let whole = "HTTP/1.1 500 Oops\ncontent-LENGTH: 4\r\n\r\nbody";
    let closed = "HTTP/1.1 500 Oops\r\nServer: x\r\n\nbody";
    for (text, stays) in [(whole, true), (closed, false)] {
        let (answer, took) = ask(LONG, &|| false, |mut stream| {
            stream.write_all(text.as_bytes()).expect("a client");
            if stays {
                let _ = stream.read(&mut [0]);
            }
        });
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (500, "body"));
        assert!(took < LONG / 2, "{took:?}");
    }
    for text in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 x\n\n",
    ] {
        assert_eq!(HttpAnswer::parse(text.as_bytes()), None, "{text}");
    }
}
