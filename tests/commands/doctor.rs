//! `p2pchat doctor`: its statuses, its text and its JSON.
#[cfg(feature = "grenache")]
use super::TIMEOUT;
use super::hosts::host::Loopback;
#[cfg(feature = "grenache")]
use super::hosts::wait::wait_until;
use super::run;

/// With somebody there, all is well. The output has one line a check, as text or as JSON.
#[test]
fn its_status_says_whether_something_was_found() {
    let Some(lo) = Loopback::new() else { return };
    let often = ["--interval", "1"];
    let alone = run(&lo, "alice", &["doctor", "--interval", "1"]);
    alone.assert_code(1);
    let findings = alone
        .out
        .iter()
        .filter(|line| line.starts_with("finding: "));
    assert_eq!(findings.count(), 1, "{alone:?}");
    assert!(
        !lo.host.folder("alice").exists(),
        "it leaves nothing behind"
    );

    let _bob = lo.start("bob", &often);
    let _alice = lo.start("alice", &often);
    let well = run(&lo, "alice", &["doctor", "--interval", "1"]);
    well.assert_code(0);
    assert!(well.err.is_empty(), "{well:?}");
    assert!(
        well.out.iter().all(|line| line.starts_with("ok: ")),
        "{well:?}"
    );
    let finder = "ok: finder: multicast: ";
    let mut starts = vec!["ok: running: alice~", "ok: route: ", finder];
    if cfg!(feature = "mdns") {
        starts.push("ok: finder: mdns: ");
    }
    for start in starts {
        let starts = |line: &String| line.starts_with(start);
        assert!(well.out.iter().any(starts), "{start}: {well:?}");
    }

    let json = run(
        &lo,
        "alice",
        &["doctor", "--interval", "1", "--json", "-W", "2"],
    );
    json.assert_code(0);
    let start = r#"{"type":"check","name":""#;
    let is_check = |line: &String| {
        line.starts_with(start)
            && line.contains(r#","state":"ok","content":""#)
            && line.ends_with('}')
    };
    assert!(
        !json.out.is_empty() && json.out.iter().all(is_check),
        "{json:?}"
    );
    assert!(json.out[0].contains("alice"), "the directory: {json:?}");
}

/// A finding in JSON says what mends it. Without beacons nobody is looked for, and `--ephemeral`
/// has no directory.
#[test]
fn a_finding_in_json_has_its_command() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "alice", &["doctor", "--json", "-W", "0.1"]);
    outcome.assert_code(1);
    let is_finding = |line: &&String| line.contains(r#""name":"peer","state":"finding","#);
    let finding = outcome.out.iter().find(is_finding).expect("a finding");
    assert!(
        finding.ends_with(r#""mend":"p2pchat doctor -W 11"}"#),
        "{finding}"
    );
    let quiet = run(
        &lo,
        "alice",
        &["doctor", "--ephemeral", "-m", "none", "-W", "0.1"],
    );
    quiet.assert_code(0);
    assert!(
        !quiet.out.iter().any(|line| line.contains("directory")),
        "{quiet:?}"
    );
}

/// The trouble of a finder of the running program is a finding: here no Grape answers.
#[cfg(feature = "grenache")]
#[test]
fn a_finder_in_trouble_is_named() {
    let Some(lo) = Loopback::new() else { return };
    let grape = ["--grape", "http://127.0.0.1:1", "-m", "none"];
    let _alice = lo.start("alice", &grape);
    let finding = "finding: finder: grenache: ";
    wait_until("the trouble is named", TIMEOUT, || {
        let outcome = run(&lo, "alice", &["doctor", "-m", "none", "-W", "0.1"]);
        let named = outcome.out.iter().find(|line| line.starts_with(finding));
        named.is_some_and(|line| {
            assert_eq!(outcome.code, 1, "{outcome:?}");
            line.contains("; mend it: p2pchat --grape http://HOST:PORT")
        })
    });
}

/// Wrong usage, and a secret that cannot be read.
#[test]
fn wrong_usage_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "alice", &["doctor", "--room", "ops"]).assert_code(2);
    run(
        &lo,
        "alice",
        &["doctor", "-W", "0.1", "--secret-file", "/nonexistent"],
    )
    .assert_code(78);
}
