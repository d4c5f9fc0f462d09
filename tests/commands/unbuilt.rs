//! What a build without a feature says to the options and commands of that part.
use super::finish;
use super::hosts::host::Loopback;
use super::hosts::program::Program;

/// Environment variable: the path of a program without features, which is tried instead of the
/// tests' own program.
const SMALLEST: &str = "P2PCHAT_SMALLEST";

/// Each is refused with a sentence that names what to do instead.
#[test]
fn options_of_parts_that_are_not_built_are_refused() {
    let Some(lo) = Loopback::new() else { return };
    let parts: [(bool, &[&str]); 13] = [
        (cfg!(feature = "invite"), &["invite"]),
        (cfg!(feature = "invite"), &["join", "7-lusab-babad"]),
        (cfg!(feature = "mdns"), &["peers", "--no-mdns", "-W", "0.1"]),
        (
            cfg!(feature = "scan"),
            &["peers", "--scan", "own", "-W", "0.1"],
        ),
        (
            cfg!(feature = "grenache"),
            &["peers", "--grape", "http://127.0.0.1:1", "-W", "0.1"],
        ),
        (cfg!(feature = "dht"), &["peers", "--dht", "-W", "0.1"]),
        (cfg!(feature = "guests"), &["listen", "--lsnp", "-W", "0.1"]),
        (
            cfg!(feature = "guests"),
            &["listen", "--go-room", "-W", "0.1"],
        ),
        (cfg!(feature = "nat"), &["listen", "--nat", "-W", "0.1"]),
        (cfg!(feature = "trust"), &["trust", "list"]),
        (cfg!(feature = "doctor"), &["doctor", "-W", "0.1"]),
        (cfg!(feature = "qr"), &["whoami", "--qr"]),
        (cfg!(feature = "match"), &["history", "--match", "x"]),
    ];
    let smallest = std::env::var(SMALLEST).ok();
    for (has_feature, arguments) in parts {
        let is_built = has_feature && smallest.is_none();
        let program = match &smallest {
            Some(path) => lo.host.program_at(path, "alice", arguments),
            None => lo.host.program("alice", arguments),
        };
        let outcome = finish(Program::spawn("alice", program), b"");
        let is_refused = outcome
            .err
            .iter()
            .any(|line| line.contains("part of this build"));
        assert_eq!(is_refused, !is_built, "{outcome:?}");
        if is_refused {
            outcome.assert_code(2);
        }
    }
}
