//! Commands about known peers.
use p2pchat::base::trust::fingerprint::Fingerprint;
use p2pchat::ui::trust_command::{TrustCommand, format_trust, parse_trust};

use super::support::identity;

/// A command that is sent to a running program is read there as it was typed.
#[test]
fn a_command_parses_back_from_its_text() {
    let id = identity(2).id();
    for text in [
        "list".to_owned(),
        format!("add bob {id}"),
        format!("add list {id}@10.0.0.7:9999"),
        "forget @bob".to_owned(),
        format!("forget @{id}"),
        "ban @bob".to_owned(),
        "unban @bob".to_owned(),
        "ignore".to_owned(),
        "ignore @bob".to_owned(),
        "unignore @bob".to_owned(),
        "verify @bob".to_owned(),
        format!("verify @bob~abcd {}", Fingerprint::of(&id)),
        "@bob".to_owned(),
        "whois @bob".to_owned(),
        // A peer whose name is a word of the command.
        "@list".to_owned(),
    ] {
        let command = parse_trust(&text).expect(&text);
        assert_eq!(format_trust(&command), text);
    }
    assert_eq!(parse_trust(""), Ok(TrustCommand::List));
    assert!(parse_trust("unignore").is_err());
    assert!(parse_trust("ban").is_err() && parse_trust("unban").is_err());
    assert!(matches!(parse_trust("bob"), Ok(TrustCommand::Bind(_))));
}
