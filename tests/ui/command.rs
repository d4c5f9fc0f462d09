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
    let set = |name: Option<&str>, value: Option<&str>| UserCommand::Set {
        name: name.map(str::to_owned),
        value: value.map(str::to_owned),
    };
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
        ("/post  hi there ", say(None, &["hi there"], LineForm::Text)),
        ("/clear", UserCommand::Clear),
        ("/Verbose", UserCommand::Verbose),
        ("/q", Quit),
        ("/EXIT", Quit),
        ("/set", set(None, None)),
        ("/set bell", set(Some("bell"), None)),
        ("/set  Bell  off ", set(Some("Bell"), Some("off"))),
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
        "/post",
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

/// The error about an unknown command names the nearest one, if there is one; every listed command
/// exists.
#[test]
fn an_unknown_command_is_answered_by_the_nearest_one() {
    let hint = |line: &str| {
        let error = command::parse(line).unwrap_err();
        let (_, hint) = error.split_once("here: ").expect("an unknown command");
        let meant = hint.strip_prefix("did you mean ");
        meant.map(|rest| rest.split_once('?').unwrap().0.to_owned())
    };
    for (typed, meant) in [
        ("/jion #ops", "/join"),
        ("/JOIM", "/join"),
        ("/quti", "/quit"),
        ("/hist 20", "/history"),
        ("/usr", "/users"),
        ("/nik bob", "/nick"),
        ("/exti", "/exit"),
    ] {
        assert_eq!(hint(typed).as_deref(), Some(meant), "{typed}");
    }
    for typed in [
        "/",
        "/shout hey",
        "/massage",
        "/etc/passwd",
        "/日本語日本語",
    ] {
        assert_eq!(hint(typed), None, "{typed}");
    }
    let long = command::parse(&format!("/{}", "j".repeat(100_000))).unwrap_err();
    assert!(long.len() < 200, "{long}");
    for (name, _) in command::command_rows() {
        let refused = command::parse(&name).err().unwrap_or_default();
        assert!(!refused.contains("is not a command here"), "{name}");
    }
}

/// The smallest build says what it lacks.
#[cfg(not(feature = "profile"))]
#[test]
fn profiles_are_refused_where_they_are_not_built() {
    for line in ["/profile status busy", "/avatar bob bob.png"] {
        let error = p2pchat::ui::command::parse(line).expect_err(line);
        assert!(error.contains("build with `--features profile`"), "{error}");
    }
}
