//! What strangers on the network, and other users of the machine, cannot do to a program.
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::thread;

use p2pchat::base::identity::Identity;
use p2pchat::wire::noise::{Handshake, Role, StaticKey};
use serde_json::json;

use super::control_socket::Client;
use super::hosts::host::Loopback;
use super::hosts::program::{Program, TIMEOUT};
use super::{run, wait_asleep, wait_line};

/// Connects to this address of the host. Returns whether the program there answers a handshake.
fn answers(lo: &Loopback, address: &str) -> bool {
    let secret = Identity::from_seed(&[7; 32]).noise_secret();
    let mut hello = Vec::new();
    Handshake::new(
        Role::Initiator,
        &StaticKey::new(&secret),
        None,
        [1; 32],
        &mut hello,
    )
    .expect("a handshake");
    let connected = lo.host.namespace.inside(|| TcpStream::connect(address));
    let mut stream = connected.expect("a listener");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    // The connection may be closed already.
    let _ = stream.write_all(&hello);
    stream.read(&mut [0; 1]).is_ok_and(|read| read > 0)
}

/// With `--interface` a program also serves no connection that comes over another interface.
#[test]
fn connections_over_another_interface_are_closed() {
    let Some(lo) = Loopback::new() else { return };
    lo.host.add_card("10.1.2.3/24");
    let bob = lo.start("bob", &["listen"]);
    let port = bob.wait_ready();
    assert!(answers(&lo, &format!("127.0.0.1:{port}")));
    assert!(!answers(&lo, &format!("10.1.2.3:{port}")));
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--ephemeral", "listen", "-p0"]);
    let anywhere = Program::spawn("carol", command);
    let port = anywhere.wait_ready();
    assert!(answers(&lo, &format!("10.1.2.3:{port}")));
}

/// The socket serves its owner alone, whatever the permissions of the files have become.
#[test]
fn another_user_cannot_use_the_socket() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let folder = lo.host.folder("alice");
    let socket = folder.join("control.sock");
    for (path, mode) in [(&folder, 0o711), (&socket, 0o666)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("our file");
    }
    let client_of = |user: u32| {
        let mut command = lo.host.command("setpriv");
        command.args(["--clear-groups", "--reuid", &user.to_string()]);
        command.args(["socat", "-", &format!("UNIX-CONNECT:{}", socket.display())]);
        Program::spawn("client", command)
    };
    let own = client_of(nix::unistd::geteuid().as_raw());
    own.out.wait_for(TIMEOUT, |line| line.contains("\"ready\""));
    let mut other = client_of(65_534);
    assert_eq!(other.wait_code(TIMEOUT), 0, "{:?}", other.err.all());
    assert!(other.out.wait_end(TIMEOUT).is_empty());
}

/// The server has places for 32 clients. Further ones wait until a place is free.
#[test]
fn a_client_without_a_place_waits() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let mut clients: Vec<Client> = (0..32).map(|_| Client::connect(&lo, "alice")).collect();
    let socket = lo.host.folder("alice").join("control.sock");
    let mut further = UnixStream::connect(socket).expect("a socket");
    // When another client has been answered twice, the server has accepted all it would.
    for id in 1..=2 {
        clients[0].send(&json!({"type": "command", "content": "/rooms", "id": id}));
        assert_eq!(clients[0].wait("done")["id"], id);
    }
    further.set_nonblocking(true).expect("a socket");
    assert!(further.read(&mut [0; 1]).is_err(), "it is not served yet");
    further.set_nonblocking(false).expect("a socket");
    further.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    clients.pop();
    assert_eq!(further.read(&mut [0; 1]).expect("a server"), 1);
}

/// A client that sends requests and reads no answer is served no longer, and costs no memory. It
/// gets all answers when it reads.
#[test]
fn requests_of_a_client_that_does_not_read_wait() {
    const REQUESTS: usize = 30_000;
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let mut client = Client::connect(&lo, "alice");
    let before = alice.peak();
    let request = json!({"type": "command", "content": "/stats", "id": 1});
    let requests = format!("{request}\n").repeat(REQUESTS);
    let mut writer = client.writer();
    let sender = thread::spawn(move || writer.write_all(requests.as_bytes()));
    // Then the program has done all it can without a reader.
    wait_asleep(alice.pid());
    run(&lo, "alice", &["send", "--need", "0", "line"]).assert_code(0);
    wait_line(&alice, ": line");
    for _ in 0..REQUESTS {
        client.wait("done");
    }
    let sent = sender.join().expect("no panic");
    sent.expect("a server");
    let grown = alice.peak() - before;
    assert!(grown < 4 * 1024, "{grown} KiB");
}
