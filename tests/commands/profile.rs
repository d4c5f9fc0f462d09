//! /profile, /whois and /avatar: what users say about themselves, and who sees it.
use std::fs;
use std::os::unix::fs::symlink;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{TIMEOUT, finish, wait_error_line, wait_joined};

/// A file that begins like a PNG.
fn picture(size: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.resize(size, 7);
    file
}

fn say(program: &mut Program, command: &str, answer: &str) {
    program.say(command);
    wait_error_line(program, answer);
}

/// Bob describes himself. Alice sees it, and saves his picture: only in a new file. The next run
/// of bob says the same.
#[test]
fn a_profile_is_shown_and_its_picture_saved() {
    let Some(lo) = Loopback::new() else { return };
    let file = |name: &str| lo.host.folder(name).to_string_lossy().into_owned();
    fs::write(file("bob.png"), picture(30_000)).expect("a file");
    fs::write(file("large.png"), picture(64 * 1024 + 1)).expect("a file");
    fs::write(file("text"), "no picture").expect("a file");
    let mut alice = lo.start("alice", &["--commands"]);
    let mut bob = lo.start("bob", &["--commands"]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    say(
        &mut bob,
        "/profile",
        "your profile is empty: /profile status busy",
    );
    say(
        &mut bob,
        "/profile Status busy \x1b[2J now",
        "  status: busy ␛[2J now",
    );
    say(
        &mut bob,
        "/profile fingerprint 12345",
        "  fingerprint: 12345",
    );
    for (path, refusal) in [
        (
            file("large.png"),
            " is larger than 64 KiB: choose a smaller picture",
        ),
        (
            file("text"),
            " is no picture: choose a PNG, JPEG, GIF or WebP",
        ),
        (file("none"), ": No such file or directory (os error 2)"),
    ] {
        say(
            &mut bob,
            &format!("/profile avatar {path}"),
            &format!("{path}{refusal}"),
        );
    }
    // Another program of bob's sets the picture, through the one that runs.
    let mut attached = lo.start("bob", &["--commands"]);
    say(
        &mut attached,
        "/profile avatar ~/bob.png",
        "  avatar: image/png, 30000 bytes",
    );
    finish(attached, b"").assert_code(0);

    alice.say("/whois bob");
    for end in [
        "  status: busy ␛[2J now",
        "  avatar: image/png, 30000 bytes",
    ] {
        wait_error_line(&alice, end);
    }
    // A field is never taken for what our program says.
    let is_bare = |line: &String| line.starts_with("fingerprint");
    assert!(
        !alice.err.all().iter().any(is_bare),
        "{:?}",
        alice.err.all()
    );
    let saved = file("saved");
    say(
        &mut alice,
        "/avatar bob ~/saved",
        "saved is written: image/png, 30000 bytes",
    );
    assert_eq!(fs::read(&saved).expect("a picture"), picture(30_000));
    symlink(file("elsewhere"), file("link")).expect("a link");
    for name in ["saved", "link"] {
        let refusal = format!("{} is not written: File exists (os error 17)", file(name));
        say(&mut alice, &format!("/avatar bob {}", file(name)), &refusal);
    }
    assert!(!fs::exists(file("elsewhere")).expect("a folder"));
    let carol = file("carol.png");
    say(
        &mut bob,
        &format!("/avatar alice {carol}"),
        " is not written: there is no picture",
    );

    // The second answer says that nothing has changed; the next run says the same.
    finish(bob, b"").assert_code(1);
    let mut bob = lo.start("bob", &["--commands"]);
    say(
        &mut bob,
        "/profile fingerprint -",
        "  avatar: image/png, 30000 bytes",
    );
    let has_joined = |line: &&String| line.contains("* bob~") && line.ends_with(" joined");
    alice.out.wait_all(TIMEOUT, |lines| {
        lines.iter().filter(has_joined).count() == 2
    });
    let outcome = finish(
        lo.start("alice", &["--json"]),
        b"{\"type\":\"command\",\"content\":\"/avatar bob\",\"id\":1}\n",
    );
    let peer = outcome
        .out
        .iter()
        .find(|line| line.contains("\"type\":\"peer\""));
    let peer: serde_json::Value =
        serde_json::from_str(peer.unwrap_or_else(|| panic!("{outcome:?}"))).expect("JSON");
    assert_eq!(
        peer["profile"],
        serde_json::json!({"status": "busy \u{1b}[2J now"})
    );
    assert_eq!(
        (&peer["avatar_type"], &peer["avatar_bytes"]),
        (&"image/png".into(), &30_000.into())
    );
    assert_eq!(peer["avatar"].as_str().map(str::len), Some(40_000));
    // A script reads its own the same way.
    let outcome = finish(
        lo.start("bob", &["--json"]),
        b"{\"type\":\"command\",\"content\":\"/profile avatar -\",\"id\":2}\n",
    );
    let own = r#"{"type":"profile","profile":{"status":"busy \u001b[2J now"},"id":2}"#;
    assert!(outcome.out.iter().any(|line| line == own), "{outcome:?}");
}

/// A program that knows no profiles does not answer, and /whois ends without it.
#[test]
fn whois_of_who_does_not_answer_ends() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--commands"]);
    let bob = lo.start("bob", &[]);
    wait_joined(&alice, "bob");
    bob.signal(nix::sys::signal::Signal::SIGSTOP);
    alice.say("/whois bob");
    alice.err.wait_for(TIMEOUT, |line| line.starts_with("id: "));
    bob.signal(nix::sys::signal::Signal::SIGCONT);
    say(
        &mut alice,
        "/profile",
        "your profile is empty: /profile status busy",
    );
}
