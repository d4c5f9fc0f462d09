//! What `send` and those beside it hear of lines for services of Grenache, which answer or do not.
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use p2pchat::wire::grenache::rpc::{RpcRequest, write_answer};
use p2pchat::wire::grenache::websocket::WebSocket;

use super::hosts::host::Loopback;
use super::hosts::program::{Program, TIMEOUT};
use super::{finish, run, wait_error_line, wait_line};

const GRAPE: &str = "127.0.0.1:30001";
const GRAPE_OPTION: [&str; 2] = ["--grape", "http://127.0.0.1:30001"];
const MASK: [u8; 4] = [1, 2, 3, 4];
/// How often a server looks whether it shall end.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What a service does with a request.
#[derive(Clone, Copy)]
enum Behaviour {
    Acknowledge,
    Refuse,
    /// It never answers.
    Ignore,
    /// It reads the request, and closes the stream a while later.
    HangUp,
}

/// A Grape, and the services that it knows.
struct Services {
    has_ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Services {
    /// Starts a Grape, and a service for each name.
    fn start(lo: &Loopback, services: &[(&'static str, Behaviour)]) -> Services {
        let has_ended = Arc::<AtomicBool>::default();
        let bind = |address: &str| lo.host.namespace.inside(|| TcpListener::bind(address));
        let mut addresses = Vec::new();
        let mut threads = Vec::new();
        for (name, behaviour) in services {
            let listener = bind("127.0.0.1:0").expect("a port");
            addresses.push((*name, listener.local_addr().expect("an address")));
            let behaviour = *behaviour;
            threads.push(accept(&has_ended, listener, move |stream, has_ended| {
                serve(stream, behaviour, has_ended);
            }));
        }
        let listener = bind(GRAPE).expect("the port of the Grape");
        threads.push(accept(&has_ended, listener, move |mut stream, _| {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let is_sought = |name: &str| request.ends_with(&format!("\"data\":\"{name}\"}}"));
            let found = addresses.iter().filter(|(name, _)| is_sought(name));
            let found: Vec<String> = found.map(|(_, at)| format!("\"{at}\"")).collect();
            let body = match request.starts_with("POST /lookup") {
                true => format!("[{}]", found.join(",")),
                false => "1".to_owned(),
            };
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
        }));
        Services { has_ended, threads }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Serves each stream in a thread of its own.
fn accept(
    has_ended: &Arc<AtomicBool>,
    listener: TcpListener,
    serve: impl Fn(TcpStream, &AtomicBool) + Send + Sync + 'static,
) -> JoinHandle<()> {
    let (has_ended, serve) = (Arc::clone(has_ended), Arc::new(serve));
    listener.set_nonblocking(true).expect("a socket");
    thread::spawn(move || {
        while !has_ended.load(Ordering::Acquire) {
            let Ok((stream, _)) = listener.accept() else {
                thread::sleep(POLL_INTERVAL);
                continue;
            };
            stream.set_nonblocking(false).expect("a stream");
            let timeout = Some(Duration::from_millis(500));
            stream.set_read_timeout(timeout).expect("a timeout");
            let (has_ended, serve) = (Arc::clone(&has_ended), Arc::clone(&serve));
            thread::spawn(move || serve(stream, &has_ended));
        }
    })
}

fn serve(mut stream: TcpStream, behaviour: Behaviour, has_ended: &AtomicBool) {
    let mut websocket = WebSocket::server();
    let mut buffer = [0; 4096];
    while !has_ended.load(Ordering::Acquire) {
        let bytes = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => &buffer[..read],
            Err(_) => continue,
        };
        // By this name a p2pchat knows another one, and hangs up.
        let head = String::from_utf8_lossy(bytes).replace("p2pchat", "ws");
        let received = match bytes.starts_with(b"GET ") {
            true => websocket.receive(head.as_bytes(), MASK),
            false => websocket.receive(bytes, MASK),
        };
        let _ = stream.write_all(&received.reply);
        for message in received.messages {
            let id = RpcRequest::parse(&message).expect("a request").id;
            let answer = match behaviour {
                Behaviour::Acknowledge => write_answer(&id, None),
                Behaviour::Refuse => write_answer(&id, Some("ERR_BUSY")),
                Behaviour::Ignore => continue,
                Behaviour::HangUp => {
                    thread::sleep(Duration::from_millis(1_500));
                    return;
                }
            };
            let _ = stream.write_all(&websocket.text(&answer, MASK));
        }
    }
}

/// Alice in #grenache, with services of these names.
fn start_alice(lo: &Loopback) -> Program {
    let options = [&GRAPE_OPTION[..], &["-r", "grenache"]].concat();
    lo.start("alice", &options)
}

/// Through a running program, `send` waits until the service has answered, and says what was lost.
/// Those beside it, and the program, are none the worse for it.
#[test]
fn an_attached_send_waits_for_the_answer() {
    let Some(lo) = Loopback::new() else { return };
    let services = [
        ("bob", Behaviour::Acknowledge),
        ("rude", Behaviour::Refuse),
        ("mute", Behaviour::Ignore),
    ];
    let _services = Services::start(&lo, &services);
    let alice = start_alice(&lo);
    let beside = lo.start("alice", &["-r", "general"]);
    let outcome = run(&lo, "alice", &["send", "-t", "@guest/bob", "hi"]);
    outcome.assert_code(0);
    assert_eq!(outcome.err, [""; 0]);
    let outcome = run(&lo, "alice", &["send", "-t", "@guest/rude", "hi"]);
    outcome.assert_code(1);
    let lost = "p2pchat: a line was not delivered: guest/rude refused it";
    assert_eq!(outcome.err, [lost]);
    let to_mute = ["send", "-t", "@guest/mute", "-W", "4", "hi"];
    let outcome = run(&lo, "alice", &to_mute);
    outcome.assert_code(1);
    assert_eq!(outcome.err.len(), 1, "{outcome:?}");
    assert!(
        outcome.err[0].contains("no answer of a guest"),
        "{outcome:?}"
    );
    assert!(outcome.duration < Duration::from_secs(8), "{outcome:?}");
    for program in [beside, alice] {
        let outcome = finish(program, b"");
        outcome.assert_code(0);
        assert!(
            !outcome.err.iter().any(|it| it.contains("delivered")),
            "{outcome:?}"
        );
    }
}

/// A run of its own says the same.
#[test]
fn send_alone_waits_for_the_answer() {
    let Some(lo) = Loopback::new() else { return };
    let services = [("bob", Behaviour::Acknowledge), ("rude", Behaviour::Refuse)];
    let _services = Services::start(&lo, &services);
    for (to, code) in [("@guest/bob", 0), ("@guest/rude", 1)] {
        let options = [&GRAPE_OPTION[..], &["send", "-t", to, "--need", "0", "hi"]].concat();
        run(&lo, "carol", &options).assert_code(code);
    }
}

/// What is lost after `send` has ended, the running program says, and goes on.
#[test]
fn a_late_loss_is_said_by_the_program() {
    let Some(lo) = Loopback::new() else { return };
    let services = [
        ("bob", Behaviour::HangUp),
        ("p2pchat:grenache", Behaviour::Acknowledge),
    ];
    let _services = Services::start(&lo, &services);
    let mut alice = start_alice(&lo);
    alice.say("who is there?");
    // The first request brings the service, and the stream stays.
    let to_bob = ["send", "-t", "@guest/bob", "-W", "0.5", "hi"];
    super::hosts::wait::wait_until("the service is found", TIMEOUT, || {
        let outcome = run(&lo, "alice", &to_bob);
        outcome.assert_code(1);
        outcome.err[0].contains("no answer of a guest")
    });
    let lost = "what a session said that has ended was not delivered: guest/bob has gone";
    wait_error_line(&alice, lost);
    finish(alice, b"").assert_code(0);
}

/// A line in the room that no service takes is said to be lost, but once.
#[test]
fn a_line_that_no_service_takes_is_said_once() {
    let Some(lo) = Loopback::new() else { return };
    let services = [("p2pchat:grenache", Behaviour::Refuse)];
    let _services = Services::start(&lo, &services);
    let mut alice = start_alice(&lo);
    wait_line(&alice, "#grenache * guest/127.0.0.1 joined");
    for line in ["one", "two", "three"] {
        alice.say(line);
    }
    let is_loss = |line: &str| line.contains("no guest of #grenache took a line");
    alice.err.wait_for(TIMEOUT, is_loss);
    let outcome = finish(alice, b"");
    let lost = outcome.err.iter().filter(|line| is_loss(line));
    assert_eq!(lost.count(), 1, "{outcome:?}");
    outcome.assert_code(1);
}

/// `send` ends at once when each service of the room has refused its line: with 1 and one sentence,
/// alone and through a running program.
#[test]
fn send_ends_when_every_service_refuses() {
    let Some(lo) = Loopback::new() else { return };
    let _services = Services::start(&lo, &[("p2pchat:grenache", Behaviour::Refuse)]);
    let sends = |who: &str, options: &[&str], code: i32| {
        let send = ["send", "-r", "grenache", "-W", "60", "hi"];
        let outcome = run(&lo, who, &[options, &send].concat());
        outcome.assert_code(code);
        assert!(outcome.duration < Duration::from_secs(20), "{outcome:?}");
        outcome.err
    };
    let lost = "p2pchat: #grenache: no guest took all lines: each service refused one, or gave no \
                answer";
    assert_eq!(sends("carol", &GRAPE_OPTION, 1), [lost]);
    let alice = start_alice(&lo);
    wait_line(&alice, "#grenache * guest/127.0.0.1 joined");
    assert_eq!(sends("alice", &[], 1), [lost]);
    // Peers alone decide with --need.
    assert_eq!(sends("alice", &["--need", "0"], 0), [""; 0]);
    drop(alice);
}
