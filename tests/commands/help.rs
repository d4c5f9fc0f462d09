//! The usage and the version.
use super::hosts::host::Loopback;
use super::run;

/// Each command has a help of its own, on stdout, beside the overview.
#[test]
fn help_is_printed_on_stdout() {
    let Some(lo) = Loopback::new() else { return };
    for (arguments, first) in [
        (&["--help"][..], "p2pchat  "),
        (&["-h"], "p2pchat  "),
        (&["send", "--help"], "p2pchat send [TEXT…] [OPTIONS]"),
        (&["--help", "peers"], "p2pchat peers [OPTIONS]"),
    ] {
        let outcome = run(&lo, "alice", arguments);
        outcome.assert_code(0);
        assert!(outcome.out[0].starts_with(first), "{outcome:?}");
        assert!(outcome.err.is_empty(), "{outcome:?}");
    }
    let outcome = run(&lo, "alice", &["--version"]);
    assert!(outcome.out[0].starts_with("p2pchat 0."), "{outcome:?}");
    assert!(
        !lo.host.folder("alice").join("identity").exists(),
        "nothing is written"
    );
}
