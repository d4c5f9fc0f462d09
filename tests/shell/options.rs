//! Command line, environment and options file; secrets and connection codes, which come in through them.
use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::name::{Nick, Room};
use p2pchat::base::time::WallTime;
use p2pchat::shell::config::failure::Failure;
use p2pchat::shell::config::help::{USAGE_TEXT, VERSION_LINE};
use p2pchat::shell::config::option_specs::OptionId;
use p2pchat::shell::config::options::{DEFAULT_MULTICAST_GROUP, Options, parse, read_options_file};
use p2pchat::shell::config::subcommand::Subcommand;
use p2pchat::shell::config::values::{Color, Since, Verbosity};
use p2pchat::wire::code::{
    ADDRESSES_MAX, ConnectionCode, Endpoint, EndpointError, parse_endpoints,
};
use p2pchat::wire::secret::{NetworkKeys, NetworkSecretError, SECRET_MAX_BYTES, generate_secret};

/// Words are separated by spaces; `·` stands for a space within a word, `∅` for an empty word, `⏎` for a line's end.
fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace()
        .map(|word| {
            word.replace('·', " ")
                .replace('∅', "")
                .replace('⏎', "\n")
                .into()
        })
        .collect()
}

fn run(line: &str, env: &[(&str, &str)], file: Option<&str>) -> Result<Options, Failure> {
    let env: HashMap<&str, &str> = env.iter().copied().collect();
    let env = |name: &str| env.get(name).map(OsString::from);
    parse(words(line), &env, file.map(str::to_owned))
}

const HOME: &[(&str, &str)] = &[("HOME", "/home/alice"), ("USER", "alice")];

fn ok(line: &str) -> Options {
    run(line, HOME, None).unwrap_or_else(|failure| panic!("{line}: {failure}"))
}

fn refused(line: &str, file: Option<&str>) -> String {
    match run(line, HOME, file) {
        Ok(options) => panic!("{line}, {file:?}: taken as {options:?}"),
        Err(failure) => {
            assert_eq!(failure.exit_status.code(), 2, "{line}: {failure}");
            one_line(&failure.message);
            failure.message
        }
    }
}

fn one_line(sentence: &str) {
    assert!(!sentence.is_empty() && !sentence.chars().any(char::is_control));
    assert!(sentence.chars().count() < 240, "{sentence}");
}

fn rooms(options: &Options) -> Vec<&str> {
    options.rooms.iter().map(Room::as_str).collect()
}

#[test]
fn what_the_program_is_started_with_is_told_apart_by_hand() {
    let options = ok("send -r ops -p 1 --interface lo -u bob hello");
    assert_eq!(
        options.explicit,
        [OptionId::Username, OptionId::Port, OptionId::Interface]
    );
}

#[test]
fn nothing_given_means_the_defaults() {
    let options = ok("");
    let expected = Options {
        subcommand: Subcommand::Chat,
        username: Nick::new("alice").unwrap(),
        explicit: Vec::new(),
        port: None,
        multicast: Some(DEFAULT_MULTICAST_GROUP),
        rooms: vec![Room::general()],
        to_peer: None,
        static_peers: Vec::new(),
        interfaces: Vec::new(),
        secret_file: None,
        directory: Some(PathBuf::from("/home/alice/.local/state/p2pchat")),
        json: false,
        count: None,
        wait_ms: None,
        need: None,
        backlog: 0,
        echo: true,
        has_slash_commands: false,
        color: Color::Auto,
        verbosity: Verbosity::Normal,
        qr: false,
        text: None,
        since: None,
        search: None,
    };
    assert_eq!(options, expected);
}

#[test]
fn commands_are_found_wherever_options_stand() {
    let table = [
        ("", Subcommand::Chat),
        ("-r ops", Subcommand::Chat),
        ("--", Subcommand::Chat),
        ("send hi", Subcommand::Send),
        ("-r ops send hi", Subcommand::Send),
        ("listen -n 3", Subcommand::Listen),
        ("-n 3 listen", Subcommand::Listen),
        ("peers", Subcommand::Peers),
        ("--json peers -W 1", Subcommand::Peers),
        ("history", Subcommand::History),
        ("-n 3 history", Subcommand::History),
        ("whoami --qr", Subcommand::Whoami),
        ("keygen", Subcommand::Keygen),
        ("-h", Subcommand::Help),
        ("-help", Subcommand::Help),
        ("send --help", Subcommand::Help),
        ("-qh", Subcommand::Help),
        ("-p 99999 -h", Subcommand::Help),
        ("-V", Subcommand::Version),
        ("listen --version --nonsense", Subcommand::Version),
    ];
    for (line, verb) in table {
        assert_eq!(ok(line).subcommand, verb, "{line}");
    }
}

#[test]
fn the_four_spellings_of_a_value_are_the_same() {
    for line in [
        "--room=ops",
        "--room ops",
        "-r ops",
        "-rops",
        "-r=ops",
        "-r #ops",
        "-qrops",
        "-qr ops",
        "-r OPS",
    ] {
        assert_eq!(rooms(&ok(line)), ["#ops"], "{line}");
        assert_eq!(rooms(&ok(&format!("{line} listen"))), ["#ops"], "{line}");
        assert_eq!(rooms(&ok(&format!("listen {line}"))), ["#ops"], "{line}");
    }
    let bundle = ok("-qdp0");
    assert_eq!((bundle.verbosity, bundle.port), (Verbosity::Debug, Some(0)));
    assert_eq!(ok("-q").verbosity, Verbosity::Quiet);
}

#[test]
fn old_spellings_are_whole_words_and_looked_for_first() {
    for line in ["-username bob", "-username=bob", "--username bob", "-ubob"] {
        assert_eq!(ok(line).username.as_str(), "bob", "{line}");
    }
    assert_eq!(ok("-port 5000").port, Some(5000));
    assert_eq!(ok("-multicast none").multicast, None);
    assert_eq!(ok("-debug").verbosity, Verbosity::Debug);
    assert_eq!(ok("-usernames").username.as_str(), "sernames");
}

#[test]
fn options_end_at_two_dashes_or_at_the_first_word_of_text() {
    let table = [
        ("send hello world", Some("hello world")),
        (
            "send -r ops hello -r dev --json",
            Some("hello -r dev --json"),
        ),
        ("send -- -r ops", Some("-r ops")),
        ("send hello -- you", Some("hello -- you")),
        ("-r ops send a··b c", Some("a  b c")),
        ("send -", Some("-")),
        ("send ∅", Some("")),
        ("send -r ops", None),
        ("send --", None),
    ];
    for (line, text) in table {
        let options = ok(line);
        assert_eq!(options.text.as_deref(), text.map(str::as_bytes), "{line}");
        assert!(!options.json, "{line}");
    }
    let args = vec!["send".into(), OsString::from_vec(b"caf\xe9".to_vec())];
    let options = parse(args, &|_| None, None).unwrap();
    assert_eq!(options.text.as_deref(), Some(&b"caf\xe9"[..]));
}

#[test]
fn each_line_of_text_is_one_message() {
    let lines = |text: &str| -> Vec<String> {
        let options = parse(vec!["send".into(), text.into()], &|_| None, None).unwrap();
        options
            .text_lines()
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect()
    };
    assert_eq!(lines("one"), ["one"]);
    assert_eq!(lines("one\ntwo\n"), ["one", "two"]);
    assert_eq!(lines("one\n\ntwo"), ["one", "", "two"]);
    assert_eq!(lines("\n"), [""]);
    assert!(lines("").is_empty());
    assert_eq!(ok("send").text_lines().count(), 0);
}

#[test]
fn values_are_understood() {
    assert_eq!(ok("-p 0").port, Some(0));
    assert_eq!(ok("-p 65535").port, Some(65535));
    assert_eq!(
        ok("-m 239.1.2.3").multicast,
        Some("239.1.2.3:9999".parse().unwrap())
    );
    assert_eq!(
        ok("-m 239.1.2.3:77").multicast,
        Some("239.1.2.3:77".parse().unwrap())
    );
    assert_eq!(ok("-m none").multicast, None);
    assert_eq!(rooms(&ok("-r ops -r #dev -r Ops")), ["#ops", "#dev"]);
    assert_eq!(rooms(&ok("send -t dev hi")), ["#dev"]);
    assert_eq!(rooms(&ok("send -r ops -r dev -t dev hi")), ["#dev", "#ops"]);
    assert_eq!(
        ok("--interface eth0 --interface wlan0").interfaces,
        ["eth0", "wlan0"]
    );
    assert_eq!(
        ok("--secret-file /s").secret_file.as_deref(),
        Some(Path::new("/s"))
    );
    assert_eq!(ok("listen -n1").count, Some(1));
    assert_eq!(ok("listen -W 0").wait_ms, Some(0));
    assert_eq!(ok("send -W0.25").wait_ms, Some(250));
    assert_eq!(ok("peers -W .0001").wait_ms, Some(1));
    assert_eq!(ok("send --need 0").need, Some(0));
    assert_eq!(ok("--backlog 20").backlog, 20);
    assert!(!ok("--no-echo").echo);
    assert!(ok("--commands").has_slash_commands);
    assert!(ok("--json").json);
    assert!(ok("whoami --qr").qr);
    assert_eq!(ok("--color never").color, Color::Never);
    assert_eq!(ok("-u a -u b").username.as_str(), "b");
    let peers = ok("--peer 10.0.0.7 --peer box:77").static_peers;
    assert_eq!((peers[0].host.as_str(), peers[0].port), ("10.0.0.7", 9999));
    assert_eq!((peers[1].host.as_str(), peers[1].port), ("box", 77));
}

#[test]
fn history_is_of_all_rooms_unless_some_are_named() {
    assert!(rooms(&ok("history")).is_empty());
    assert_eq!(rooms(&ok("history -r ops -r Dev")), ["#ops", "#dev"]);
    assert_eq!(rooms(&ok("history -t ops")), ["#ops"]);
    assert_eq!(rooms(&ok("history -t ops -r dev")), ["#ops"]);
    let options = ok("history -n 3 --search=Hello --since 2h");
    assert_eq!(options.count, Some(3));
    assert_eq!(options.search.as_deref(), Some("Hello"));
    let since = |text: &str| ok(&format!("history --since {text}")).since;
    for (text, ms) in [("90s", 90), ("10m", 600), ("2h", 7200), ("3d", 259_200)] {
        assert_eq!(since(text), Some(Since::AgoMs(ms * 1000)), "{text}");
    }
    let at = |text: &str| Some(Since::At(WallTime::parse(text).unwrap()));
    assert_eq!(since("2026-11-21"), at("2026-11-21T00:00:00Z"));
    assert_eq!(
        since("2026-11-21T12:31:04+02:00"),
        at("2026-11-21T10:31:04Z")
    );
}

#[test]
fn a_wait_is_rounded_up_to_milliseconds() {
    assert_eq!(ok("peers -W 2.").wait_ms, Some(2_000));
    assert_eq!(ok("peers -W 1.0020").wait_ms, Some(1_002));
    assert_eq!(ok("peers -W 1.00201").wait_ms, Some(1_003));
    assert_eq!(ok("peers -W 1000000000").wait_ms, Some(1_000_000_000_000));
    for wait in [
        ".",
        "1e3",
        "-1",
        "+1",
        "1.2.3",
        "1.-2",
        "inf",
        "1000000000.0001",
        "99999999999999999999",
    ] {
        assert!(
            refused(&format!("peers --wait={wait}"), None).contains("number of seconds"),
            "{wait}"
        );
    }
}

#[test]
fn what_is_wrong_is_refused_with_a_sentence_that_helps() {
    let long_room = format!("-r {}", "x".repeat(51));
    let many = "-r x".to_owned() + &(0..70).map(|i| format!(" -r room{i}")).collect::<String>();
    // 52 characters, as an id has.
    let no_id = format!("send -t @{}", "b".repeat(52));
    let long_name = format!("send -t @{}", "b".repeat(33));
    let table = [
        ("-m hello", "p2pchat send hello"),
        ("-m hello·there", "p2pchat send TEXT"),
        ("-m", "needs an ADDRESS"),
        ("-m", "p2pchat send"),
        ("-m 10.0.0.1", "224.0.0.0"),
        ("-m 224.0.0.1:0", "224.0.0.0"),
        ("-m [ff02::1]:9999", "IPv4"),
        ("-r", "quote '#ops'"),
        ("-r ∅", "quote '#ops'"),
        ("--room=", "write ops"),
        ("-r #", "write ops"),
        ("-r --json", "quote '#ops'"),
        ("send -t", "quote '#ops'"),
        ("-r a·b", "U+0020"),
        (&long_room, "too long"),
        (&long_room, "1 to 50 characters"),
        (&no_id, "is not an id"),
        (&long_name, "is too long"),
        (&many, "64"),
        ("-u", "NAME"),
        ("-u a@b", "U+0040"),
        ("-u=-x", "begins with -"),
        ("-p x", "65535"),
        ("-p 65536", "65535"),
        ("-p -1", "65535"),
        ("send -W -1 hi", "seconds"),
        ("send -W nan hi", "seconds"),
        ("send -W inf hi", "seconds"),
        ("send -W 1e10 hi", "seconds"),
        ("listen -W soon", "seconds"),
        ("listen -n 0", "from 1"),
        ("listen -n -1", "from 1"),
        ("listen -n 1.5", "from 1"),
        ("send --need -1", "from 0"),
        ("--backlog some", "from 0"),
        ("history -n 0", "from 1"),
        ("history --since yesterday", "2h"),
        ("history --since 2026-13-01", "2026-11-21"),
        ("history --since 5w", "90s"),
        ("history --since -1h", "90s"),
        ("history --since h", "90s"),
        ("history --search=", "--search hello"),
        ("--color red", "always"),
        ("--interface a/b", "eth0"),
        ("--interface an-interface-too-long", "eth0"),
        ("--peer ∅", "HOST"),
        ("--peer box:0", "65535"),
        ("--peer bob@box", "id"),
        ("--dir /a --ephemeral", "--ephemeral"),
        ("--json=yes", "takes no value"),
        ("-q=yes", "takes no value"),
        ("--nonsense", "p2pchat -h"),
        ("-x", "p2pchat -h"),
        ("-qx", "`-x`"),
        ("send -5 degrees", "--"),
        ("-room ops", "--room"),
        ("-json", "--json"),
        ("hello", "p2pchat send"),
        ("a⏎b\x1b[2J", "␊b␛[2J"),
        ("-- hello", "p2pchat send hello"),
        ("listen hello", "takes no TEXT"),
        ("keygen hello", "takes no TEXT"),
        ("chat", "no command"),
        // Of parts that are not built yet.
        ("trust list", "not built"),
        ("doctor", "not built"),
        ("send -t @b/b hi", "it is @name"),
        ("history -t @b/b", "it is @name"),
        // On commands they do not belong to.
        ("--since 2h", "goes with history"),
        ("listen --search=x", "goes with history"),
        ("history -W 1", "goes with"),
        ("history hello", "takes no TEXT"),
        ("listen --need 1", "goes with send"),
        ("--need 1", "goes with send"),
        ("send -n 1 hi", "goes with listen"),
        ("peers --backlog 1", "goes with"),
        ("send --qr hi", "goes with whoami"),
        ("listen -t ops", "goes with send"),
        ("listen --commands", "goes with p2pchat without a command"),
        ("whoami -r ops", "goes with"),
        ("keygen --dir /x", "goes with"),
        ("keygen -r ops", "goes with"),
    ];
    for (line, helps) in table {
        let sentence = refused(line, None);
        assert!(sentence.contains(helps), "{line}: {sentence}");
    }
}

#[test]
fn a_default_name_is_cleaned_to_fit() {
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
        let options = run("", env, None).unwrap();
        assert_eq!(options.username.as_str(), name, "{env:?}");
    }
}

#[test]
fn command_line_before_environment_before_file() {
    let file = "# mine\n\n-u carol\n  --room ops\n--room=\"dev\"\n-r '#lab'\n--dir = /file\n--secret-file /file s\n--color=always\njson\n";
    let file = file.replace("json\n", "--json\n");
    let file = Some(file.as_str());
    let from_file = run("", HOME, file).unwrap();
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
    let from_env = run("", &env, file).unwrap();
    assert_eq!(from_env.username.as_str(), "env");
    assert_eq!(from_env.directory.as_deref(), Some(Path::new("/env")));
    assert_eq!(from_env.secret_file.as_deref(), Some(Path::new("/env")));
    assert_eq!(from_env.color, Color::Never);

    let line = "-u line -r line --dir /line --secret-file /line --color auto";
    let from_line = run(line, &env, file).unwrap();
    assert_eq!(from_line.username.as_str(), "line");
    assert_eq!(rooms(&from_line), ["#line"]);
    assert_eq!(from_line.directory.as_deref(), Some(Path::new("/line")));
    assert_eq!(from_line.secret_file.as_deref(), Some(Path::new("/line")));
    assert_eq!(from_line.color, Color::Auto);
}

#[test]
fn the_directory_is_chosen() {
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
        let options = run(line, env, file).unwrap();
        assert_eq!(
            options.directory.as_deref(),
            expected.map(Path::new),
            "{line} {env:?} {file:?}"
        );
        assert_eq!(options.is_ephemeral(), expected.is_none());
    }
    refused("", Some("--dir f\n--ephemeral"));
}

#[test]
fn the_options_file_serves_every_command() {
    let file = Some("--backlog 5\n--need 2\n-t dev\n-n 7\n--qr");
    let chat = run("", HOME, file).unwrap();
    assert_eq!(
        (chat.backlog, chat.need, chat.count, chat.qr),
        (5, None, None, false)
    );
    assert_eq!(rooms(&chat), ["#general"]);
    let send = run("send hi", HOME, file).unwrap();
    assert_eq!((send.backlog, send.need), (0, Some(2)));
    assert_eq!(rooms(&send), ["#dev"]);
    for (content, helps) in [
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
        let sentence = refused("", Some(content));
        assert!(
            sentence.contains("options file") && sentence.contains(helps),
            "{content}: {sentence}"
        );
    }
    assert_eq!(
        run("-h", HOME, Some("nonsense")).unwrap().subcommand,
        Subcommand::Help
    );
}

#[test]
fn the_options_file_is_found_and_read() {
    let home =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("options-{}", std::process::id()));
    let config = home.join("config/p2pchat");
    let dotted = home.join(".config/p2pchat");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::create_dir_all(&dotted).unwrap();
    let plain = |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
    let xdg =
        |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.join("config").into_os_string());
    assert_eq!(read_options_file(&plain), Ok(None));
    assert_eq!(read_options_file(&|_| None), Ok(None));
    std::fs::write(dotted.join("options"), "-r dotted").unwrap();
    std::fs::write(config.join("options"), "-r xdg").unwrap();
    assert_eq!(read_options_file(&plain), Ok(Some("-r dotted".into())));
    assert_eq!(read_options_file(&xdg), Ok(Some("-r xdg".into())));
    for bad in [b"-u \xff".to_vec(), vec![b'#'; 70_000]] {
        std::fs::write(config.join("options"), bad).unwrap();
        let failure = read_options_file(&xdg).unwrap_err();
        assert_eq!(failure.exit_status.code(), 78);
        one_line(&failure.message);
    }
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn the_help_fits_one_screen_and_names_what_is_built() {
    assert!(USAGE_TEXT.lines().count() <= 24);
    for line in USAGE_TEXT.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for spec in p2pchat::shell::config::option_specs::OPTION_SPECS {
        assert!(USAGE_TEXT.contains(spec.long), "{}", spec.long);
        if let Some(short) = spec.short {
            assert!(
                USAGE_TEXT.contains(&format!("-{}, {}", short as char, spec.long)),
                "{}",
                spec.long
            );
        }
    }
    assert_eq!(
        VERSION_LINE,
        format!("p2pchat {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn peers_to_dial_are_named_in_many_ways() {
    let id = Identity::from_seed(&[7; 32]).id();
    let place = |host: &str, port| Endpoint {
        peer: None,
        host: host.into(),
        port,
    };
    let at = |host: &str, port| Endpoint {
        peer: Some(id),
        host: host.into(),
        port,
    };
    let good = [
        ("box".into(), vec![place("box", 9999)]),
        ("box.lan.:80".into(), vec![place("box.lan.", 80)]),
        ("10.0.0.7:1".into(), vec![place("10.0.0.7", 1)]),
        ("fe80::1".into(), vec![place("fe80::1", 9999)]),
        ("[fe80::1]".into(), vec![place("fe80::1", 9999)]),
        (
            " [fe80::1%eth0]:65535\n".into(),
            vec![place("fe80::1%eth0", 65535)],
        ),
        (format!("{id}@box"), vec![at("box", 9999)]),
        (
            format!("{id}@10.0.0.7:5,[2001:db8::1]:6"),
            vec![at("10.0.0.7", 5), at("2001:db8::1", 6)],
        ),
    ];
    for (text, expected) in good {
        assert_eq!(parse_endpoints(&text), Ok(expected), "{text}");
    }
    let bad = [
        (String::new(), EndpointError::Empty),
        (format!("{id}@"), EndpointError::Empty),
        ("bob@box".into(), EndpointError::InvalidId),
        (
            format!("{}@box", id.to_string().to_uppercase()),
            EndpointError::InvalidId,
        ),
        ("box,box".into(), EndpointError::MissingId),
        (format!("{id}@a,,b"), EndpointError::InvalidHost),
        (
            format!("{id}@{}a", "a,".repeat(ADDRESSES_MAX)),
            EndpointError::TooManyAddresses,
        ),
        (":80".into(), EndpointError::InvalidHost),
        ("a b".into(), EndpointError::InvalidHost),
        ("-box".into(), EndpointError::InvalidHost),
        ("300.1.1.1".into(), EndpointError::InvalidHost),
        ("1.2".into(), EndpointError::InvalidHost),
        ("a..b".into(), EndpointError::InvalidHost),
        ("x".repeat(64), EndpointError::InvalidHost),
        ("box:".into(), EndpointError::InvalidPort),
        ("box:0".into(), EndpointError::InvalidPort),
        ("box:+1".into(), EndpointError::InvalidPort),
        ("box:65536".into(), EndpointError::InvalidPort),
        ("[box]:1".into(), EndpointError::InvalidBrackets),
        ("[::1".into(), EndpointError::InvalidBrackets),
        ("[::1]1".into(), EndpointError::InvalidBrackets),
    ];
    for (text, error) in bad {
        assert_eq!(parse_endpoints(&text), Err(error), "{text}");
        one_line(&error.to_string());
    }
}

#[test]
fn a_connection_code_is_read_back() {
    let id = Identity::from_seed(&[7; 32]).id();
    let parsed =
        |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|a| a.parse().unwrap()).collect() };
    let all = parsed(&[
        "10.0.0.7:9999",
        "0.0.0.0:9999",
        "[fe80::1]:9999",
        "10.0.0.7:9999",
        "[2001:db8::1%3]:9999",
        "224.0.0.1:9",
        "10.0.0.8:0",
    ]);
    let code = ConnectionCode::new(id, &all);
    assert_eq!(
        code.addresses,
        parsed(&["10.0.0.7:9999", "[2001:db8::1]:9999"])
    );
    let text = code.to_string();
    assert_eq!(text, format!("{id}@10.0.0.7:9999,[2001:db8::1]:9999"));
    assert_eq!(text.parse(), Ok(code.clone()));
    assert_eq!(format!(" {text}\n").parse(), Ok(code));
    assert_eq!(parse_endpoints(&text).unwrap().len(), 2);

    let many: Vec<SocketAddr> = (1..20)
        .map(|i| SocketAddr::from(([10, 0, 0, i], 1)))
        .collect();
    let code = ConnectionCode::new(id, &many);
    assert_eq!(code.addresses, many[..ADDRESSES_MAX]);
    assert_eq!(code.to_string().parse(), Ok(code.clone()));
    assert_eq!(
        format!("{code},10.0.0.99:1").parse::<ConnectionCode>(),
        Err(EndpointError::TooManyAddresses)
    );
    for (text, error) in [
        (id.to_string(), EndpointError::MissingId),
        (format!("{id}@"), EndpointError::Empty),
        (format!("{id}@box:1"), EndpointError::InvalidHost),
        (format!("{id}@10.0.0.7:0"), EndpointError::InvalidPort),
        ("me@10.0.0.7:1".into(), EndpointError::InvalidId),
    ] {
        assert_eq!(text.parse::<ConnectionCode>(), Err(error), "{text}");
    }
}

#[test]
fn one_secret_gives_three_keys_and_never_shows_itself() {
    let text = generate_secret(&[0xa5; 32]);
    assert!(text.len() == 52 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')));
    let secret = NetworkKeys::derive(text.as_bytes()).unwrap();
    for end in ["\n", "\r\n"] {
        let same = NetworkKeys::derive(format!("{text}{end}").as_bytes()).unwrap();
        assert_eq!(
            (same.network(), same.psk(), same.beacon_key()),
            (secret.network(), secret.psk(), secret.beacon_key())
        );
    }
    let other = NetworkKeys::derive(format!("{text}\n\n").as_bytes()).unwrap();
    assert_ne!(other.network(), secret.network());
    let keys = [&secret.network().0, secret.psk(), secret.beacon_key()];
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert_ne!(secret.network(), NetworkTag::OPEN);
    let shown = format!("{secret:?}");
    let psk: String = secret.psk().iter().map(|b| format!("{b:02x}")).collect();
    assert!(
        !shown.contains(&text)
            && !shown.contains(&psk[..8])
            && shown.contains(&secret.network().dir_name())
    );

    assert!(NetworkKeys::derive(&[b'x'; 16]).is_ok());
    assert_eq!(
        NetworkKeys::derive(b"fifteen bytes..\n").err(),
        Some(NetworkSecretError::TooShort)
    );
    assert!(NetworkKeys::derive(&[b'x'; SECRET_MAX_BYTES]).is_ok());
    assert_eq!(
        NetworkKeys::derive(&[b'x'; SECRET_MAX_BYTES + 1]).err(),
        Some(NetworkSecretError::TooLong)
    );
    one_line(&NetworkSecretError::TooShort.to_string());
}
