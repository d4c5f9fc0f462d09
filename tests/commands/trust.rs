//! `p2pchat trust`: who is known by which key, with and without a running program.
use std::fs;

use nix::sys::signal::Signal;
use p2pchat::base::identity::{Identity, PeerId};
use p2pchat::base::trust::fingerprint::Fingerprint;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{
    Outcome, TIMEOUT, finish, run, wait_client, wait_error_line, wait_joined, wait_line,
    wait_messages,
};

fn id(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).id()
}

fn fingerprint(seed: u8) -> String {
    Fingerprint::of(&id(seed)).to_string()
}

/// Runs `p2pchat trust` for alice.
fn trust(lo: &Loopback, arguments: &[&str]) -> Outcome {
    run(lo, "alice", &[&["trust"][..], arguments].concat())
}

/// The file `known_peers` of alice.
fn known_peers(lo: &Loopback) -> String {
    fs::read_to_string(lo.host.folder("alice").join("known_peers")).expect("a file")
}

/// The rows of a list, without the times.
fn rows(outcome: &Outcome) -> Vec<String> {
    outcome.assert_code(0);
    let row = |line: &String| {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!((cells.len(), cells[4]), (5, "-"), "{line}");
        assert!(cells[3].ends_with('Z'), "{line}");
        cells[..3].join(" ")
    };
    outcome.out.iter().map(row).collect()
}

fn row(name: &str, seed: u8, state: &str) -> String {
    let id = id(seed);
    format!("{name}~{} {id} {state}", id.short())
}

/// The fingerprint of a user's key, as `whoami` prints it.
fn fingerprint_of(lo: &Loopback, user: &str) -> String {
    let lines = run(lo, user, &["whoami"]).out;
    let line = lines.iter().find_map(|it| it.strip_prefix("fingerprint: "));
    line.expect("a fingerprint").to_owned()
}

/// The only line of stderr.
fn sentence(outcome: &Outcome, code: i32) -> &str {
    outcome.assert_code(code);
    assert_eq!(outcome.err.len(), 1, "{outcome:?}");
    &outcome.err[0]
}

/// `trust add` binds, `list` lists, `verify` compares and `forget` forgets; all without a running
/// program, and the file stays as its user wrote it otherwise.
#[test]
fn names_are_bound_verified_and_forgotten() {
    let Some(lo) = Loopback::new() else { return };
    assert_eq!(trust(&lo, &["list"]).out, Vec::<String>::new());
    let bob = id(2).to_string();
    let added = trust(&lo, &["add", "bob", &bob]);
    assert_eq!(rows(&added), [row("bob", 2, "bound")]);
    let path = lo.host.folder("alice").join("known_peers");
    let text = format!("# friends\n{}no peer\n", known_peers(&lo));
    fs::write(&path, text).expect("a file");

    // Either case of letters; each group has a check digit.
    let read_out = fingerprint(2).to_uppercase();
    assert_eq!(
        rows(&trust(&lo, &["verify", "@BOB", &read_out])),
        [row("bob", 2, "verified")]
    );
    assert_eq!(rows(&trust(&lo, &[])), [row("bob", 2, "verified")]);
    let line = format!("bob {bob} ");
    assert!(known_peers(&lo).starts_with(&format!("# friends\n{line}")));
    assert!(known_peers(&lo).ends_with(" bound verified\nno peer\n"));
    let code = format!("{bob}@10.0.0.7:9999");
    assert_eq!(
        rows(&trust(&lo, &["add", "bob", &code])),
        [row("bob", 2, "verified")]
    );

    assert_eq!(
        rows(&trust(&lo, &["forget", "bob"])),
        [row("bob", 2, "forgotten")]
    );
    assert_eq!(known_peers(&lo), "# friends\nno peer\n");
    let unknown = "p2pchat: @bob is nobody known; `p2pchat trust list` lists who is, and @ID means a \
                   key that has left no name, as `p2pchat peers` or --json show it";
    assert_eq!(sentence(&trust(&lo, &["forget", "bob"]), 1), unknown);
    let read_out = fingerprint(2);
    assert_eq!(
        sentence(&trust(&lo, &["verify", "bob", &read_out]), 1),
        unknown
    );
}

/// Another fingerprint is 77 and changes nothing; a misread one is 2, and the group is named.
#[test]
fn a_wrong_fingerprint_verifies_nothing() {
    let Some(lo) = Loopback::new() else { return };
    trust(&lo, &["add", "bob", &id(2).to_string()]).assert_code(0);
    let before = known_peers(&lo);
    let outcome = trust(&lo, &["verify", "bob", &fingerprint(3)]);
    let warning = sentence(&outcome, 77);
    assert!(
        warning.contains("THE FINGERPRINT IS NOT that of bob~"),
        "{warning}"
    );
    let mut groups: Vec<String> = fingerprint(2).split(' ').map(str::to_owned).collect();
    let third = if groups[2].starts_with('0') { "1" } else { "0" };
    groups[2].replace_range(..1, third);
    let misread: Vec<&str> = groups.iter().map(String::as_str).collect();
    let outcome = trust(&lo, &[&["verify", "bob"][..], &misread].concat());
    assert!(
        sentence(&outcome, 2).ends_with("was misread: group 3 does not fit its check digit"),
        "{outcome:?}"
    );
    // An earlier version showed no check digits.
    let short: String = fingerprint(3).split(' ').map(|group| &group[..4]).collect();
    sentence(&trust(&lo, &["verify", "bob", &short]), 77);
    assert_eq!(known_peers(&lo), before);
}

/// A verified key is not replaced in silence: the sentence names both ways on.
#[test]
fn a_verified_key_gives_way_to_a_verified_one_alone() {
    let Some(lo) = Loopback::new() else { return };
    trust(&lo, &["verify", "bob", &fingerprint(2)]).assert_code(1);
    trust(&lo, &["add", "bob", &id(2).to_string()]).assert_code(0);
    trust(&lo, &["verify", "bob", &fingerprint(2)]).assert_code(0);
    let before = known_peers(&lo);
    let (second, third) = (id(2).short(), id(3).short());
    let refused = trust(&lo, &["add", "BOB", &id(3).to_string()]);
    let refused = sentence(&refused, 77);
    for part in [
        format!("you have verified BOB~{second}"),
        format!("p2pchat trust verify BOB~{third} FINGERPRINT"),
        format!("p2pchat trust forget BOB~{second}"),
    ] {
        assert!(refused.contains(&part), "{refused}");
    }
    assert_eq!(known_peers(&lo), before);
    // The other key is known by another name, and its fingerprint is read out.
    trust(&lo, &["forget", &format!("BOB~{second}")]).assert_code(0);
    trust(&lo, &["add", "bob", &id(3).to_string()]).assert_code(0);
    assert_eq!(rows(&trust(&lo, &["list"])), [row("bob", 3, "bound")]);
}

/// A name that is bound to one key and borne by another means two: who is banned or ignored is
/// not guessed.
#[test]
fn a_bound_name_that_another_key_bears_is_not_banned() {
    let Some(lo) = Loopback::new() else { return };
    for seed in [2, 3] {
        trust(&lo, &["add", "bob", &id(seed).to_string()]).assert_code(0);
    }
    let (second, third) = (id(2).short(), id(3).short());
    for command in ["ban", "ignore"] {
        assert_eq!(
            sentence(&trust(&lo, &[command, "bob"]), 1),
            format!("p2pchat: @bob could be @bob~{second} or @bob~{third}")
        );
    }
    let both = [row("bob", 2, "seen"), row("bob", 3, "bound")];
    assert_eq!(rows(&trust(&lo, &["list"])), both);
    trust(&lo, &["ban", &format!("bob~{second}")]).assert_code(0);
    let both = [row("bob", 2, "banned"), row("bob", 3, "bound")];
    assert_eq!(rows(&trust(&lo, &["list"])), both);
}

/// A name that two keys bear is refused, with the candidates. An id, or a part of it, tells.
#[test]
fn a_name_of_two_is_forgotten_by_its_id() {
    let Some(lo) = Loopback::new() else { return };
    trust(&lo, &["add", "bob", &id(2).to_string()]).assert_code(0);
    trust(&lo, &["add", "bob", &id(3).to_string()]).assert_code(0);
    // The name means the key that was bound last.
    let both = [row("bob", 2, "seen"), row("bob", 3, "bound")];
    assert_eq!(rows(&trust(&lo, &["list"])), both);
    let outcome = trust(&lo, &["forget", "bob"]);
    let (second, third) = (id(2).short(), id(3).short());
    assert_eq!(
        sentence(&outcome, 1),
        format!("p2pchat: @bob could be @bob~{second} or @bob~{third}")
    );
    assert_eq!(
        rows(&trust(&lo, &["forget", &id(2).to_string()])),
        [row("bob", 2, "forgotten")]
    );
    let rest = format!("bob~{third}");
    assert_eq!(
        rows(&trust(&lo, &["forget", &rest])),
        [row("bob", 3, "forgotten")]
    );
    assert_eq!(known_peers(&lo), "");
}

/// Wrong usage is 2, and says what is right. Without a directory nobody is known.
#[test]
fn wrong_usage_of_trust_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let usage = "p2pchat: trust takes list, add NAME ID, forget NAME, verify NAME FINGERPRINT, \
                 ban NAME, unban NAME, ignore NAME, or unignore NAME";
    for arguments in [&["lst"][..], &["verify", "bob"]] {
        assert_eq!(sentence(&trust(&lo, arguments), 2), usage);
    }
    for arguments in [
        &["add"][..],
        &["add", "bob"],
        &["add", "b~b", &id(2).to_string()],
        &["add", "bob", "nokey"],
        &["add", "bob", &"a".repeat(52)],
        &["forget"],
        &["verify", "bob", "12345"],
        &["forget", "guest/bob"],
        &["list", "-n", "1"],
    ] {
        sentence(&trust(&lo, arguments), 2);
    }
    let outcome = trust(&lo, &["list", "--ephemeral"]);
    assert!(sentence(&outcome, 2).contains("--ephemeral"), "{outcome:?}");
    let own = run(&lo, "alice", &["whoami"]).out[1].clone();
    let outcome = trust(&lo, &["add", "me", &own["id: ".len()..]]);
    assert_eq!(sentence(&outcome, 1), "p2pchat: that is you");
}

/// With --json each peer is an object, with its fingerprint.
#[test]
fn trust_speaks_json() {
    let Some(lo) = Loopback::new() else { return };
    let bob = id(2);
    let outcome = trust(&lo, &["--json", "add", "bob", &bob.to_string()]);
    outcome.assert_code(0);
    let begin = format!(
        r#"{{"type":"trust","sender":"{bob}","username":"bob","name":"bob~{}","state":"bound","since":"20"#,
        bob.short()
    );
    let end = format!(r#"Z","fingerprint":"{}","trust":"known"}}"#, fingerprint(2));
    assert!(
        outcome.out[0].starts_with(&begin) && outcome.out[0].ends_with(&end),
        "{outcome:?}"
    );
    assert_eq!(trust(&lo, &["list", "--json"]).out, outcome.out);
}

/// Says something to bob, and returns the outcome.
fn write_to_bob(lo: &Loopback) -> Outcome {
    run(lo, "alice", &["send", "-t", "@bob", "-W", "10", "psst"])
}

/// Beside a running program: it lists whom it has seen, and takes up each change at once. Bob's key
/// changes, so a message to him is refused (77) until the command in the warning is run.
#[test]
fn a_changed_key_needs_trust() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let bob = lo.start("bob", &[]);
    wait_joined(&alice, "bob");
    write_to_bob(&lo).assert_code(0);
    let listed = trust(&lo, &["list"]);
    assert!(rows(&listed)[0].ends_with(" bound"), "{listed:?}");
    finish(bob, b"").assert_code(0);
    wait_line(&alice, " left");

    let dir = format!("--dir={}", lo.host.folder("bob-the-second").display());
    let bob = lo.start("bob", &[&dir]);
    wait_joined(&bob, "alice");
    let refused = write_to_bob(&lo);
    refused.assert_code(77);
    let warning = refused
        .err
        .iter()
        .find_map(|line| line.split_once(": p2pchat trust "));
    let command: Vec<&str> = warning.expect("a command").1.split(' ').collect();
    assert!(rows(&trust(&lo, &command))[0].ends_with(" bound"));
    write_to_bob(&lo).assert_code(0);
    wait_line(&bob, ": psst");
    let listed = rows(&trust(&lo, &["list"]));
    assert!(
        listed[0].ends_with(" seen") && listed[1].ends_with(" bound"),
        "{listed:?}"
    );

    // What a person reads out at the other end.
    let read_out = run(&lo, "bob", &[&dir, "whoami"]).out[2].clone();
    let outcome = trust(&lo, &["verify", "bob", &read_out["fingerprint: ".len()..]]);
    assert!(rows(&outcome)[0].ends_with(" verified"));
    sentence(&trust(&lo, &["verify", "bob", &fingerprint(7)]), 77);
    sentence(&trust(&lo, &["forget", "nobody"]), 1);
}

/// Whoever is forgotten is a stranger to the running program: the name may be claimed by any key.
#[test]
fn a_running_program_forgets() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    trust(&lo, &["add", "bob", &id(2).to_string()]).assert_code(0);
    trust(&lo, &["forget", "bob"]).assert_code(0);
    let bob = lo.start("bob", &[]);
    wait_joined(&bob, "alice");
    write_to_bob(&lo).assert_code(0);
    let warnings = alice.err.all();
    assert!(
        !warnings.iter().any(|line| line.contains("key")),
        "{warnings:?}"
    );
}

/// At the terminal, /trust and /verify do the same, and answer with the fingerprint.
#[test]
fn trust_can_be_typed() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--commands"]);
    alice.wait_ready();
    let bob = id(2);
    let answer = |alice: &mut Program, command: &str, what: &str| {
        alice.say(command);
        alice.err.wait_for(TIMEOUT, |line| line.contains(what))
    };
    let command = format!("/trust add bob {bob}");
    let line = answer(&mut alice, &command, ": known (bound), first seen ");
    assert!(
        line.ends_with(&format!(", fingerprint {}", fingerprint(2))),
        "{line}"
    );
    let command = format!("/verify bob {}", fingerprint(2));
    answer(&mut alice, &command, ": verified, first seen ");
    answer(&mut alice, "/Verify bob", &fingerprint(2));
    answer(&mut alice, "/trust forget bob", ": forgotten, first seen ");
    answer(&mut alice, "/trust bob", "@bob is nobody known");
}

/// /whois tells the key and the whereabouts, and marks how well the key is known: so do /users and
/// peers. A stranger is new, until its fingerprint is compared.
#[test]
fn whois_tells_how_well_a_key_is_known() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--commands"]);
    let bob = lo.start("bob", &[]);
    wait_joined(&alice, "bob");
    let whoami = run(&lo, "bob", &["whoami"]).out;
    let of_bob = |key: &str| {
        whoami
            .iter()
            .find_map(|line| line.strip_prefix(key))
            .expect(key)
    };
    let (name, id, fingerprint) = (of_bob("name: "), of_bob("id: "), of_bob("fingerprint: "));
    let ends = |alice: &Program, end: &str| {
        alice.err.wait_for(TIMEOUT, |line| {
            line.starts_with(name) && line.ends_with(end)
        });
    };
    alice.say("/whois bob");
    ends(&alice, &format!(", fingerprint {fingerprint}"));
    alice
        .err
        .wait_for(TIMEOUT, |line| line == format!("id: {id}"));
    ends(&alice, " ms  (new)");
    alice.say(&format!("/verify bob {fingerprint}"));
    alice.say("/users");
    ends(&alice, " ms  (verified)");
    let peers = run(&lo, "alice", &["peers", "--json"]);
    assert!(
        peers.out[0].contains(r#","trust":"verified","#),
        "{peers:?}"
    );

    finish(bob, b"").assert_code(0);
    alice.say("/whois bob");
    alice.err.wait_for(TIMEOUT, |line| {
        line == "not here" || line.contains("  gone  ")
    });
    alice.say("/whois nobody");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("@nobody is nobody known"));
    // Without a directory, those who are here are known.
    let mut carol = lo.start("carol", &["--ephemeral", "--commands"]);
    wait_joined(&carol, "alice");
    carol.say("/whois alice");
    carol.err.wait_for(TIMEOUT, |line| {
        line.starts_with("alice~") && line.ends_with("  (new)")
    });
}

/// The known peers of an ephemeral program live in its memory: it binds, verifies, ignores and bans
/// as any other, until it ends.
#[test]
fn an_ephemeral_program_remembers_whom_it_trusts() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--ephemeral", "--commands"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    // It ends once alice holds the line.
    let say = |text| run(&lo, "bob", &["send", text]).assert_code(0);
    let read_out = fingerprint_of(&lo, "bob");
    let answer = |alice: &mut Program, command: &str, what: &str| {
        alice.say(command);
        let is_answer = |line: &str| line.starts_with("bob~") && line.contains(what);
        alice.err.wait_for(TIMEOUT, is_answer);
    };
    answer(
        &mut alice,
        &format!("/verify bob {read_out}"),
        ": verified, ",
    );
    answer(&mut alice, "/trust list", ": verified, ");
    answer(&mut alice, "/ignore bob", ": ignored, ");
    say("one");
    answer(&mut alice, "/unignore bob", ": unignored, ");
    say("two");
    wait_messages(&alice, &["two"]);
    // A bound name means its key alone.
    bob.signal(Signal::SIGTERM);
    wait_line(&alice, " left");
    let _other = lo.start("other", &["-u", "bob", "listen"]);
    wait_joined(&alice, "bob");
    alice.say("/msg bob psst");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("not sent to @bob: WARNING: "));
    let folder = lo.host.folder("alice");
    assert!(!folder.exists(), "nothing is written");
}

/// The name of an ephemeral peer is not bound: its key never comes back.
#[test]
fn ephemeral_keys_are_not_trusted() {
    let Some(lo) = Loopback::new() else { return };
    let carol = lo.start("carol", &["--ephemeral", "listen"]);
    carol.wait_ready();
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "carol");
    alice.say("/trust carol");
    alice.err.wait_for(TIMEOUT, |line| {
        line.contains("carol is not bound: its key ends with")
    });
}

/// `trust ban` works with and without a running program, also on an id that nobody knows. A banned
/// key is not linked, also by a program that starts later, until `trust unban`. `/trust ban` is the
/// same.
#[test]
fn a_banned_key_is_not_linked_until_it_is_unbanned() {
    let Some(lo) = Loopback::new() else { return };
    let stranger = id(9).to_string();
    let banned = trust(&lo, &["ban", &format!("@{stranger}")]);
    assert_eq!(rows(&banned), [row("?", 9, "banned")]);
    let mut alice = lo.start("alice", &["--commands"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    let banned = trust(&lo, &["ban", "bob"]);
    assert!(rows(&banned)[0].ends_with(" banned"), "{banned:?}");
    wait_line(&alice, " left");
    wait_line(&bob, " left");
    let outcome = run(&lo, "alice", &["peers", "-W", "0.5"]);
    assert_eq!((outcome.code, outcome.out.len()), (69, 0), "{outcome:?}");
    let list = rows(&trust(&lo, &["list"]));
    assert_eq!(list.iter().filter(|it| it.ends_with(" banned")).count(), 2);
    assert!(sentence(&trust(&lo, &["add", "zed", &stranger]), 1).contains("is banned"));
    // Names of banned keys mean nobody.
    run(&lo, "alice", &["send", "-t", "@bob", "-W", "0.1", "psst"]).assert_code(1);
    finish(alice, b"/quit\n").assert_code(0);
    run(&lo, "alice", &["send", "-W", "0.5", "hello"]).assert_code(69);
    alice = lo.start("alice", &["--commands"]);
    alice.say("/trust unban bob");
    wait_joined(&alice, "bob");
    alice.say("/trust ban bob");
    wait_line(&alice, " left");
    assert_eq!(known_peers(&lo).matches(" banned").count(), 2);
}

/// `trust unban` takes only a banned key, and keeps its names as seen ones; a binding without a ban
/// stays.
#[test]
fn only_a_ban_is_ended_by_unban() {
    let Some(lo) = Loopback::new() else { return };
    trust(&lo, &["add", "bob", &id(2).to_string()]).assert_code(0);
    let refused = trust(&lo, &["unban", "bob"]);
    let refused = sentence(&refused, 1);
    assert!(refused.contains("@bob is not banned"), "{refused}");
    assert_eq!(rows(&trust(&lo, &["list"])), [row("bob", 2, "bound")]);
    trust(&lo, &["ban", "bob"]).assert_code(0);
    let seen = [row("bob", 2, "seen")];
    assert_eq!(rows(&trust(&lo, &["unban", "bob"])), seen);
    assert_eq!(rows(&trust(&lo, &["list"])), seen);
    // A key without a name is nobody known.
    let stranger = format!("@{}", id(9));
    trust(&lo, &["ban", &stranger]).assert_code(0);
    let forgotten = [row("?", 9, "forgotten")];
    assert_eq!(rows(&trust(&lo, &["unban", &stranger])), forgotten);
    assert_eq!(rows(&trust(&lo, &["list"])), seen);
}

/// `trust list` lists who is ignored, too, with and without a running program. A key that has left
/// no name, as one of `--ephemeral`, is ignored by its id.
#[test]
fn ignored_keys_are_listed() {
    let Some(lo) = Loopback::new() else { return };
    trust(&lo, &["add", "bob", &id(2).to_string()]).assert_code(0);
    for name in ["bob", &format!("@{}", id(9))] {
        trust(&lo, &["ignore", name]).assert_code(0);
    }
    let listed = [
        row("bob", 2, "bound"),
        row("bob", 2, "ignored"),
        row("?", 9, "ignored"),
    ];
    assert_eq!(rows(&trust(&lo, &["list"])), listed);
    let _alice = lo.start("alice", &["listen"]);
    assert_eq!(rows(&trust(&lo, &["list"])), listed);
    trust(&lo, &["unignore", &format!("@{}", id(9))]).assert_code(0);
    assert_eq!(rows(&trust(&lo, &["list"])), listed[..2]);
}

/// Beside a stopped program, `trust list` reads the file.
#[test]
fn a_stopped_program_does_not_hold_up_the_list() {
    let Some(lo) = Loopback::new() else { return };
    trust(&lo, &["add", "bob", &id(2).to_string()]).assert_code(0);
    let alice = lo.start("alice", &["listen"]);
    alice.signal(Signal::SIGSTOP);
    assert_eq!(rows(&trust(&lo, &["list"])), [row("bob", 2, "bound")]);
    alice.signal(Signal::SIGCONT);
}

/// A ban written into the file by hand counts after SIGHUP.
#[test]
fn a_ban_in_the_file_counts_after_sighup() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    let banned = known_peers(&lo).replace("Z\n", "Z banned\n");
    fs::write(lo.host.folder("alice").join("known_peers"), banned).expect("written");
    alice.signal(Signal::SIGHUP);
    wait_line(&alice, " left");
    wait_line(&bob, " left");
}

/// Lines of an ignored peer are not printed, by no program of this directory, and they are stored
/// and passed on. It lasts over restarts, until /unignore. Names that two bear are refused.
#[test]
fn lines_of_an_ignored_peer_are_not_printed() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--commands"]);
    let mut bob = lo.start("bob", &[]);
    let mut carol = lo.start("carol", &["--commands"]);
    for nick in ["bob", "carol"] {
        wait_joined(&alice, nick);
    }
    wait_joined(&carol, "bob");
    let second = lo.start("alice", &["--json", "listen"]);
    wait_client(&lo, &alice);
    alice.say("/ignore bob");
    wait_error_line(&alice, &fingerprint_of(&lo, "bob"));
    let mut say = |number: u64| {
        bob.say(&format!("bob {number}"));
        wait_line(&carol, &format!(": bob {number}"));
        carol.say(&format!("carol {number}"));
    };
    say(1);
    wait_line(&alice, ": carol 1");
    second
        .out
        .wait_for(TIMEOUT, |line| line.contains("carol 1"));
    finish(alice, b"/quit\n").assert_code(0);
    // The second program goes on, and has read the file.
    alice = lo.start("alice", &["--commands"]);
    say(2);
    wait_line(&alice, ": carol 2");
    assert!(rows(&trust(&lo, &["ignore"]))[0].ends_with(" ignored"));
    let lines = run(&lo, "alice", &["history"]).out;
    let stored = lines.iter().filter(|line| line.contains(": bob ")).count();
    assert_eq!(stored, 2, "{lines:?}");
    alice.say("/unignore bob");
    wait_error_line(&alice, &fingerprint_of(&lo, "bob"));
    say(3);
    wait_line(&alice, ": bob 3");
    for program in [&alice, &second] {
        let lines = program.out.all().concat();
        assert!(
            !lines.contains("bob 1") && !lines.contains("bob 2"),
            "{lines}"
        );
    }
    // A second one bears the name.
    let other = lo.start("bob2", &["-u", "bob", "listen"]);
    wait_joined(&other, "alice");
    let is_refused = || {
        let refused = trust(&lo, &["ignore", "bob"]);
        refused.code == 1 && refused.err.concat().contains("bob~")
    };
    wait_until("two are called bob", TIMEOUT, is_refused);
}
