//! The grammar of the command line: commands, spellings, defaults, text and refusals.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use p2pchat::base::name::{Nick, Room};
use p2pchat::base::timing::Timing;
use p2pchat::shell::config::exit_status::EXIT_STATUS_SPECS;
use p2pchat::shell::config::help::{VERSION_LINE, command_help, help};
use p2pchat::shell::config::option_specs::OPTION_SPECS;
use p2pchat::shell::config::option_specs::OptionId;
use p2pchat::shell::config::options::{DEFAULT_MULTICAST_GROUP, Options, parse};
use p2pchat::shell::config::reading::Reading;
use p2pchat::shell::config::subcommand::{COMMAND_SPECS, Subcommand};
use p2pchat::shell::config::values::{Color, Verbosity};
use p2pchat::ui::line_filter::LineFilter;

use super::support::{ALICE_ENV, parse_line, parsed, refusal, rooms};

/// A running program cannot change these options; the list has those of the command line.
#[test]
fn explicit_lists_the_start_options_of_the_command_line() {
    let options = parsed("send -r ops -p 1 --interface lo -u bob hello");
    assert_eq!(
        options.explicit,
        [OptionId::Username, OptionId::Port, OptionId::Interface]
    );
}

/// Every field has its documented default.
#[test]
fn an_empty_command_line_gives_the_defaults() {
    let options = parsed("");
    let expected = Options {
        help_on: Subcommand::Chat,
        subcommand: Subcommand::Chat,
        username: Nick::new("alice").unwrap(),
        explicit: Vec::new(),
        typed_settings: Vec::new(),
        port: None,
        multicast: Some(DEFAULT_MULTICAST_GROUP),
        mdns: true,
        scan: None,
        grapes: Vec::new(),
        dht: false,
        dht_bootstrap: Vec::new(),
        rooms: vec![Room::general()],
        to_peer: None,
        lsnp: false,
        lsnp_room: None,
        go_room: false,
        static_peers: Vec::new(),
        nat: false,
        interfaces: Vec::new(),
        secret_file: None,
        directory: Some(PathBuf::from("/home/alice/.local/state/p2pchat")),
        json: false,
        line_format: None,
        filter: LineFilter::default(),
        expect_file: None,
        timing: Timing::default(),
        count: None,
        wait_ms: None,
        need: None,
        backlog: 0,
        contradicts_backlog: false,
        echo: true,
        has_slash_commands: false,
        history_direct: false,
        has_bell: true,
        tells_typing: true,
        is_block: false,
        is_lossy: false,
        color: Color::Auto,
        verbosity: Verbosity::Normal,
        reading: Reading::default(),
        qr: false,
        text: None,
        since: None,
        search: None,
    };
    assert_eq!(options, expected);
}

/// The first word that is neither an option nor its value is the command; `-h` and `-V` win.
#[test]
fn a_command_is_found_before_and_behind_options() {
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
    for (line, subcommand) in table {
        assert_eq!(parsed(line).subcommand, subcommand, "{line}");
    }
}

/// A value may follow its option after `=`, after a space, or directly after a short option.
#[test]
fn every_spelling_of_a_value_is_equal() {
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
        assert_eq!(rooms(&parsed(line)), ["#ops"], "{line}");
        assert_eq!(
            rooms(&parsed(&format!("{line} listen"))),
            ["#ops"],
            "{line}"
        );
        assert_eq!(
            rooms(&parsed(&format!("listen {line}"))),
            ["#ops"],
            "{line}"
        );
    }
    let bundle = parsed("-qdp0");
    assert_eq!((bundle.verbosity, bundle.port), (Verbosity::Debug, Some(0)));
    assert_eq!(parsed("-q").verbosity, Verbosity::Quiet);
}

/// Long options with one dash are matched as whole words before bundles of short options.
#[test]
fn legacy_single_dash_options_match_whole_words_first() {
    for line in ["-username bob", "-username=bob", "--username bob", "-ubob"] {
        assert_eq!(parsed(line).username.as_str(), "bob", "{line}");
    }
    assert_eq!(parsed("-port 5000").port, Some(5000));
    assert_eq!(parsed("-multicast none").multicast, None);
    assert_eq!(parsed("-debug").verbosity, Verbosity::Debug);
    assert_eq!(parsed("-usernames").username.as_str(), "sernames");
}

/// The text of `send` is taken byte for byte, also where it looks like options.
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
        let options = parsed(line);
        assert_eq!(options.text.as_deref(), text.map(str::as_bytes), "{line}");
        assert!(!options.json, "{line}");
    }
    let args = vec!["send".into(), OsString::from_vec(b"caf\xe9".to_vec())];
    let options = parse(args, &|_| None, None).unwrap();
    assert_eq!(options.text.as_deref(), Some(&b"caf\xe9"[..]));
}

/// A final line end begins no further message.
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
    assert_eq!(parsed("send").text_lines().count(), 0);
}

/// Wrong usage ends with status 2 and one line that says what to write instead.
#[test]
fn every_refusal_names_a_remedy() {
    let long_room = format!("-r {}", "x".repeat(51));
    let many = "-r x".to_owned() + &(0..70).map(|i| format!(" -r room{i}")).collect::<String>();
    // Ids have 52 characters too.
    let invalid_id = format!("send -t @{}", "b".repeat(52));
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
        ("send -t", "-t '#ops'"),
        ("send -t bob secret", "-t @bob"),
        ("send -t bob secret", "-r bob"),
        ("send -t b*b hi", "-t @NAME"),
        ("history -t ops", "-t '#ops'"),
        ("-r a·b", "U+0020"),
        (&long_room, "too long"),
        (&long_room, "1 to 50 characters"),
        (&invalid_id, "is not an id"),
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
        ("doctor a b", "one HOST"),
        // Targets that do not exist.
        ("send -t @b/b hi", "it is @name"),
        ("history -t @b/b", "it is @name"),
        // Options of another command. A binding to a key that ends with its program would be false.
        ("invite --ephemeral", "does not go with invite"),
        ("join 7-babab-babab --ephemeral", "does not go with join"),
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
        ("listen --lossy", "goes with"),
    ];
    for (line, remedy) in table {
        let sentence = refusal(line, None);
        assert!(sentence.contains(remedy), "{line}: {sentence}");
    }
}

/// A build without a part refuses its options, also in the options file, and says how to get it.
#[test]
fn options_of_a_part_not_built_are_refused() {
    let rows = [
        ("--no-mdns", cfg!(feature = "mdns"), "mdns"),
        ("--scan own", cfg!(feature = "scan"), "scan"),
        (
            "--grape http://[::1]:1",
            cfg!(feature = "grenache"),
            "grenache",
        ),
        ("--dht", cfg!(feature = "dht"), "dht"),
        ("--lsnp", cfg!(feature = "guests"), "guests"),
        ("--go-room", cfg!(feature = "guests"), "guests"),
        ("--match=x", cfg!(feature = "match"), "match"),
    ];
    for (option, is_built, feature) in rows {
        for (line, file) in [(option, None), ("", Some(option))] {
            match is_built {
                true => assert!(parse_line(line, ALICE_ENV, file).is_ok(), "{option}"),
                false => {
                    let sentence = refusal(line, file);
                    let remedy = format!("build with `--features {feature}`");
                    assert!(sentence.contains(&remedy), "{sentence}");
                }
            }
        }
    }
}

/// The overview has at most two screens of 24 lines and 80 columns. It names every option, and
/// describes those that no command's help describes.
#[test]
fn the_help_fits_two_screens_and_names_everything() {
    let overview = help(Subcommand::Chat);
    assert!(overview.lines().count() <= 48, "{overview}");
    for command in COMMAND_SPECS {
        assert!(overview.contains(&format!("{}  ", command.usage())));
        let text = help(command.subcommand);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for example in command.examples {
            assert!(command_help(command).contains(example));
        }
        for spec in OPTION_SPECS {
            let is_built = spec.id.missing_feature().is_none();
            let is_accepted = is_built && spec.subcommands.contains(&command.subcommand);
            let row = format!("{}  ", spec.spelling());
            let is_described = command_help(command).contains(&row);
            assert_eq!(is_described, is_accepted, "{text}{row}");
        }
        for (status, about) in EXIT_STATUS_SPECS {
            let row = format!("{} {about}", status.code());
            assert!(text.replace("\n    ", " ").contains(&row), "{text}{row}");
        }
    }
    for spec in OPTION_SPECS {
        if spec.id.missing_feature().is_none() {
            assert!(overview.contains(spec.long), "{}", spec.long);
        }
        let is_described = overview.contains(&format!("{}  ", spec.spelling()));
        let is_of_chat_alone = spec.subcommands == [Subcommand::Chat];
        assert!(is_described || !is_of_chat_alone, "{}", spec.long);
    }
    assert_eq!(
        VERSION_LINE,
        format!("p2pchat {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// Help on a command is had with the option on either side of it.
#[test]
fn a_command_has_a_help_of_its_own() {
    for (line, on) in [
        ("-h", Subcommand::Chat),
        ("-r ops --help", Subcommand::Chat),
        ("send --help", Subcommand::Send),
        ("listen -r ops -h", Subcommand::Listen),
        ("--help peers", Subcommand::Peers),
        ("-h nonsense", Subcommand::Chat),
        ("join -h", Subcommand::Join),
    ] {
        let options = parsed(line);
        assert_eq!(options.subcommand, Subcommand::Help, "{line}");
        assert_eq!(options.help_on, on, "{line}");
    }
    // `--wait` limits something else in each command.
    for command in COMMAND_SPECS {
        let text = help(command.subcommand);
        let is_wait = |line: &&str| line.starts_with("-W, --wait");
        let wait = text.lines().find(is_wait).unwrap_or_default();
        let is_overview = command.subcommand == Subcommand::Chat;
        assert!(wait.ends_with(command.wait) || is_overview, "{text}");
        assert_eq!(wait.is_empty(), command.wait.is_empty(), "{text}");
    }
    assert!(help(Subcommand::Join).contains("how long to look for the inviter (30)\n"));
    // A message may be about help.
    assert_eq!(parsed("send try -h").subcommand, Subcommand::Send);
}

/// The URL of a Grape has a host and a port, and nothing that could change the request.
#[cfg(feature = "grenache")]
#[test]
fn grapes_are_urls_of_a_host_and_a_port() {
    let grape = "http://10.0.0.7:30001";
    let options = parse_line(&format!("--grape {grape}/"), ALICE_ENV, None).expect("options");
    assert_eq!(options.grapes, [grape]);
    let urls = [
        "grape:30001",
        "https://grape:30001",
        "http://grape",
        "http://grape:0",
        "http://grape:30001/announce",
        "http://user@grape:30001",
        "http://grape:65536",
    ];
    for url in urls {
        let sentence = refusal(&format!("--grape {url}"), None);
        assert!(sentence.contains(grape), "{url}: {sentence}");
    }
    let eight = format!("--grape {grape} ").repeat(8);
    assert!(parse_line(&eight, ALICE_ENV, None).is_ok());
    let sentence = refusal(&format!("{eight}--grape {grape}"), None);
    assert!(sentence.contains("more than 8 times"), "{sentence}");
}

/// An id alone is a peer to dial only with --dht. A node to begin with has a host and a port, and
/// needs --dht, too.
#[cfg(feature = "dht")]
#[test]
fn ids_and_nodes_of_the_dht_need_it() {
    let id = "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa";
    for text in [id.to_owned(), format!("@{id}")] {
        let line = format!("--dht --peer {text} --dht-bootstrap 10.0.0.7:6881");
        let options = parse_line(&line, ALICE_ENV, None).expect("options");
        let peer = options.static_peers[0].peer_without_host();
        assert_eq!(peer.expect("an id").to_string(), id);
        assert_eq!(options.dht_bootstrap, ["10.0.0.7:6881"]);
        let sentence = refusal(&format!("--peer {text}"), None);
        assert!(sentence.contains("with --dht"), "{sentence}");
    }
    let sentence = refusal("--dht-bootstrap 10.0.0.7:6881", None);
    assert!(sentence.contains("needs --dht"), "{sentence}");
    for node in [
        "10.0.0.7",
        "router.example",
        "10.0.0.7:0",
        "a b:1",
        ":6881",
        &format!("{id}@a:1"),
    ] {
        let node = node.replace(' ', "%");
        let sentence = refusal(&format!("--dht --dht-bootstrap {node}"), None);
        assert!(sentence.contains("no node of the DHT"), "{sentence}");
    }
    for node in ["[2001:db8::1]:6881", "[fe80::1%eth0]:6881"] {
        let sentence = refusal(&format!("--dht --dht-bootstrap {node}"), None);
        assert!(sentence.contains("IPv4 only"), "{sentence}");
    }
    let nodes = "--dht-bootstrap 10.0.0.7:1 ".repeat(8);
    assert!(parse_line(&format!("--dht {nodes}"), ALICE_ENV, None).is_ok());
    let sentence = refusal(&format!("--dht {nodes} --dht-bootstrap a:1"), None);
    assert!(sentence.contains("more than 8 times"), "{sentence}");
}
