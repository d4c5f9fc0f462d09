//! Where options come from: command line, environment, options file and defaults, in this order.

use std::path::Path;

use p2pchat::base::name::Nick;
use p2pchat::shell::config::options_file::OptionsFile;
use p2pchat::shell::config::subcommand::Subcommand;
use p2pchat::shell::config::values::Color;

use super::support::{ALICE_ENV, OPTIONS_FILE, parse_line, refusal, rooms};
use crate::sentences::assert_one_line;

/// A name from the environment loses the characters that no name may have; an empty one is skipped.
#[test]
fn a_default_name_is_sanitized() {
    let host = nix::unistd::gethostname().unwrap();
    let host = Nick::sanitize(host.to_str().unwrap()).unwrap();
    let long = "x".repeat(40);
    let table: [(&[(&str, &str)], &str); 13] = [
        (&[("P2PCHAT_USERNAME", "bob"), ("USER", "alice")], "bob"),
        (&[("P2PCHAT_USERNAME", "-b o:b@"), ("USER", "alice")], "bob"),
        (&[("P2PCHAT_USERNAME", "root"), ("USER", "alice")], "root"),
        (&[("P2PCHAT_USERNAME", "@@"), ("USER", "alice")], "alice"),
        (&[("P2PCHAT_USERNAME", ""), ("USER", "alice")], "alice"),
        (&[("P2PCHAT_USERNAME", &long)], &long[..32]),
        (&[("USER", "alice"), ("LOGNAME", "bob")], "alice"),
        (&[("LOGNAME", "bob")], "bob"),
        (&[("USER", ""), ("LOGNAME", "bob")], "bob"),
        (&[("USER", "root"), ("LOGNAME", "bob")], host.as_str()),
        (&[("LOGNAME", "root")], host.as_str()),
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
    let sentence = refusal("", Some("--dir f\n\n--ephemeral"));
    assert!(sentence.starts_with(&at_line(3)), "{sentence}");
}

/// How an error in this line of the options file begins.
fn at_line(line: usize) -> String {
    format!("options file {OPTIONS_FILE}, line {line}: ")
}

/// `~/` at the beginning of a path in the file is the home directory. A shell does the same on a
/// command line, so there and in the environment it stays as it is.
#[test]
fn the_home_directory_is_expanded_in_the_file() {
    let file = Some("--dir ~/chat\n--secret-file = \"~/lan key\"");
    let options = parse_line("", ALICE_ENV, file).unwrap();
    let (directory, secret) = (options.directory, options.secret_file);
    assert_eq!(directory.as_deref(), Some(Path::new("/home/alice/chat")));
    assert_eq!(secret.as_deref(), Some(Path::new("/home/alice/lan key")));
    let directory = parse_line("--dir ~/chat", ALICE_ENV, None)
        .unwrap()
        .directory;
    assert_eq!(directory.as_deref(), Some(Path::new("~/chat")));
    for (text, path) in [("--dir ~bob/chat", "~bob/chat"), ("--dir a/~/b", "a/~/b")] {
        let directory = parse_line("", ALICE_ENV, Some(text)).unwrap().directory;
        assert_eq!(directory.as_deref(), Some(Path::new(path)));
    }
    let failure = parse_line("", &[], Some("\n--dir ~/chat")).unwrap_err();
    assert!(failure.message.starts_with(&at_line(2)), "{failure}");
    assert!(failure.message.contains("$HOME"), "{failure}");
}

/// An option that can stand once and stands twice in one source is refused. A later source still
/// overrides an earlier one.
#[test]
fn a_repeated_option_is_refused_in_each_source() {
    for (line, option) in [
        ("-u alice -u alice", "--username"),
        ("-p 1 listen --port=2", "--port"),
        ("send -W 1 -W2 hi", "--wait"),
        ("send -t @bob -t @carol hi", "--to"),
        ("--json --json", "--json"),
        ("-qq", "--quiet"),
        ("history -n 1 -n 2", "--count"),
    ] {
        let sentence = refusal(line, None);
        assert!(
            sentence.starts_with(option) && sentence.contains("twice"),
            "{line}: {sentence}"
        );
    }
    for (file, line) in [("-u bob\n-r ops\n-u carol", 3), ("# \n-dqd", 2)] {
        let sentence = refusal("", Some(file));
        assert!(sentence.starts_with(&at_line(line)), "{sentence}");
        assert!(sentence.contains("give it once"), "{sentence}");
    }
    for option in ["-r", "--peer", "--interface"] {
        let lines: Vec<String> = (0..65).map(|n| format!("{option} x{n}\n")).collect();
        let sentence = refusal("", Some(&lines.concat()));
        assert!(sentence.starts_with(&at_line(65)), "{sentence}");
        assert!(sentence.ends_with("more than 64 times"), "{sentence}");
        assert!(parse_line("", ALICE_ENV, Some(&lines[..64].concat())).is_ok());
    }
    let options = parse_line("-u line --json", ALICE_ENV, Some("-u file\n--json")).unwrap();
    assert_eq!(options.username.as_str(), "line");
    let line = "-r a -r b --interface x --interface y --peer p --peer q";
    let options = parse_line(line, ALICE_ENV, Some(&line.replace(" -", "\n-"))).unwrap();
    assert_eq!(
        (
            options.rooms.len(),
            options.interfaces.len(),
            options.static_peers.len()
        ),
        (2, 2, 2)
    );
}

/// The options file may contain options of every command; errors name the file and the line.
#[test]
fn options_of_other_commands_in_the_file_are_ignored() {
    let file = Some("--backlog 5\n--need 2\n-t #dev\n-n 7\n--qr");
    let chat = parse_line("", ALICE_ENV, file).unwrap();
    assert_eq!(
        (chat.backlog, chat.need, chat.count, chat.qr),
        (5, None, None, false)
    );
    assert_eq!(rooms(&chat), ["#general"]);
    let send = parse_line("send hi", ALICE_ENV, file).unwrap();
    assert_eq!((send.backlog, send.need), (0, Some(2)));
    assert_eq!(rooms(&send), ["#dev"]);
    for (content, line, remedy) in [
        ("-r ops\nnonsense", 2, "begin with -"),
        ("--nonsense", 1, "p2pchat -h"),
        ("\n--since x", 2, "2h"),
        ("--json yes", 1, "takes no value"),
        ("--room", 1, "write ops"),
        ("-h", 1, "command line"),
        ("-qV", 1, "command line"),
        ("# mine\n\n--port=x", 3, "--port: "),
        ("-r ops\n-r a·b\n".replace('·', " ").as_str(), 2, "--room: "),
        ("--need x", 1, "--need: "),
        ("-t dev", 1, "-r dev"),
    ] {
        let sentence = refusal("", Some(content));
        assert!(
            sentence.starts_with(&at_line(line)) && sentence.contains(remedy),
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
    assert_eq!(OptionsFile::read(&home_only), Ok(None));
    assert_eq!(OptionsFile::read(&|_| None), Ok(None));
    std::fs::write(dotted.join("options"), "-r dotted").unwrap();
    std::fs::write(config.join("options"), "-r xdg").unwrap();
    let file = |folder: &Path, text: &str| OptionsFile {
        path: folder.join("options"),
        text: text.to_owned(),
    };
    let (found_dotted, found_xdg) = (file(&dotted, "-r dotted"), file(&config, "-r xdg"));
    assert_eq!(OptionsFile::read(&home_only), Ok(Some(found_dotted)));
    assert_eq!(OptionsFile::read(&xdg), Ok(Some(found_xdg)));
    for bad in [b"-u \xff".to_vec(), vec![b'#'; 70_000]] {
        std::fs::write(config.join("options"), bad).unwrap();
        let failure = OptionsFile::read(&xdg).unwrap_err();
        assert_eq!(failure.exit_status.code(), 78);
        assert_one_line(&failure.message);
    }
    std::fs::remove_dir_all(home).unwrap();
}
