//! Lines typed by a user: text and slash commands.

use p2pchat::base::event::command::Command;
use p2pchat::base::line_key::LineKey;
use p2pchat::base::name::{Nick, Room};
#[cfg(feature = "presence")]
use p2pchat::base::presence::away::AwayText;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::ui::command;
use p2pchat::ui::command::UserCommand;

use super::support::say;

/// A line that begins with one slash is a command; two slashes stand for a text with one.
#[test]
fn typed_lines_are_parsed_as_text_or_commands() {
    use UserCommand::{Core, Help, Quit, Search};
    let history = |lines| UserCommand::History {
        lines,
        before: None,
    };
    let ops = Room::new("ops").unwrap();
    for (line, request) in [
        ("hello", say(None, &["hello"], LineForm::Text)),
        ("", say(None, &[""], LineForm::Text)),
        (" /quit", say(None, &[" /quit"], LineForm::Text)),
        ("//etc/passwd", say(None, &["/etc/passwd"], LineForm::Text)),
        ("///x", say(None, &["//x"], LineForm::Text)),
        ("/me  waves", say(None, &["waves"], LineForm::Action)),
        ("/ME waves", say(None, &["waves"], LineForm::Action)),
        ("/help", Help),
        ("/Quit", Quit),
        ("/Q", Quit),
        ("/exit", Quit),
        ("/CLEAR", UserCommand::Clear),
        ("/Verbose", UserCommand::Verbose),
        ("/POST hi all", say(None, &["hi all"], LineForm::Text)),
        ("/users", Core(Command::Peers)),
        ("/WHO", Core(Command::Peers)),
        ("/names", Core(Command::Peers)),
        ("/list", Core(Command::Peers)),
        ("/rooms", UserCommand::Rooms),
        ("/code", UserCommand::Code),
        ("/connect box:1 ", UserCommand::Connect("box:1".into())),
        ("/join #OPS ", Core(Command::Join(ops.clone()))),
        ("/join ops", Core(Command::Join(ops.clone()))),
        ("/part", Core(Command::Part(None))),
        ("/part ops", Core(Command::Part(Some(ops)))),
        ("/nick bob", Core(Command::Nick(Nick::new("bob").unwrap()))),
        #[cfg(feature = "presence")]
        (
            "/AWAY out for  lunch ",
            Core(Command::Away(Some(AwayText::cut("out for  lunch")))),
        ),
        #[cfg(feature = "presence")]
        ("/away", Core(Command::Away(Some(AwayText::default())))),
        #[cfg(feature = "presence")]
        ("/back", Core(Command::Away(None))),
        ("/history", history(None)),
        ("/History 3", history(Some(3))),
        ("/search  two words ", Search("two words".into())),
    ] {
        assert_eq!(command::parse(line), Ok(request), "{line}");
    }
    for line in [
        "/",
        "/msg bob",
        "/history 0",
        "/history all",
        "/history 20 bob",
        "/search",
        "/nonsense",
        "/join",
        "/connect",
        "/join a b",
        "/nick",
        "/nick a:b",
        "/me",
        "/me  ",
        "/post",
        "/part a@b",
    ] {
        assert!(command::parse(line).is_err(), "{line}");
    }
    let long = format!("/away {}", "x".repeat(401));
    assert!(command::parse(&long).is_err());
    let key = LineKey::MAX;
    for before in [None, Some(key)] {
        let lines = Some(7);
        let text = command::format_history(lines, before);
        let parsed = UserCommand::History { lines, before };
        assert_eq!(command::parse(&text), Ok(parsed), "{text}");
    }
    assert!(command::parse("/nonsense").unwrap_err().contains("/help"));
}
