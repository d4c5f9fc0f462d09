//! Plain programs of Grenache are guests of `#grenache`: real clients and services of Node.js.
use std::path::Path;

use super::grenache::{GRENACHE_FOLDER, grape_url, start_grapes};
use super::hosts::lan::Lan;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, wait_joined};

/// Starts a program of `tests/foreign/grenache` on the second host, with the Grape there.
fn start_foreigner(lan: &Lan, name: &str, script: &str, arguments: &[&str]) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/grenache");
    let mut command = lan.hosts[1].command("node");
    command
        .arg(folder.join(script))
        .arg(grape_url(1))
        .args(arguments);
    command.env("NODE_PATH", format!("{GRENACHE_FOLDER}/node_modules"));
    Program::spawn(name, command)
}

/// Starts a service that prints its requests.
fn start_service(lan: &Lan, service: &str, port: &str) -> Program {
    let program = start_foreigner(lan, service, "service.js", &[service, port]);
    wait_line(&program, "READY");
    program
}

/// Sends a request, and returns what the client prints of its answer.
fn request(lan: &Lan, verb: &str, service: &str, payload: &str) -> String {
    let client = start_foreigner(lan, "client", "client.js", &[verb, service, payload]);
    client.out.wait_for(TIMEOUT, |line| line.contains(' '))
}

fn wait_line(program: &Program, end: &str) -> String {
    program.out.wait_for(TIMEOUT, |line| line.ends_with(end))
}

/// Two p2pchats, the service bob, and a service of the room. All hear what each says, the peers by
/// their link alone; a direct message reaches bob alone.
#[test]
fn plain_clients_and_services_are_guests() {
    let Some(lan) = Lan::new(2) else { return };
    let Some(grapes) = start_grapes(&lan) else {
        return;
    };
    let urls = [grape_url(0), grape_url(1)];
    let options = [
        "-m",
        "none",
        "-r",
        "grenache",
        "--commands",
        "--grape",
        &urls[0],
    ];
    let mut alice = lan.hosts[0].start("alice", &options);
    let options = ["-m", "none", "listen", "--json", "--grape", &urls[1]];
    let carol = lan.hosts[1].start("carol", &options);
    wait_joined(&alice, "carol");
    let zed = start_service(&lan, "p2pchat:grenache", "5001");
    let bob = start_service(&lan, "bob", "5002");

    // A request reaches us, is acknowledged, and names a guest.
    let payload = r#"{"from":"bob","message":"hello alice"}"#;
    let answer = request(&lan, "request", "alice", payload);
    assert_eq!(answer, r#"ANSWER {"ack":true}"#);
    wait_line(&alice, "#grenache * guest/bob joined");
    wait_line(&alice, "#grenache guest/bob: hello alice");
    assert!(
        !carol
            .out
            .all()
            .iter()
            .any(|line| line.contains("hello alice"))
    );
    let answer = request(&lan, "request", "alice", r#""only text""#);
    assert_eq!(answer, r#"ANSWER {"ack":true}"#);
    wait_line(&alice, "#grenache guest/10.77.0.2: only text");

    // Each p2pchat and the service of the room get what is for all.
    let answer = request(&lan, "map", "p2pchat:grenache", r#"{"text":"to all"}"#);
    assert_eq!(answer, r#"ANSWER [{"ack":true},{"ack":true},{"ack":true}]"#);
    wait_line(&alice, "#grenache guest/10.77.0.2: to all");
    wait_line(&zed, r#"REQUEST p2pchat:grenache {"text":"to all"}"#);
    let shown = carol
        .out
        .wait_for(TIMEOUT, |line| line.contains(r#""to all""#));
    for part in [
        r##""target":"#grenache""##,
        r#""username":"10.77.0.2""#,
        r#""guest":true"#,
    ] {
        assert!(shown.contains(part), "{shown}");
    }

    for address in ["10.77.0.2:5001", "10.77.0.2:5002"] {
        wait_until("the services are found", TIMEOUT, || {
            let mut peers = lan.hosts[0].spawn("alice", &["peers", "-W", "0.1"]);
            peers.wait_exit(TIMEOUT);
            let rows = peers.out.wait_end(TIMEOUT);
            rows.iter().any(|row| row.contains(address))
        });
    }
    // What alice says in the room goes to the services there. Peers get it by their link alone.
    alice.say("hi guests");
    wait_line(
        &bob,
        r#"REQUEST bob {"from":"alice","message":"hi guests"}"#,
    );
    wait_line(
        &zed,
        r#"REQUEST p2pchat:grenache {"from":"alice","message":"hi guests"}"#,
    );
    alice.say("/msg guest/bob psst");
    wait_line(&bob, r#"{"from":"alice","message":"psst"}"#);
    alice.say("good night");
    wait_line(&zed, r#"{"from":"alice","message":"good night"}"#);
    wait_line(&bob, r#"{"from":"alice","message":"good night"}"#);
    carol
        .out
        .wait_for(TIMEOUT, |line| line.contains(r#""good night""#));
    for (program, count) in [(&bob, 3), (&zed, 3)] {
        let requests = program.out.all();
        let requests = requests.iter().filter(|line| line.starts_with("REQUEST"));
        assert_eq!(requests.count(), count, "{:?}", program.out.all());
    }
    let lines = carol.out.all();
    let greetings = lines.iter().filter(|line| line.contains(r#""hi guests""#));
    assert_eq!(greetings.count(), 1, "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("guest/alice")),
        "{lines:?}"
    );

    // A service that ends is gone.
    drop(bob);
    wait_line(&alice, "#grenache * guest/bob left");
    finish(alice);
    drop((carol, zed, grapes));
}

/// `send` reaches a service that nobody has seen yet, by its name, and says so truthfully.
#[test]
fn send_reaches_a_service_by_its_name() {
    let Some(lan) = Lan::new(2) else { return };
    let Some(grapes) = start_grapes(&lan) else {
        return;
    };
    let dave = start_service(&lan, "dave", "5001");
    let url = grape_url(0);
    let send = |arguments: &[&str]| {
        let options = ["-m", "none", "--grape", &url, "-W", "5", "send"];
        let mut program = lan.hosts[0].spawn("alice", &[&options[..], arguments].concat());
        program.close_stdin();
        program.wait_code(TIMEOUT)
    };
    assert_eq!(send(&["-t", "@guest/dave", "hello"]), 0);
    wait_line(&dave, r#"REQUEST dave {"from":"alice","message":"hello"}"#);
    assert_eq!(send(&["-t", "@guest/nobody", "hello"]), 1);
    let zed = start_service(&lan, "p2pchat:grenache", "5002");
    assert_eq!(send(&["-r", "grenache", "hello all"]), 0);
    wait_line(&zed, r#"{"from":"alice","message":"hello all"}"#);
    drop((dave, zed, grapes));
}
