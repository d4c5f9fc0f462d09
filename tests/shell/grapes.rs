//! The finder that asks Grapes: whatever they answer, it costs little, and they are in trouble.
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use p2pchat::base::guests::service::Service;
use p2pchat::base::interface::FoundVia;
use p2pchat::base::time::Time;
use p2pchat::shell::net::finders::finders::Finders;
use p2pchat::shell::net::finders::grenache::{self, GrenacheConfig};

use super::hosts::wait::wait_until;

/// Much more than a bounded answer and the buffers of two sockets.
const FLOOD_BYTES: usize = 64 << 20;

/// Grapes whose headers or answers do not end are given up early, and named. A first header line of
/// exactly 8191 bytes is one of them: after it, a client once read without a bound.
#[test]
fn lying_grapes_are_given_up() {
    let line = format!("{}\n", "h".repeat(8190));
    for begin in [
        format!("HTTP/1.1 200 OK\r\n{line}"),
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n".to_owned(),
        String::new(),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let grape = format!("http://{}", listener.local_addr().expect("an address"));
        let mut finders = Finders::new(Arc::new(|| {}));
        finders.services().set(vec![Service {
            name: "p2pchat:general".to_owned(),
            is_offered: true,
            is_sought: true,
        }]);
        let config = GrenacheConfig {
            grapes: vec![grape.clone()],
            services: Arc::clone(finders.services()),
            port: 9999,
        };
        let work = move |reporter| grenache::run(config, &reporter);
        finders.add(FoundVia::Grenache, Box::new(work));
        let flood = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let _ = stream.write_all(begin.as_bytes());
            let mut written = 0;
            while written < FLOOD_BYTES && stream.write_all(&[b'x'; 8191]).is_ok() {
                written += 8191;
            }
            written
        });
        finders.start_due(Time(0), 0);
        wait_until("the trouble", Duration::from_secs(10), || {
            let (mut counters, mut troubles) = (Vec::new(), Vec::new());
            finders.add_stats(&mut counters, &mut troubles);
            troubles.iter().any(|(_, it)| it.starts_with(&grape))
        });
        let written = flood.join().expect("a thread");
        assert!(written < FLOOD_BYTES / 2, "{written} bytes were taken");
    }
}

/// A Grape that refuses a service, or is silent about it, is used for the others.
#[test]
fn a_refused_service_holds_up_no_other() {
    for answers in [true, false] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let offered = |name: &str| Service {
            name: name.to_owned(),
            is_offered: true,
            is_sought: true,
        };
        let mut finders = Finders::new(Arc::new(|| {}));
        finders
            .services()
            .set(["odd", "p2pchat:general"].map(offered).to_vec());
        let config = GrenacheConfig {
            grapes: vec![format!("http://{address}")],
            services: Arc::clone(finders.services()),
            port: 9999,
        };
        let work = move |reporter| grenache::run(config, &reporter);
        finders.add(FoundVia::Grenache, Box::new(work));
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let is_odd = request.contains("\"odd\"");
                if sender.send(request).is_err() {
                    return;
                }
                match (is_odd, answers) {
                    (true, false) => continue,
                    (true, true) => {
                        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n\"ERR_NAME\"");
                    }
                    (false, _) => {
                        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n[]");
                    }
                }
            }
        });
        finders.start_due(Time(0), 0);
        let is_lookup = |name: &str| {
            let (verb, name) = ("POST /lookup", format!("\"{name}\""));
            move |request: &String| request.starts_with(verb) && request.contains(&name)
        };
        let mut sought = vec![is_lookup("p2pchat:general")];
        if answers {
            sought.push(is_lookup("odd"));
        }
        let begin = Instant::now();
        while !sought.is_empty() {
            let left = Duration::from_secs(15).saturating_sub(begin.elapsed());
            let request = receiver.recv_timeout(left).expect("a look-up of each");
            sought.retain(|is_it| !is_it(&request));
        }
    }
}
