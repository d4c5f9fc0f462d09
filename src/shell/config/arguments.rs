//! The grammar of the command line and of the options file: which words are options, which is the command, where TEXT begins.
//!
//! What the values mean is told in [`crate::shell::config::options`].
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::shell::config::failure::{Failure, quoted};

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Chat,
    Send,
    Listen,
    Peers,
    History,
    Whoami,
    Keygen,
    /// Show how to use it.
    Help,
    Version,
}

impl Verb {
    /// As it is typed; `chat` is never typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Chat => "chat",
            Verb::Send => "send",
            Verb::Listen => "listen",
            Verb::Peers => "peers",
            Verb::History => "history",
            Verb::Whoami => "whoami",
            Verb::Keygen => "keygen",
            Verb::Help => "help",
            Verb::Version => "version",
        }
    }

    /// How to name it in a sentence.
    pub fn described(self) -> &'static str {
        match self {
            Verb::Chat => "p2pchat without a command",
            other => other.as_str(),
        }
    }
}

/// An option as the user may give it.
pub struct Spec {
    pub short: Option<u8>,
    /// With its dashes.
    pub long: &'static str,
    /// What its value is called, if it takes one.
    pub value: Option<&'static str>,
    /// The commands it belongs to; none: it is not built yet.
    pub verbs: &'static [Verb],
    /// Said when the value is missing.
    pub hint: &'static str,
}

use Verb::{Chat, History, Keygen, Listen, Peers, Send, Whoami};
const TALK: &[Verb] = &[Chat, Send, Listen, Peers];
const ROOMS: &[Verb] = &[Chat, Send, Listen, Peers, History];
const MOST: &[Verb] = &[Chat, Send, Listen, Peers, History, Whoami];
const ALL: &[Verb] = &[Chat, Send, Listen, Peers, History, Whoami, Keygen];
const READ: &[Verb] = &[Chat, Listen];

const fn option(
    short: u8,
    long: &'static str,
    value: &'static str,
    verbs: &'static [Verb],
    hint: &'static str,
) -> Spec {
    Spec {
        short: if short == 0 { None } else { Some(short) },
        long,
        value: Some(value),
        verbs,
        hint,
    }
}

const fn flag(short: u8, long: &'static str, verbs: &'static [Verb]) -> Spec {
    Spec {
        short: if short == 0 { None } else { Some(short) },
        long,
        value: None,
        verbs,
        hint: "",
    }
}

/// Every option of the contract. -h and -V end the reading of the command line.
#[rustfmt::skip]
pub const SPECS: &[Spec] = &[
    option(b'u', "--username", "NAME", MOST, "as in `-u alice`"),
    option(b'p', "--port", "PORT", MOST, "as in `-p 9999`; 0 is any free one"),
    option(b'm', "--multicast", "ADDRESS[:PORT]", MOST, "as in `-m 224.0.0.1:9999`, or `-m none`; to say something: p2pchat send hello"),
    option(b'r', "--room", "ROOM", ROOMS, "quote '#ops', for a shell takes an unquoted # for a comment, or write ops"),
    option(b't', "--to", "TARGET", &[Send, History], "a ROOM (quote '#ops', for a shell takes an unquoted # for a comment, or write ops) or a peer, as in `-t @bob`"),
    option(0, "--peer", "HOST[:PORT]", TALK, "as in `--peer 10.0.0.7:9999`, or a code as `p2pchat whoami` shows it"),
    option(0, "--interface", "NAME", MOST, "as in `--interface eth0`"),
    option(0, "--secret-file", "FILE", MOST, "`p2pchat keygen > FILE` makes one"),
    option(0, "--dir", "DIR", MOST, "the directory for identity, known peers and lines"),
    flag(0, "--ephemeral", MOST),
    flag(0, "--json", MOST),
    option(b'n', "--count", "N", &[Listen, History], "as in `-n 1`"),
    option(b'W', "--wait", "SECONDS", TALK, "as in `-W 2.5`"),
    option(0, "--need", "N", &[Send], "as in `--need 2`; 0: stored is enough"),
    option(0, "--backlog", "N", READ, "as in `--backlog 20`"),
    flag(0, "--no-echo", READ),
    flag(0, "--commands", &[Chat]),
    option(0, "--color", "WHEN", MOST, "auto, always or never"),
    flag(b'q', "--quiet", ALL),
    flag(b'd', "--debug", ALL),
    flag(b'h', "--help", ALL),
    flag(b'V', "--version", ALL),
    flag(0, "--qr", &[Whoami]),
    option(0, "--since", "TIME", &[History], "as in `--since 2h`, or 2026-11-21"),
    option(0, "--search", "TEXT", &[History], "as in `--search hello`"),
];

/// Spellings of old, whole words.
const OLD: &[(&str, &str)] = &[
    ("-username", "--username"),
    ("-port", "--port"),
    ("-multicast", "--multicast"),
    ("-debug", "--debug"),
    ("-help", "--help"),
];

/// Commands that are yet to come.
const LATER: &[&str] = &["trust", "doctor"];

/// One option as it was given: its long spelling, and its value.
pub struct Given {
    pub long: &'static str,
    pub value: Option<OsString>,
}

/// A command line, taken apart.
pub struct Scanned {
    pub verb: Verb,
    pub given: Vec<Given>,
    /// The words of TEXT.
    pub text: Vec<OsString>,
}

/// `args`: without the program's own name. At -h or -V reading ends.
///
/// # Errors
/// What the grammar does not know, with a sentence that helps.
pub fn scan(args: Vec<OsString>) -> Result<Scanned, Failure> {
    let mut scanned = Scanned {
        verb: Chat,
        given: Vec::new(),
        text: Vec::new(),
    };
    let mut command = false;
    let mut words = args.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            scanned.text.extend(words.by_ref());
        } else if is_option(&word) {
            let before = scanned.given.len();
            one(&word, &mut words, &mut scanned.given)?;
            for given in scanned.given.iter().skip(before) {
                match given.long {
                    "--help" => scanned.verb = Verb::Help,
                    "--version" => scanned.verb = Verb::Version,
                    _ => continue,
                }
                return Ok(scanned);
            }
        } else if command {
            scanned.text.push(word);
            scanned.text.extend(words.by_ref());
        } else {
            scanned.verb = verb(&word)?;
            command = true;
        }
    }
    if let Some(word) = scanned.text.first()
        && scanned.verb != Send
    {
        return Err(Failure::usage(format!(
            "{} takes no TEXT, and so not {}; to say something: p2pchat send hello",
            scanned.verb.described(),
            quoted(&word.to_string_lossy())
        )));
    }
    for given in &scanned.given {
        let verbs = spec(given.long).map_or(ALL, |spec| spec.verbs);
        if !verbs.contains(&scanned.verb) {
            let names: Vec<&str> = verbs.iter().map(|verb| verb.described()).collect();
            return Err(Failure::usage(format!(
                "{} does not go with {}; it goes with {}",
                given.long,
                scanned.verb.described(),
                names.join(", ")
            )));
        }
    }
    Ok(scanned)
}

/// The options file: one option a line, `-r ops` or `--room=ops` or `--room ops`; a value may be quoted. Empty lines and those that begin with `#` are skipped.
///
/// # Errors
/// The first line that is no option, by its number.
pub fn scan_file(text: &str) -> Result<Vec<Given>, Failure> {
    let mut given = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        line_of_file(line, &mut given).map_err(|failure| {
            let place = format!("options file, line {}: ", i + 1);
            Failure::new(failure.status, place + &failure.sentence)
        })?;
    }
    Ok(given)
}

fn line_of_file(line: &str, given: &mut Vec<Given>) -> Result<(), Failure> {
    let end = line.find(|c: char| c.is_whitespace() || c == '=');
    let (word, value) = match end.map(|end| line.split_at(end)) {
        Some((word, rest)) if is_option(OsStr::new(word)) => {
            let value = rest.trim_start_matches(|c: char| c.is_whitespace());
            let value = value.strip_prefix('=').unwrap_or(value).trim_start();
            (word, Some(unquoted(value)))
        }
        _ => (line, None),
    };
    if !is_option(OsStr::new(word)) {
        return Err(Failure::usage(format!(
            "{} is no option: those begin with -",
            quoted(line)
        )));
    }
    let before = given.len();
    let mut rest = value.map(OsString::from).into_iter();
    one(OsStr::new(word), &mut rest, given)?;
    if let Some(rest) = rest.next() {
        let rest = rest.to_string_lossy();
        return Err(Failure::usage(format!(
            "{word} takes no value, and so not {}",
            quoted(&rest)
        )));
    }
    if given
        .iter()
        .skip(before)
        .any(|given| matches!(given.long, "--help" | "--version"))
    {
        return Err(Failure::usage(format!(
            "{word} stands on the command line only"
        )));
    }
    Ok(())
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote);
        if let Some(inner) = inner.and_then(|value| value.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

/// A lone `-` is a word.
fn is_option(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    bytes.len() > 1 && bytes.starts_with(b"-")
}

fn verb(word: &OsStr) -> Result<Verb, Failure> {
    let text = word.to_string_lossy();
    // What is typed for `ALL` without the one that has no name.
    let named = ALL
        .iter()
        .find(|verb| **verb != Chat && verb.as_str() == text);
    if let Some(verb) = named {
        return Ok(*verb);
    }
    Err(Failure::usage(if LATER.contains(&&*text) {
        format!("the command {text} is not built yet")
    } else {
        format!(
            "there is no command {}; to say it: p2pchat send TEXT; all commands: p2pchat -h",
            quoted(&text)
        )
    }))
}

fn spec(long: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.long == long)
}

/// One word that begins with `-`, and, if its value is not part of it, the next.
fn one(
    word: &OsStr,
    words: &mut impl Iterator<Item = OsString>,
    given: &mut Vec<Given>,
) -> Result<(), Failure> {
    let bytes = word.as_bytes();
    let (name, attached) = match bytes.iter().position(|b| *b == b'=') {
        Some(at) => (&bytes[..at], bytes.get(at + 1..)),
        None => (bytes, None),
    };
    let old = OLD.iter().find(|(old, _)| old.as_bytes() == name);
    let name = old.map_or(name, |(_, long)| long.as_bytes());
    let long = SPECS.iter().find(|spec| spec.long.as_bytes() == name);
    if let Some(spec) = long {
        return take(spec, attached, words, given);
    }
    // `-room` would else be the room `oom`; `-qr` and `-to` are too short to be sure.
    let meant = SPECS
        .iter()
        .find(|spec| name.len() > 3 && &spec.long.as_bytes()[1..] == name);
    if bytes.starts_with(b"--") || meant.is_some() {
        let help = match meant {
            Some(spec) => format!("it is {}", spec.long),
            None => "all options: p2pchat -h; TEXT that begins with - stands behind --".into(),
        };
        return Err(unknown(&String::from_utf8_lossy(name), &help));
    }
    cluster(&bytes[1..], words, given)
}

/// `-qd`, `-rops`, `-qrops`, `-r=ops`: flags, then perhaps one option with its value.
fn cluster(
    letters: &[u8],
    words: &mut impl Iterator<Item = OsString>,
    given: &mut Vec<Given>,
) -> Result<(), Failure> {
    let mut letters = letters;
    while let Some((letter, rest)) = letters.split_first() {
        let Some(spec) = SPECS.iter().find(|spec| spec.short == Some(*letter)) else {
            let shown = String::from_utf8_lossy(letters);
            let shown: String = shown.chars().take(1).collect();
            return Err(unknown(
                &format!("-{shown}"),
                "all options: p2pchat -h; TEXT that begins with - stands behind --",
            ));
        };
        if spec.value.is_some() {
            let attached = rest.strip_prefix(b"=").unwrap_or(rest);
            return take(spec, (!rest.is_empty()).then_some(attached), words, given);
        }
        if let Some(value) = rest.strip_prefix(b"=") {
            return take(spec, Some(value), words, given);
        }
        take(spec, None, words, given)?;
        letters = rest;
    }
    Ok(())
}

fn unknown(name: &str, help: &str) -> Failure {
    Failure::usage(format!("there is no option {}; {help}", quoted(name)))
}

/// Notes the option; its value, if it takes one, is `attached` or the next word.
fn take(
    spec: &'static Spec,
    attached: Option<&[u8]>,
    words: &mut impl Iterator<Item = OsString>,
    given: &mut Vec<Given>,
) -> Result<(), Failure> {
    if spec.verbs.is_empty() {
        return Err(Failure::usage(format!("{} is not built yet", spec.long)));
    }
    let value = match (spec.value, attached) {
        (None, None) => None,
        (None, Some(value)) => {
            let value = String::from_utf8_lossy(value);
            return Err(Failure::usage(format!(
                "{} takes no value, and so not {}",
                spec.long,
                quoted(&value)
            )));
        }
        (Some(_), Some(value)) => Some(OsString::from_vec(value.to_vec())),
        (Some(_), None) => words.next(),
    };
    if let Some(name) = spec.value {
        let missing = value.as_deref().is_none_or(|value| {
            value.is_empty() || (attached.is_none() && is_option(value) && !is_negative(value))
        });
        if missing {
            let a = if name.starts_with('A') { "an" } else { "a" };
            return Err(Failure::usage(format!(
                "{} needs {a} {name}: {}",
                spec.long, spec.hint
            )));
        }
    }
    given.push(Given {
        long: spec.long,
        value,
    });
    Ok(())
}

/// `-1` in a value's place is a number out of range rather than an option.
fn is_negative(value: &OsStr) -> bool {
    matches!(value.as_bytes(), [b'-', b'0'..=b'9' | b'.', ..])
}
