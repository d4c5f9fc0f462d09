//! /profile and /avatar as users type them, and profiles as they read them.
use std::sync::Arc;

use p2pchat::base::event::command::Command;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::name::PeerSelector;
use p2pchat::base::presence::profile::{Avatar, PROFILE_VALUE_MAX_BYTES, Profile, ProfileCommand};
use p2pchat::ui::command::{UserCommand, parse};
use p2pchat::ui::json;
use p2pchat::ui::json_parser::{events, requests};
use p2pchat::ui::profile::profile_text::{format_own_profile, format_profile};
use p2pchat::ui::request::Request;
use p2pchat::ui::session_event::EventKind;

use super::support::{bob_info, event};

const URL: &str = "data:image/png;base64,YQ==";

/// The command, after a way through control.sock.
fn typed(line: &str) -> UserCommand {
    let request = Request::new(None, parse(line).expect(line));
    let mut out = Vec::new();
    json::append_request(&request, &mut out);
    assert_eq!(requests::parse_request(&out), Ok(request), "{line}");
    parse(line).expect(line)
}

#[test]
fn typed_profiles_are_parsed() {
    let command = |command| UserCommand::Core(Command::Profile(command));
    let set = |name: &str, value: &str| command(ProfileCommand::Set(name.into(), value.into()));
    assert_eq!(typed("/profile"), command(ProfileCommand::Show));
    assert_eq!(
        typed("/PROFILE Status  in a meeting "),
        set("status", "in a meeting")
    );
    assert_eq!(typed("/profile status -"), set("status", ""));
    assert_eq!(
        typed("/profile avatar -"),
        command(ProfileCommand::SetAvatar(None))
    );
    assert_eq!(
        typed(&format!("/profile avatar {URL}")),
        command(ProfileCommand::SetAvatar(Avatar::new("image/png", "YQ==")))
    );
    // Only a frontend reads files.
    let file = parse("/profile avatar my picture.png");
    assert_eq!(file, Ok(UserCommand::AvatarFile("my picture.png".into())));
    let long = "x".repeat(PROFILE_VALUE_MAX_BYTES + 1);
    let large = format!("data:image/png;base64,{}", "A".repeat(87_388));
    for (line, refusal) in [
        (
            "/profile status",
            "/profile status needs a value, or - to remove it",
        ),
        ("/profile a@b c", "the field a@b contains @, U+0040"),
        (&format!("/profile status {long}"), "longer than 400 bytes"),
        (&format!("/profile avatar {large}"), "larger than 64 KiB"),
        ("/profile avatar data:nonsense", "no data URL"),
        ("/profile avatar data:image/png;base64,Y", "no data URL"),
        ("/avatar", "needs a name and a file"),
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.contains(refusal), "{error}");
    }
    // The file stays where it was typed.
    let avatar = |file: Option<&str>| UserCommand::Avatar {
        selector: PeerSelector::parse("bob").expect("a selector"),
        file: file.map(str::to_owned),
    };
    assert_eq!(
        parse("/avatar bob my file.png"),
        Ok(avatar(Some("my file.png")))
    );
    assert_eq!(typed("/avatar bob"), avatar(None));
}

/// No field can be taken for what the program says, nor control the terminal.
#[test]
fn profiles_are_shown_as_claims() {
    let mut profile = Profile::new("Bob B", "busy\nid: nobody\u{1b}[2J", None);
    assert!(profile.set("fingerprint", "12345"));
    profile.avatar = Avatar::without_data("image/png", 3);
    let shown = "profile of bob~abcd:\n  name: Bob B\n  status: busy\u{240a}id: nobody\u{241b}[2J\n  \
                 fingerprint: 12345\n  avatar: image/png, 3 bytes\n";
    assert_eq!(format_profile("bob~abcd", &profile), shown);
    assert_eq!(format_profile("bob~abcd", &Profile::default()), "");
    let empty = format_own_profile(&Profile::default());
    assert_eq!(empty, "your profile is empty: /profile status busy\n");
}

/// In JSON nothing is lost, whatever the fields are called.
#[test]
fn profiles_survive_json() {
    let mut profile = Profile::new("Bob \"B\"", "busy\n", Avatar::new("image/png", "YQ=="));
    assert!(profile.set("content", "a\\b") && profile.set("type", "c") && profile.set("\"", "d"));
    let mut info = bob_info();
    info.profile = Some(Arc::new(profile.clone()));
    for notice in [
        Notice::OwnProfile(profile.clone()),
        Notice::Peers(vec![info.clone()]),
    ] {
        let mut line = Vec::new();
        json::append_event(&event(&notice), false, &mut line);
        let text = String::from_utf8_lossy(&line).into_owned();
        let expected = r#""profile":{"name":"Bob \"B\"","status":"busy\n","content":"a\\b","type":"c","\"":"d"},"avatar_type":"image/png","avatar_bytes":1,"avatar":"YQ==""#;
        assert!(text.contains(expected), "{text}");
        let parsed = events::parse_event(&line, None).expect("an event");
        let EventKind::Notice(parsed) = *parsed.kind else {
            panic!("{text}");
        };
        match &*parsed {
            Notice::OwnProfile(own) => assert_eq!(*own, profile),
            Notice::Peers(peers) => assert_eq!(peers[..], [info.clone()]),
            other => panic!("{other:?}"),
        }
    }
}
