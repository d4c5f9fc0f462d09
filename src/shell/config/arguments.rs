//! Grammar of the command line and of the options file: which words are options, which word is
//! the command, and where TEXT begins.
//!
//! This module does not parse the values; [`options`](crate::shell::config::options) does.
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::shell::config::failure::{Failure, quote_truncated};
use crate::shell::config::option_specs::{
    ALL_COMMANDS, LEGACY_SPELLINGS, OPTION_SPECS, OptionId, OptionSpec,
};
use crate::shell::config::options_file::OptionsFile;
use crate::shell::config::subcommand::Subcommand;

/// Maximum number of rooms that a run may join. The same bound holds for interfaces and static
/// peers.
pub const OPTION_REPEATS_MAX: usize = 64;

/// One option, as given on the command line or in the options file.
pub struct ParsedOption {
    /// Which option this is.
    pub id: OptionId,
    /// The option's value, not yet parsed. `None` for a flag.
    pub value: Option<OsString>,
    /// The line of the options file, counted from 1. `None` for an option on the command line.
    pub line: Option<usize>,
}

/// The parts of a command line.
pub struct ParsedArguments {
    /// The command.
    pub subcommand: Subcommand,
    /// All options, in the order given.
    pub options: Vec<ParsedOption>,
    /// The words of TEXT, which is the message to send; for `join`, the code; for `trust`, what to
    /// do; for `doctor`, the host.
    pub text: Vec<OsString>,
    /// With -h, the command on which help is wanted; [`Subcommand::Chat`]: on the whole program.
    pub help_on: Subcommand,
}

/// Parses the arguments that follow the program's name. At -h or -V the parser stops, and ignores
/// the remaining words.
///
/// # Errors
/// Exit status 2: an unknown option or command, an option of another command, TEXT for a command
/// that takes none, or a missing value.
pub fn parse_arguments(args: Vec<OsString>) -> Result<ParsedArguments, Failure> {
    let mut parsed = ParsedArguments {
        subcommand: Subcommand::Chat,
        options: Vec::new(),
        text: Vec::new(),
        help_on: Subcommand::Chat,
    };
    let mut has_command = false;
    let mut words = args.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.text.extend(words.by_ref());
        } else if is_option(&word) {
            let first_new = parsed.options.len();
            parse_option(&word, &mut words, &mut parsed.options)?;
            for option in parsed.options.iter().skip(first_new) {
                match option.id {
                    OptionId::Help => {
                        // As in `send --help`, or `--help send`.
                        let later = words.find_map(|word| parse_subcommand(&word).ok());
                        parsed.help_on = match parsed.subcommand {
                            Subcommand::Chat => later.unwrap_or(Subcommand::Chat),
                            command => command,
                        };
                        parsed.subcommand = Subcommand::Help;
                    }
                    OptionId::Version => parsed.subcommand = Subcommand::Version,
                    _ => continue,
                }
                return Ok(parsed);
            }
        } else if has_command {
            parsed.text.push(word);
            // Options may follow a code or a name. In a message, they are words of it.
            if !matches!(
                parsed.subcommand,
                Subcommand::Join | Subcommand::Trust | Subcommand::Doctor
            ) {
                parsed.text.extend(words.by_ref());
            }
        } else {
            parsed.subcommand = parse_subcommand(&word)?;
            has_command = true;
        }
    }
    if let Some(word) = parsed.text.first()
        && !matches!(
            parsed.subcommand,
            Subcommand::Send | Subcommand::Join | Subcommand::Trust | Subcommand::Doctor
        )
    {
        return Err(Failure::usage(format!(
            "{} takes no TEXT, but {} was given; to say something: p2pchat send hello",
            parsed.subcommand.display_name(),
            quote_truncated(&word.to_string_lossy())
        )));
    }
    if parsed.subcommand == Subcommand::Doctor && parsed.text.len() > 1 {
        return Err(Failure::usage(
            "doctor takes one HOST, as in p2pchat doctor 10.0.0.7:9999, or none",
        ));
    }
    for (i, option) in parsed.options.iter().enumerate() {
        if is_repeated(&parsed.options[..i], option) {
            return Err(Failure::usage(format!(
                "{} was given twice: give it once",
                option.id.long()
            )));
        }
        let subcommands = option.id.spec().subcommands;
        if !subcommands.contains(&parsed.subcommand) {
            let names: Vec<&str> = subcommands.iter().map(|name| name.display_name()).collect();
            return Err(Failure::usage(format!(
                "{} does not go with {}; it goes with {}",
                option.id.long(),
                parsed.subcommand.display_name(),
                names.join(", ")
            )));
        }
    }
    Ok(parsed)
}

/// Whether the option is not repeatable, and `earlier` already contains it.
fn is_repeated(earlier: &[ParsedOption], option: &ParsedOption) -> bool {
    !option.id.is_repeatable() && earlier.iter().any(|other| other.id == option.id)
}

/// The failure of an option that is given more than [`OPTION_REPEATS_MAX`] times.
pub fn too_many_repeats(id: OptionId) -> Failure {
    Failure::usage(format!(
        "{} was given more than {OPTION_REPEATS_MAX} times",
        id.long()
    ))
}

/// Parses the options file. Each line has one option: `-r ops`, `--room=ops` or `--room ops`. The
/// value may be quoted. Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// Exit status 2: a line is not an option, repeats an option too often, or has an option of the
/// command line only. The message gives the file and the line.
pub fn parse_options_file(file: &OptionsFile) -> Result<Vec<ParsedOption>, Failure> {
    let mut options: Vec<ParsedOption> = Vec::new();
    for (i, text) in file.text.lines().enumerate() {
        let (number, text) = (i + 1, text.trim());
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let first_new = options.len();
        parse_file_line(text, &mut options).map_err(|failure| file.failure(number, &failure))?;
        for i in first_new..options.len() {
            options[i].line = Some(number);
            let (earlier, option) = (&options[..i], &options[i]);
            if is_repeated(earlier, option) {
                let sentence = format!("{} was given before: give it once", option.id.long());
                return Err(file.failure(number, &Failure::usage(sentence)));
            }
            let same = earlier.iter().filter(|other| other.id == option.id);
            if same.count() >= OPTION_REPEATS_MAX {
                return Err(file.failure(number, &too_many_repeats(option.id)));
            }
        }
    }
    Ok(options)
}

fn parse_file_line(line: &str, options: &mut Vec<ParsedOption>) -> Result<(), Failure> {
    let end = line.find(|c: char| c.is_whitespace() || c == '=');
    let (word, value) = match end.map(|end| line.split_at(end)) {
        Some((word, rest)) if is_option(OsStr::new(word)) => {
            let value = rest.trim_start_matches(|c: char| c.is_whitespace());
            let value = value.strip_prefix('=').unwrap_or(value).trim_start();
            (word, Some(strip_quotes(value)))
        }
        _ => (line, None),
    };
    if !is_option(OsStr::new(word)) {
        return Err(Failure::usage(format!(
            "{} is not an option: options begin with -",
            quote_truncated(line)
        )));
    }
    let first_new = options.len();
    let mut rest = value.map(OsString::from).into_iter();
    parse_option(OsStr::new(word), &mut rest, options)?;
    if let Some(rest) = rest.next() {
        let rest = rest.to_string_lossy();
        return Err(Failure::usage(format!(
            "{word} takes no value, but {} was given",
            quote_truncated(&rest)
        )));
    }
    if options
        .iter()
        .skip(first_new)
        .any(|option| matches!(option.id, OptionId::Help | OptionId::Version))
    {
        return Err(Failure::usage(format!(
            "{word} belongs on the command line, not into the options file"
        )));
    }
    Ok(())
}

fn strip_quotes(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote);
        if let Some(inner) = inner.and_then(|value| value.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

/// Whether a word is an option: a `-` and at least one more byte.
fn is_option(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    bytes.len() > 1 && bytes.starts_with(b"-")
}

fn parse_subcommand(word: &OsStr) -> Result<Subcommand, Failure> {
    let text = word.to_string_lossy();
    let subcommand = ALL_COMMANDS
        .iter()
        .find(|subcommand| **subcommand != Subcommand::Chat && subcommand.as_str() == text);
    if let Some(subcommand) = subcommand {
        return Ok(*subcommand);
    }
    Err(Failure::usage(format!(
        "there is no command {}; to say it: p2pchat send TEXT; all commands: p2pchat -h",
        quote_truncated(&text)
    )))
}

/// Parses the option in `word`, which begins with `-`. If the value is a word of its own, as in
/// `--room ops`, takes it from `words`.
fn parse_option(
    word: &OsStr,
    words: &mut impl Iterator<Item = OsString>,
    options: &mut Vec<ParsedOption>,
) -> Result<(), Failure> {
    let bytes = word.as_bytes();
    let (name, attached) = match bytes.iter().position(|b| *b == b'=') {
        Some(at) => (&bytes[..at], bytes.get(at + 1..)),
        None => (bytes, None),
    };
    let legacy = LEGACY_SPELLINGS
        .iter()
        .find(|(spelling, _)| spelling.as_bytes() == name);
    let long = || {
        OPTION_SPECS
            .iter()
            .find(|spec| spec.long.as_bytes() == name)
    };
    if let Some(spec) = legacy.map(|(_, id)| id.spec()).or_else(long) {
        return push_option(spec, attached, words, options);
    }
    // Without this check `-room` would be read as `-r oom`. Words as short as `-qr` and `-to` are
    // not checked, because they are valid clusters of short options.
    let misspelled = OPTION_SPECS
        .iter()
        .find(|spec| name.len() > 3 && &spec.long.as_bytes()[1..] == name);
    if bytes.starts_with(b"--") || misspelled.is_some() {
        let advice = match misspelled {
            Some(spec) => format!("it is {}", spec.long),
            None => "all options: p2pchat -h; TEXT that begins with - stands behind --".into(),
        };
        return Err(unknown_option(&String::from_utf8_lossy(name), &advice));
    }
    parse_short_cluster(&bytes[1..], words, options)
}

/// Parses a word of short options: any number of flags, then perhaps one option with a value.
/// Examples: `-qd`, `-rops`, `-qrops`, `-r=ops`.
fn parse_short_cluster(
    letters: &[u8],
    words: &mut impl Iterator<Item = OsString>,
    options: &mut Vec<ParsedOption>,
) -> Result<(), Failure> {
    let mut letters = letters;
    while let Some((letter, rest)) = letters.split_first() {
        let Some(spec) = OPTION_SPECS.iter().find(|spec| spec.short == Some(*letter)) else {
            let shown = String::from_utf8_lossy(letters);
            let shown: String = shown.chars().take(1).collect();
            return Err(unknown_option(
                &format!("-{shown}"),
                "all options: p2pchat -h; TEXT that begins with - stands behind --",
            ));
        };
        if spec.value_name.is_some() {
            let attached = rest.strip_prefix(b"=").unwrap_or(rest);
            return push_option(spec, (!rest.is_empty()).then_some(attached), words, options);
        }
        if let Some(value) = rest.strip_prefix(b"=") {
            return push_option(spec, Some(value), words, options);
        }
        push_option(spec, None, words, options)?;
        letters = rest;
    }
    Ok(())
}

fn unknown_option(name: &str, advice: &str) -> Failure {
    Failure::usage(format!(
        "there is no option {}; {advice}",
        quote_truncated(name)
    ))
}

/// Appends the option to `options`. `attached` is the value in the same word, as in `--room=ops`.
/// Without an attached value, the next word of `words` is the value. A flag takes no value.
fn push_option(
    spec: &'static OptionSpec,
    attached: Option<&[u8]>,
    words: &mut impl Iterator<Item = OsString>,
    options: &mut Vec<ParsedOption>,
) -> Result<(), Failure> {
    let value = match (spec.value_name, attached) {
        (None, None) => None,
        (None, Some(value)) => {
            let value = String::from_utf8_lossy(value);
            return Err(Failure::usage(format!(
                "{} takes no value, but {} was given",
                spec.long,
                quote_truncated(&value)
            )));
        }
        (Some(_), Some(value)) => Some(OsString::from_vec(value.to_vec())),
        (Some(_), None) => words.next(),
    };
    if let Some(name) = spec.value_name {
        let is_missing = value.as_deref().is_none_or(|value| {
            value.is_empty() || (attached.is_none() && is_option(value) && !is_negative(value))
        });
        if is_missing {
            let article = if name.starts_with('A') { "an" } else { "a" };
            return Err(Failure::usage(format!(
                "{} needs {article} {name}: {}",
                spec.long, spec.hint
            )));
        }
    }
    options.push(ParsedOption {
        id: spec.id,
        value,
        line: None,
    });
    Ok(())
}

/// Whether a word looks like a negative number. After an option that takes a value, such a word is
/// the value and not another option. The value's parser then decides whether it is valid.
fn is_negative(value: &OsStr) -> bool {
    matches!(value.as_bytes(), [b'-', b'0'..=b'9' | b'.', ..])
}
