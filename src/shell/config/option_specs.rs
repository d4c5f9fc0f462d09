//! Table of all options: their spellings, values, meanings, and which commands accept each.
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::presence::away::HAS_PRESENCE;
use crate::shell::config::subcommand::Subcommand;
use crate::shell::config::subcommand::Subcommand::{
    Chat, Doctor, History, Invite, Join, Keygen, Listen, Peers, Send, Sync, Trust, Whoami,
};
use crate::ui::editor::line_editor::HAS_EDITOR;

/// Names one option. The discriminant is the index of the option's row in [`OPTION_SPECS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionId {
    /// The name of this program's user.
    Username,
    /// The TCP port to listen on.
    Port,
    /// The beacon's multicast group, or `none`.
    Multicast,
    /// A room to join; repeatable.
    Room,
    /// The peer or room that `send` sends to, or that `history` is limited to.
    To,
    /// A peer to dial; repeatable.
    Peer,
    /// An interface to use; repeatable.
    Interface,
    /// The file with the network secret.
    SecretFile,
    /// The state directory.
    Dir,
    /// Keep state in memory only.
    Ephemeral,
    /// Read and write JSON lines.
    Json,
    /// How many lines to print.
    Count,
    /// How long to wait, in seconds.
    Wait,
    /// How many peers must acknowledge the lines.
    Need,
    /// How many stored lines to print before the new lines.
    Backlog,
    /// Do not print the lines that this program sends.
    NoEcho,
    /// Treat piped lines that begin with `/` as commands.
    Commands,
    /// When to colour the transcript.
    Color,
    /// Print only failures on stderr.
    Quiet,
    /// Print connections, counters, and errors that are retried, on stderr.
    Debug,
    /// Print the usage.
    Help,
    /// Print the version.
    Version,
    /// Print the connection code also as a QR code.
    Qr,
    /// The time of the oldest line to print.
    Since,
    /// The text that printed lines must contain.
    Search,
    /// Send bytes that are not UTF-8 as U+FFFD.
    Lossy,
    /// Speak LSNP, with its people as guests of `#lsnp`.
    Lsnp,
    /// The room in which lines of guests are repeated.
    LsnpRoom,
    /// Have the default gateway map the TCP port.
    Nat,
    /// Speak the protocol of p2pchat in Go, with its people as guests of `#p2pchat-go`.
    GoRoom,
    /// Neither announce this program by mDNS, nor find others so.
    NoMdns,
    /// Try the addresses of a subnet.
    Scan,
    /// A Grape at which to find peers; repeatable.
    Grape,
    /// Publish and look up addresses in the DHT of BitTorrent.
    Dht,
    /// A node of the DHT to begin with; repeatable.
    DhtBootstrap,
    /// The form in which chat lines are printed.
    Format,
    /// Keep typed direct messages in the file of typed lines, too.
    HistoryDirect,
    /// Print what came since the last run of this reader, and end.
    Drain,
    /// Where the reader goes first.
    Seek,
    /// The regular expression that printed lines must contain.
    Match,
    /// The author of printed lines.
    From,
    /// The file of the peers that must be here.
    Expect,
    /// The name of the reader.
    As,
    /// All input is one message.
    Block,
    /// Longest time between two beacons, in seconds.
    Interval,
    /// How long a silent peer counts as here, in seconds.
    Patience,
    /// Ring no bell.
    NoBell,
    /// Do not tell others that the user types.
    NoTyping,
}

impl OptionId {
    /// Whether the option may be given more than once in one source.
    pub fn is_repeatable(self) -> bool {
        matches!(
            self,
            OptionId::Room
                | OptionId::Peer
                | OptionId::Interface
                | OptionId::Grape
                | OptionId::DhtBootstrap
        )
    }

    /// The feature that this build lacks for the option. `None`: the option works.
    pub fn missing_feature(self) -> Option<&'static str> {
        match self {
            OptionId::NoMdns => (!cfg!(feature = "mdns")).then_some("mdns"),
            OptionId::Scan => (!cfg!(feature = "scan")).then_some("scan"),
            OptionId::Grape => (!cfg!(feature = "grenache")).then_some("grenache"),
            OptionId::Dht | OptionId::DhtBootstrap => (!cfg!(feature = "dht")).then_some("dht"),
            OptionId::Match => (!cfg!(feature = "match")).then_some("match"),
            OptionId::Lsnp | OptionId::LsnpRoom | OptionId::GoRoom => {
                (!HAS_GUESTS).then_some("guests")
            }
            OptionId::HistoryDirect => (!HAS_EDITOR).then_some("terminal"),
            OptionId::NoTyping if !HAS_PRESENCE => Some("presence"),
            OptionId::NoTyping => (!HAS_EDITOR).then_some("terminal"),
            _ => None,
        }
    }

    /// This option's row in [`OPTION_SPECS`].
    pub fn spec(self) -> &'static OptionSpec {
        &OPTION_SPECS[self as usize]
    }

    /// The long spelling, with its dashes.
    pub fn long(self) -> &'static str {
        self.spec().long
    }
}

/// Spelling and use of one option.
pub struct OptionSpec {
    /// Which option this is.
    pub id: OptionId,
    /// The letter of the short spelling, if there is one.
    pub short: Option<u8>,
    /// The long spelling, with its dashes.
    pub long: &'static str,
    /// The word for the option's value in messages, such as `PORT`. `None` for a flag.
    pub value_name: Option<&'static str>,
    /// The commands that accept the option.
    pub subcommands: &'static [Subcommand],
    /// An example or advice. The message about a missing value ends with it. Empty for a flag.
    pub hint: &'static str,
    /// What the option does: help, man page and completions show it.
    pub about: &'static str,
}

impl OptionSpec {
    /// The option as the help shows it, as `-u, --username NAME`. Without a letter, its place is
    /// blank.
    pub fn spelling(&self) -> String {
        let mut spelling = match self.short {
            Some(letter) => format!("-{}, {}", char::from(letter), self.long),
            None => format!("    {}", self.long),
        };
        if let Some(value_name) = self.value_name {
            spelling += " ";
            spelling += value_name;
        }
        spelling
    }
}

const NETWORK_COMMANDS: &[Subcommand] = &[Chat, Send, Listen, Peers, Sync];
/// The commands for which it matters how others are found.
const FINDING_COMMANDS: &[Subcommand] = &[Chat, Send, Listen, Peers, Sync, Doctor];
const ROOM_COMMANDS: &[Subcommand] = &[Chat, Send, Listen, Peers, History, Sync];
const ALL_BUT_KEYGEN: &[Subcommand] = &[Chat, Send, Listen, Peers, History, Whoami, Trust, Doctor];
/// The commands that use an identity and the network.
const IDENTITY_COMMANDS: &[Subcommand] = &[
    Chat, Send, Listen, Peers, History, Sync, Whoami, Invite, Join, Trust, Doctor,
];
/// The commands that may keep their state in memory. `sync` would have nothing to exchange. By
/// `invite` and `join` each binds the other's key, which must then not end with the command.
const EPHEMERAL_COMMANDS: &[Subcommand] =
    &[Chat, Send, Listen, Peers, History, Whoami, Trust, Doctor];
const LISTENING_COMMANDS: &[Subcommand] = &[
    Chat, Send, Listen, Peers, History, Sync, Whoami, Invite, Doctor,
];
const WAITING_COMMANDS: &[Subcommand] = &[Chat, Send, Listen, Peers, Sync, Invite, Join, Doctor];
const TRANSCRIPT_COMMANDS: &[Subcommand] = &[Chat, Listen];
/// The commands that print chat lines.
const PRINTING_COMMANDS: &[Subcommand] = &[Chat, Listen, History];
/// All commands except the usage and the version. [`Subcommand::Chat`] is the command that runs if
/// none is typed.
pub const ALL_COMMANDS: &[Subcommand] = &[
    Chat, Send, Listen, Peers, History, Sync, Whoami, Keygen, Invite, Join, Trust, Doctor,
];

const fn valued_option(
    id: OptionId,
    short: u8,
    long: &'static str,
    value_name: &'static str,
    subcommands: &'static [Subcommand],
    hint: &'static str,
    about: &'static str,
) -> OptionSpec {
    OptionSpec {
        id,
        short: if short == 0 { None } else { Some(short) },
        long,
        value_name: Some(value_name),
        subcommands,
        hint,
        about,
    }
}

const fn flag(
    id: OptionId,
    short: u8,
    long: &'static str,
    subcommands: &'static [Subcommand],
    about: &'static str,
) -> OptionSpec {
    OptionSpec {
        id,
        short: if short == 0 { None } else { Some(short) },
        long,
        value_name: None,
        subcommands,
        hint: "",
        about,
    }
}

/// All options, in the order of [`OptionId`].
#[rustfmt::skip]
pub const OPTION_SPECS: &[OptionSpec] = &[
    valued_option(OptionId::Username, b'u', "--username", "NAME", IDENTITY_COMMANDS,
        "as in `-u alice`",
        "your name ($P2PCHAT_USERNAME, $USER, $LOGNAME, host)"),
    valued_option(OptionId::Port, b'p', "--port", "PORT", LISTENING_COMMANDS,
        "as in `-p 9999`; 0 is any free one",
        "TCP port (9999, else any free one); 0: any free one"),
    valued_option(OptionId::Multicast, b'm', "--multicast", "ADDRESS[:PORT]", IDENTITY_COMMANDS,
        "as in `-m 224.0.0.1:9999`, or `-m none`; to say something: p2pchat send hello",
        "group of beacons (224.0.0.1:9999), or none"),
    valued_option(OptionId::Room, b'r', "--room", "ROOM", ROOM_COMMANDS,
        "quote '#ops', for a shell takes an unquoted # for a comment, or write ops",
        "room, repeatable; you speak in the first (#general)"),
    valued_option(OptionId::To, b't', "--to", "TARGET", &[Send, History],
        "a peer, as in `-t @bob`, or a room, as in `-t '#ops'` (quote it, for a shell takes an \
         unquoted # for a comment) or `-r ops`",
        "send to a peer (@NAME) or '#ROOM'; history: only this"),
    valued_option(OptionId::Peer, 0, "--peer", "HOST[:PORT]", FINDING_COMMANDS,
        "as in `--peer 10.0.0.7:9999`, or a code as `p2pchat whoami` shows it; with --dht also \
         `--peer @ID`",
        "a peer to dial, or its code; repeatable"),
    valued_option(OptionId::Interface, 0, "--interface", "NAME", IDENTITY_COMMANDS,
        "as in `--interface eth0`",
        "use only this interface; repeatable"),
    valued_option(OptionId::SecretFile, 0, "--secret-file", "FILE", IDENTITY_COMMANDS,
        "`p2pchat keygen > FILE` makes one",
        "file with the network secret ($P2PCHAT_SECRET_FILE)"),
    valued_option(OptionId::Dir, 0, "--dir", "DIR", IDENTITY_COMMANDS,
        "the directory for identity, known peers and lines",
        "state ($P2PCHAT_DIR, else ~/.local/state/p2pchat)"),
    flag(OptionId::Ephemeral, 0, "--ephemeral", EPHEMERAL_COMMANDS,
        "keep identity and lines in memory only"),
    flag(OptionId::Json, 0, "--json", ALL_BUT_KEYGEN,
        "JSON lines in and out"),
    valued_option(OptionId::Count, b'n', "--count", "N", &[Listen, History], "as in `-n 1`",
        "listen: stop after N lines; history: the last N"),
    valued_option(OptionId::Wait, b'W', "--wait", "SECONDS", WAITING_COMMANDS, "as in `-W 2.5`",
        "time for delivery (10), for listening, to look (2)"),
    valued_option(OptionId::Need, 0, "--need", "N", &[Send],
        "as in `--need 2`; 0: stored is enough",
        "how many peers must hold it (all in the room)"),
    valued_option(OptionId::Backlog, 0, "--backlog", "N", TRANSCRIPT_COMMANDS,
        "as in `--backlog 20`",
        "first print the last N stored lines"),
    flag(OptionId::NoEcho, 0, "--no-echo", TRANSCRIPT_COMMANDS,
        "do not print own lines"),
    flag(OptionId::Commands, 0, "--commands", &[Chat],
        "obey piped lines that begin with /"),
    valued_option(OptionId::Color, 0, "--color", "WHEN", ALL_BUT_KEYGEN, "auto, always or never",
        "auto, always or never; NO_COLOR is honoured"),
    flag(OptionId::Quiet, b'q', "--quiet", ALL_COMMANDS,
        "only failures on stderr"),
    flag(OptionId::Debug, b'd', "--debug", ALL_COMMANDS,
        "links, counters and retried errors on stderr"),
    flag(OptionId::Help, b'h', "--help", ALL_COMMANDS,
        "this, or the help on a command: p2pchat send --help"),
    flag(OptionId::Version, b'V', "--version", ALL_COMMANDS,
        "print the version"),
    flag(OptionId::Qr, 0, "--qr", &[Whoami],
        "also print the code as a picture"),
    valued_option(OptionId::Since, 0, "--since", "TIME", &[History],
        "as in `--since 2h`, or 2026-11-21",
        "only lines since a date, or for 90s, 10m, 2h or 3d"),
    valued_option(OptionId::Search, 0, "--search", "TEXT", &[History], "as in `--search hello`",
        "only lines with this text"),
    flag(OptionId::Lossy, 0, "--lossy", &[Chat, Send],
        "send bytes that are not UTF-8 as U+FFFD"),
    flag(OptionId::Lsnp, 0, "--lsnp", NETWORK_COMMANDS,
        "speak LSNP, in the clear; its people are guests of #lsnp"),
    valued_option(OptionId::LsnpRoom, 0, "--lsnp-room", "ROOM", NETWORK_COMMANDS,
        "as in `--lsnp-room ops`",
        "repeat the lines of LSNP's guests in ROOM"),
    flag(OptionId::Nat, 0, "--nat", TRANSCRIPT_COMMANDS,
        "have the gateway map the TCP port, for peers outside"),
    flag(OptionId::GoRoom, 0, "--go-room", FINDING_COMMANDS,
        "speak to p2pchat in Go, in the clear, in #p2pchat-go"),
    flag(OptionId::NoMdns, 0, "--no-mdns", NETWORK_COMMANDS,
        "do not use multicast DNS"),
    valued_option(OptionId::Scan, 0, "--scan", "CIDR", NETWORK_COMMANDS,
        "as in `--scan 10.0.0.0/24`, or `--scan own`",
        "dial the addresses of this subnet; own: of own ones"),
    valued_option(OptionId::Grape, 0, "--grape", "URL", NETWORK_COMMANDS,
        "as in `--grape http://10.0.0.7:30001`",
        "meet peers at this Grape of Grenache; repeatable"),
    flag(OptionId::Dht, 0, "--dht", NETWORK_COMMANDS,
        "publish and look up addresses in BitTorrent's DHT"),
    valued_option(OptionId::DhtBootstrap, 0, "--dht-bootstrap", "HOST:PORT", NETWORK_COMMANDS,
        "as in `--dht-bootstrap 10.0.0.7:6881`",
        "node of the DHT to begin with; repeatable"),
    valued_option(OptionId::Format, b'F', "--format", "FORMAT", PRINTING_COMMANDS,
        "as in `-F '%T %n: %m\\n'`",
        "print lines so: %T time %r room %n name %i id %m text %s sequence %% \\n \\t \\0; no line end of its own"),
    flag(OptionId::HistoryDirect, 0, "--history-direct", &[Chat],
        "recall typed direct messages after a restart, too"),
    flag(OptionId::Drain, 0, "--drain", &[Listen],
        "print what came since the last run, and end"),
    valued_option(OptionId::Seek, 0, "--seek", "WHERE", &[Listen],
        "`end` skips all that is stored, `start` prints it all",
        "end: skip all stored lines first; start: print them"),
    valued_option(OptionId::Match, 0, "--match", "REGEX", PRINTING_COMMANDS,
        "as in `--match '^(ERROR|FATAL)'`; (?i) before it: in either case of letters",
        "only lines with a match"),
    valued_option(OptionId::From, 0, "--from", "NAME", PRINTING_COMMANDS,
        "as in `--from bob`, bob~k7mq, or an id",
        "only lines of NAME, name~abcd or an id"),
    valued_option(OptionId::Expect, 0, "--expect", "FILE", &[Peers],
        "the names or ids of those who must be here, one a line",
        "who must be here, a name or id a line; else 75"),
    valued_option(OptionId::As, 0, "--as", "NAME", &[Listen],
        "the reader, as in `--as backup`: it prints each line once",
        "read as the reader NAME, which prints each line once"),
    flag(OptionId::Block, 0, "--block", &[Send],
        "all of TEXT or stdin is one message, up to 16 KiB"),
    valued_option(OptionId::Interval, 0, "--interval", "SECONDS", FINDING_COMMANDS,
        "as in `--interval 60`: the longest time between two beacons",
        "longest time between two beacons (10)"),
    valued_option(OptionId::Patience, 0, "--patience", "SECONDS", NETWORK_COMMANDS,
        "as in `--patience 120`: how long a silent peer counts as here",
        "how long a silent peer counts as here (28)"),
    flag(OptionId::NoBell, 0, "--no-bell", TRANSCRIPT_COMMANDS,
        "ring no bell for direct messages, and for your name"),
    flag(OptionId::NoTyping, 0, "--no-typing", &[Chat],
        "do not tell others that you type"),
];

const _: () = {
    let mut row = 0;
    while row < OPTION_SPECS.len() {
        assert!(OPTION_SPECS[row].id as usize == row);
        row += 1;
    }
};

/// Long options with a single dash, as the first version of p2pchat spelled them. The parser tries
/// these spellings first, then clusters of short options.
pub const LEGACY_SPELLINGS: &[(&str, OptionId)] = &[
    ("-username", OptionId::Username),
    ("-port", OptionId::Port),
    ("-multicast", OptionId::Multicast),
    ("-debug", OptionId::Debug),
    ("-help", OptionId::Help),
];
