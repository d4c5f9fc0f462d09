//! A gateway that speaks UPnP only, played by the test.
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::hosts::lan::Lan;
use super::nat::EndOnDrop;
use super::{TIMEOUT, finish};

/// A gateway that speaks UPnP only, and answers everything but a request to map the port. Returns the
/// actions that were posted to it.
fn upnp_gateway(lan: &Lan, client: impl FnOnce() + Send) -> Vec<String> {
    let namespace = &lan.hosts[1].namespace;
    let own: Ipv4Addr = Lan::address(1, 0).parse().expect("an address");
    let (searches, posts) = namespace.inside(|| {
        let searches = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1900)).expect("a socket");
        let posts = TcpListener::bind((own, 5000)).expect("a listener");
        (searches, posts)
    });
    let group = Ipv4Addr::new(239, 255, 255, 250);
    searches.join_multicast_v4(&group, &own).expect("a group");
    let timeout = Some(Duration::from_millis(20));
    searches.set_read_timeout(timeout).expect("a socket");
    posts.set_nonblocking(true).expect("a listener");
    let service = "urn:schemas-upnp-org:service:WANIPConnection:1";
    let found =
        format!("HTTP/1.1 200 OK\r\nST: {service}\r\nLOCATION: http://{own}:5000/d\r\n\r\n");
    let answer = |request: &str| {
        let body = if request.starts_with("GET ") {
            format!(
                "<service><serviceType>{service}</serviceType><controlURL>/c</controlURL></service>"
            )
        } else {
            "<NewExternalIPAddress>11.0.0.1</NewExternalIPAddress>".to_owned()
        };
        format!("HTTP/1.0 200 OK\r\n\r\n{body}")
    };
    let (is_over, actions) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((_, from)) = searches.recv_from(&mut [0; 2048]) {
                    searches.send_to(found.as_bytes(), from).expect("a client");
                }
                let Ok((mut stream, _)) = posts.accept() else {
                    continue;
                };
                stream.set_nonblocking(false).expect("a stream");
                stream.set_read_timeout(Some(TIMEOUT)).expect("a stream");
                let mut buffer = [0; 4096];
                let n = stream.read(&mut buffer).expect("a request");
                let request = String::from_utf8_lossy(&buffer[..n]);
                let is_of = |action: &&&str| request.contains(&format!("#{action}\""));
                let known = [
                    "GetExternalIPAddress",
                    "AddPortMapping",
                    "DeletePortMapping",
                ];
                if let Some(action) = known.iter().find(is_of) {
                    actions.lock().expect("a lock").push((*action).to_owned());
                }
                if !request.contains("#AddPortMapping") {
                    stream
                        .write_all(answer(&request).as_bytes())
                        .expect("a client");
                }
            }
        });
        let _end = EndOnDrop(&is_over);
        client();
    });
    actions.into_inner().expect("a lock")
}

/// The answer to a request in UPnP is lost, so the port may be mapped. It is deleted at the end.
#[test]
fn a_mapping_by_upnp_whose_answer_is_lost_is_deleted() {
    let Some(lan) = Lan::new(2) else { return };
    let namespace = &lan.hosts[0].namespace;
    namespace.ip(&format!("route add default via {}", Lan::address(1, 0)));
    let actions = upnp_gateway(&lan, || {
        let alice = lan.hosts[0].start("alice", &["--nat"]);
        alice.err.wait_for(TIMEOUT, |line| {
            line.contains("maps no port by PCP, NAT-PMP or UPnP")
        });
        finish(alice);
    });
    assert!(
        actions.iter().any(|it| it == "AddPortMapping"),
        "{actions:?}"
    );
    assert_eq!(
        actions.last().map(String::as_str),
        Some("DeletePortMapping"),
        "{actions:?}"
    );
}
