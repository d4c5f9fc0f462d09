//! Where options come from: command line, environment, options file and defaults, in this order.

use std::path::Path;

use p2pchat::base::name::Nick;
use p2pchat::shell::config::options::read_options_file;
use p2pchat::shell::config::subcommand::Subcommand;
use p2pchat::shell::config::values::Color;

use super::support::{ALICE_ENV, parse_line, refusal, rooms};
use crate::sentences::assert_one_line;

/// A name from the environment loses the characters that no name may have; an empty one is skipped.
#[test]
fn a_default_name_is_sanitized() {
    let host = nix::unistd::gethostname().unwrap();
    let host = Nick::sanitize(host.to_str().unwrap()).unwrap();
    let long = "x".repeat(40);
    let table: [(&[(&str, &str)], &str); 8] = [
        (&[("P2PCHAT_USERNAME", "bob"), ("USER", "alice")], "bob"),
        (&[("P2PCHAT_USERNAME", "-b o:b@"), ("USER", "alice")], "bob"),
        (&[("P2PCHAT_USERNAME", "root"), ("USER", "alice")], "root"),
        (&[("P2PCHAT_USERNAME", "@@"), ("USER", "alice")], "alice"),
        (&[("P2PCHAT_USERNAME", ""), ("USER", "alice")], "alice"),
        (&[("P2PCHAT_USERNAME", &long)], &long[..32]),
        (&[("USER", "root")], host.as_str()),
        (&[], host.as_str()),
    ];
    for (env, name) in table {
        let options = parse_line("", env, None).unwrap();
        assert_eq!(options.username.as_str(), name, "{env:?}");
    }
}

/// A later source never changes what an earlier one has set.
#[test]
fn command_line_overrides_environment_overrides_file() {
    let file = "# mine\n\n-u carol\n  --room ops\n--room=\"dev\"\n-r '#lab'\n--dir = /file\n--secret-file /file s\n--color=always\njson\n";
    let file = file.replace("json\n", "--json\n");
    let file = Some(file.as_str());
    let from_file = parse_line("", ALICE_ENV, file).unwrap();
    assert_eq!(from_file.username.as_str(), "carol");
    assert_eq!(rooms(&from_file), ["#ops", "#dev", "#lab"]);
    assert_eq!(from_file.directory.as_deref(), Some(Path::new("/file")));
    assert_eq!(from_file.secret_file.as_deref(), Some(Path::new("/file s")));
    assert_eq!(from_file.color, Color::Always);
    assert!(from_file.json);

    let env = [
        ("P2PCHAT_USERNAME", "env"),
        ("P2PCHAT_DIR", "/env"),
        ("P2PCHAT_SECRET_FILE", "/env"),
        ("NO_COLOR", "1"),
    ];
    let from_env = parse_line("", &env, file).unwrap();
    assert_eq!(from_env.username.as_str(), "env");
    assert_eq!(from_env.directory.as_deref(), Some(Path::new("/env")));
    assert_eq!(from_env.secret_file.as_deref(), Some(Path::new("/env")));
    assert_eq!(from_env.color, Color::Never);

    let line = "-u line -r line --dir /line --secret-file /line --color auto";
    let from_line = parse_line(line, &env, file).unwrap();
    assert_eq!(from_line.username.as_str(), "line");
    assert_eq!(rooms(&from_line), ["#line"]);
    assert_eq!(from_line.directory.as_deref(), Some(Path::new("/line")));
    assert_eq!(from_line.secret_file.as_deref(), Some(Path::new("/line")));
    assert_eq!(from_line.color, Color::Auto);
}

/// `--dir` and `--ephemeral` override each other by source, and exclude each other within one.
#[test]
fn the_directory_comes_from_the_first_source_that_names_one() {
    type Row<'a> = (
        &'a str,
        &'a [(&'a str, &'a str)],
        Option<&'a str>,
        Option<&'a str>,
    );
    let table: [Row<'_>; 11] = [
        ("", &[], None, Some("/var/lib/p2pchat")),
        ("", &[("HOME", "/h")], None, Some("/h/.local/state/p2pchat")),
        (
            "",
            &[("HOME", "/h"), ("XDG_STATE_HOME", "/x")],
            None,
            Some("/x/p2pchat"),
        ),
        (
            "",
            &[("HOME", "/h"), ("XDG_STATE_HOME", "x")],
            None,
            Some("/h/.local/state/p2pchat"),
        ),
        ("", &[("HOME", "/h"), ("P2PCHAT_DIR", "d")], None, Some("d")),
        ("--dir l", &[("P2PCHAT_DIR", "d")], None, Some("l")),
        ("--ephemeral", &[("P2PCHAT_DIR", "d")], None, None),
        ("", &[("P2PCHAT_DIR", "d")], Some("--ephemeral"), Some("d")),
        ("", &[("HOME", "/h")], Some("--ephemeral"), None),
        ("--dir l", &[], Some("--ephemeral"), Some("l")),
        ("--ephemeral", &[], Some("--dir f"), None),
    ];
    for (line, env, file, expected) in table {
        let options = parse_line(line, env, file).unwrap();
        assert_eq!(
            options.directory.as_deref(),
            expected.map(Path::new),
            "{line} {env:?} {file:?}"
        );
        assert_eq!(options.is_ephemeral(), expected.is_none());
    }
    refusal("", Some("--dir f\n--ephemeral"));
}

/// The options file may contain options of every command; errors name the file and the line.
#[test]
fn options_of_other_commands_in_the_file_are_ignored() {
    let file = Some("--backlog 5\n--need 2\n-t dev\n-n 7\n--qr");
    let chat = parse_line("", ALICE_ENV, file).unwrap();
    assert_eq!(
        (chat.backlog, chat.need, chat.count, chat.qr),
        (5, None, None, false)
    );
    assert_eq!(rooms(&chat), ["#general"]);
    let send = parse_line("send hi", ALICE_ENV, file).unwrap();
    assert_eq!((send.backlog, send.need), (0, Some(2)));
    assert_eq!(rooms(&send), ["#dev"]);
    for (content, remedy) in [
        ("-r ops\nnonsense", "line 2"),
        ("--nonsense", "line 1"),
        ("\n--since x", "2h"),
        ("--json yes", "takes no value"),
        ("--room", "write ops"),
        ("-h", "command line"),
        ("-qV", "command line"),
        ("--port=x", "options file"),
        ("--need x", "options file"),
    ] {
        let sentence = refusal("", Some(content));
        assert!(
            sentence.contains("options file") && sentence.contains(remedy),
            "{content}: {sentence}"
        );
    }
    assert_eq!(
        parse_line("-h", ALICE_ENV, Some("nonsense"))
            .unwrap()
            .subcommand,
        Subcommand::Help
    );
}

/// `XDG_CONFIG_HOME` comes before `~/.config`; a file that is too large or not UTF-8 is an error.
#[test]
fn the_options_file_is_found_and_read() {
    let home =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("options-{}", std::process::id()));
    let config = home.join("config/p2pchat");
    let dotted = home.join(".config/p2pchat");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::create_dir_all(&dotted).unwrap();
    let home_only = |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
    let xdg =
        |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.join("config").into_os_string());
    assert_eq!(read_options_file(&home_only), Ok(None));
    assert_eq!(read_options_file(&|_| None), Ok(None));
    std::fs::write(dotted.join("options"), "-r dotted").unwrap();
    std::fs::write(config.join("options"), "-r xdg").unwrap();
    assert_eq!(read_options_file(&home_only), Ok(Some("-r dotted".into())));
    assert_eq!(read_options_file(&xdg), Ok(Some("-r xdg".into())));
    for bad in [b"-u \xff".to_vec(), vec![b'#'; 70_000]] {
        std::fs::write(config.join("options"), bad).unwrap();
        let failure = read_options_file(&xdg).unwrap_err();
        assert_eq!(failure.exit_status.code(), 78);
        assert_one_line(&failure.message);
    }
    std::fs::remove_dir_all(home).unwrap();
}
