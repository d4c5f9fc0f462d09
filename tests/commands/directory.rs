//! What a run keeps, and what it refuses to start with.
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::hosts::Loopback;
use super::hosts::program::Program;
use super::{Ended, finish};

fn only_sentence(ended: &Ended) -> &str {
    assert_eq!((ended.out.len(), ended.err.len()), (0, 1), "{ended:?}");
    assert!(ended.err[0].starts_with("p2pchat: "), "{ended:?}");
    &ended.err[0]
}

#[test]
fn a_damaged_identity_is_an_error_and_stays() {
    let Some(lo) = Loopback::new() else { return };
    let path = lo.host.folder("bob").join("identity");
    finish(lo.spawn("bob", &["whoami"]), b"");
    let whole = fs::read(&path).expect("an identity");
    for damaged in [&b""[..], b"garbage\n", &whole[..whole.len() / 2]] {
        fs::write(&path, damaged).expect("a file");
        for verb in ["listen", "whoami"] {
            let ended = finish(lo.spawn("bob", &[verb]), b"");
            assert_eq!(ended.code, 78, "{ended:?}");
            assert!(only_sentence(&ended).contains("identity"), "{ended:?}");
            assert_eq!(fs::read(&path).expect("the file"), damaged);
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let Some(lo) = Loopback::new() else { return };
    fs::write(lo.host.folder("file"), "").expect("a file");
    let path = lo.host.folder("file").join("below");
    let dir = format!("--dir={}", path.display());
    for verb in ["listen", "whoami", "send"] {
        let ended = finish(lo.spawn("bob", &[verb, &dir]), b"");
        assert_eq!(ended.code, 78, "{ended:?}");
        assert!(only_sentence(&ended).contains("--dir"), "{ended:?}");
    }
}

#[test]
fn whoami_tells_who_one_is_and_stays_it() {
    let Some(lo) = Loopback::new() else { return };
    let ended = finish(lo.spawn("bob", &["whoami"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.is_empty(), "{ended:?}");
    let values: Vec<&str> = ["name: ", "id: ", "fingerprint: ", "code: "]
        .iter()
        .zip(&ended.out)
        .map(|(key, line)| line.strip_prefix(key).expect(line))
        .collect();
    assert_eq!(ended.out.len(), 4);
    let [name, id, fingerprint, code] = values[..] else {
        panic!("{ended:?}");
    };
    assert_eq!(id.len(), 52);
    assert_eq!(name, format!("bob~{}", &id[..4]));
    assert!(!fingerprint.is_empty() && !code.is_empty());

    let path = lo.host.folder("bob").join("identity");
    let mode = fs::metadata(path)
        .expect("an identity")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = finish(lo.spawn("bob", &["whoami"]), b"");
    assert_eq!(again.out, ended.out);
    let json = finish(lo.spawn("bob", &["whoami", "--json"]), b"");
    let expected = format!(
        r#"{{"type":"self","sender":"{id}","username":"bob","name":"{name}","fingerprint":"{fingerprint}","code":"{code}"}}"#
    );
    assert_eq!(json.out, [expected]);
    let picture = finish(lo.spawn("bob", &["whoami", "--qr"]), b"");
    assert_eq!(picture.out[..4], ended.out);
    assert!(picture.out.len() > 15, "{picture:?}");
    let widths: Vec<usize> = picture.out[4..].iter().map(|l| l.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");

    // The code is one to dial by.
    let dialed = finish(
        lo.spawn("alice", &["--peer", code, "peers", "-W", "0.1"]),
        b"",
    );
    assert_ne!(dialed.code, 2, "{dialed:?}");
}

#[test]
fn whoami_tells_of_the_program_that_runs() {
    let Some(lo) = Loopback::new() else { return };
    let net = &lo.host.namespace;
    net.ip("link add d0 type veth peer name d1");
    net.ip("address add 10.1.2.3/24 dev d0");
    net.ip("link set d0 up");
    net.ip("link set d1 up");
    let run = |user: &str, arguments: &[&str]| {
        let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
        command.args(arguments).env("P2PCHAT_USERNAME", user);
        command.env("P2PCHAT_DIR", lo.host.folder("bob"));
        Program::spawn(user, command)
    };
    let code = |ended: &Ended| ended.out[3].split_once('@').map(|(_, at)| at.to_owned());
    let ended = finish(run("carol", &["whoami"]), b"");
    assert!(ended.out[0].starts_with("name: carol~"), "{ended:?}");
    assert!(code(&ended).is_some_and(|at| at.contains("10.1.2.3:9999")));
    let bob = run("bob", &["listen", "-p0", "--interface=d0"]);
    let port = bob.wait_ready();
    let ended = finish(run("carol", &["whoami"]), b"");
    assert!(ended.out[0].starts_with("name: bob~"), "{ended:?}");
    assert_eq!(code(&ended), Some(format!("10.1.2.3:{port}")));
    assert_eq!(finish(run("bob", &["whoami", "-p9"]), b"").code, 2);
}

#[test]
fn a_port_by_hand_is_that_or_none() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    assert_eq!(bob.wait_ready(), 9999);
    let ended = finish(lo.spawn("alice", &["-p", "9999", "listen"]), b"");
    assert_eq!(ended.code, 1, "{ended:?}");
    let sentence = only_sentence(&ended);
    assert!(
        sentence.contains("9999") && sentence.contains("taken"),
        "{ended:?}"
    );
    let alice = lo.start("alice", &["listen"]);
    assert_ne!(alice.wait_ready(), 9999);
    let carol = lo.start("carol", &["-p", "0", "listen"]);
    assert!(![9999, 0].contains(&carol.wait_ready()));
    let dave = lo.start("dave", &["-p", "10777", "listen"]);
    assert_eq!(dave.wait_ready(), 10777);
}

#[test]
fn a_room_too_many_is_refused_and_leaves_no_folder() {
    let Some(lo) = Loopback::new() else { return };
    let joins: String = (1..=70).map(|n| format!("/join r{n}\n")).collect();
    let ended = finish(lo.spawn("alice", &["--commands"]), joins.as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    let refused = |line: &&String| line.ends_with(": in 64 rooms already, /part one first");
    assert_eq!(ended.err.iter().filter(refused).count(), 7, "{ended:?}");
    let history = lo.host.folder("alice").join("history");
    let network = fs::read_dir(history).expect("a folder").next();
    let network = network.expect("a network").expect("a folder").path();
    assert_eq!(fs::read_dir(network).expect("a folder").count(), 64);
}

#[test]
fn what_cannot_be_stored_is_said_to_be_gone_and_nobody_waits_for_ever() {
    let Some(lo) = Loopback::new() else { return };
    finish(lo.spawn("alice", &["listen", "-W", "0"]), b"");
    let mut command = lo.host.command("sh");
    // No file may grow: as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" --interface lo send -W 0.3 hello";
    command.args(["-c", script, env!("CARGO_BIN_EXE_p2pchat")]);
    command.env("P2PCHAT_DIR", lo.host.folder("alice"));
    let ended = finish(Program::spawn("alice", command), b"");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.err.len() == 2
            && ended.err[0].starts_with("p2pchat: the history cannot be written: ")
            && ended.err[1].ends_with(" could not be stored, and are lost"),
        "{ended:?}"
    );
}

#[test]
fn what_is_odd_at_a_start_is_told_with_what_to_do() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["-W", "0", "listen", "-q"];
    assert!(finish(lo.spawn("bob", &args), b"").err.is_empty());
    let known = lo.host.folder("bob").join("known_peers");
    for (text, what) in [
        ("bad\n", "line 1 is not `name id since` and was skipped"),
        (
            "bad\n\nbad\n",
            "2 lines are not `name id since` and were skipped",
        ),
    ] {
        fs::write(&known, text).expect("a file");
        let ended = finish(lo.spawn("bob", &["listen", "-W", "0"]), b"");
        let told = |line: &String| line.contains(&format!("known_peers: {what}"));
        assert!(ended.code == 0 && ended.err.iter().any(told), "{ended:?}");
    }
    let args = ["listen", "-W", "0", "--interface", "nope"];
    let ended = finish(lo.spawn("alice", &args), b"");
    let told = "p2pchat: there is no interface nope now; it is used when it appears";
    assert_eq!((ended.code, ended.err[0].as_str()), (0, told), "{ended:?}");
    assert!(!ended.err[1].contains("no interface"), "{ended:?}");

    let mut command = lo.host.command("setpriv");
    command.args(["--bounding-set", "-net_bind_service"]);
    command.args([env!("CARGO_BIN_EXE_p2pchat"), "--ephemeral", "-p80"]);
    let ended = finish(Program::spawn("alice", command), b"");
    let told = "p2pchat: port 80 is only for root: choose one from 1024 up with -p";
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(only_sentence(&ended).starts_with(told), "{ended:?}");
}
