//! Parses typed lines into commands.
use crate::base::event::command::Command;
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::guests::lsnp::LsnpRequest;
use crate::base::line_key::LineKey;
use crate::base::lines::Lines;
use crate::base::name::{NICK_RULE, Nick, PeerSelector, ROOM_RULE, Room};
use crate::base::presence::away::{AWAY_TEXT_MAX_BYTES, AwayText, HAS_PRESENCE};
use crate::base::presence::typing::TypingTarget;
use crate::base::text::line_form::LineForm;
use crate::base::trust::level::HAS_TRUST;
use crate::ui::profile::profile_command::{
    TypedProfile, parse_avatar_command, parse_lsnp_profile, parse_profile_command,
};
use crate::ui::trust_command::{
    TrustCommand, parse_ignore, parse_trust, parse_unignore, parse_verify, parse_whois,
};

/// What a typed line requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserCommand {
    /// A command for the core.
    Core(Command),
    /// Publish lines in a room.
    SendToRoom {
        /// The room. `None`: the current room.
        room: Option<Room>,
        /// The lines.
        lines: Lines,
        /// What the lines are.
        form: LineForm,
    },
    /// Publish lines as direct messages to one peer.
    SendToPeer {
        /// The recipient.
        selector: PeerSelector,
        /// The lines.
        lines: Lines,
        /// What the lines are.
        form: LineForm,
        /// How long to wait for a matching peer, in milliseconds. With 0 the peer must be known
        /// already.
        timeout_ms: u64,
    },
    /// Show the last stored lines of the current room.
    History {
        /// Their number, at least 1. `None`: [`DEFAULT_HISTORY_LINES`].
        lines: Option<u64>,
        /// Only lines before this one. `None`: all.
        before: Option<LineKey>,
    },
    /// Show every stored line, of any room, that contains this text.
    Search(String),
    /// Show the joined rooms.
    Rooms,
    /// Show our name, id, fingerprint and connection code.
    Code,
    /// Dial a peer at this address or connection code, or look up this id.
    Connect(String),
    /// List known peers, or change what is known of one.
    Trust(TrustCommand),
    /// Show what a peer or a guest says about itself, with its picture.
    Avatar {
        /// Whose.
        selector: PeerSelector,
        /// The file to which the frontend saves the picture. `None`: to none.
        file: Option<String>,
    },
    /// Set the picture of our profile from a file. Only a frontend reads files.
    AvatarFile(String),
    /// Show or change a setting of this user.
    Set {
        /// The name of the setting. `None`: show all.
        name: Option<String>,
        /// The new value. `None`: show the setting.
        value: Option<String>,
    },
    /// Clear the screen.
    Clear,
    /// Begin, or cease, to report details on stderr.
    Verbose,
    /// Show [`HELP`].
    Help,
    /// Leave all rooms and end the program.
    Quit,
}

/// Number of lines that /history shows by default. [`HELP`] contains the same number.
pub const DEFAULT_HISTORY_LINES: u64 = 20;

/// Refuses a command of a part that is left out.
const NOT_BUILT: &str = "not part of this build: leave it out, or build with `--features presence`";

/// Refuses /set where it is left out.
const NO_SETTINGS: &str =
    "not part of this build: leave it out, or build with `--features terminal`";

/// How many typing errors an unknown command may have, so that the one that was meant is named.
const TYPING_ERRORS_MAX: usize = 2;
/// How many characters of an unknown command are shown, and compared with the known ones.
const COMMAND_MAX_CHARS: usize = 32;

/// The answer to /help.
pub const HELP: &str = "\
/help             list the commands
/users            who is here (also /who, /names, /list)
/join #ROOM       join a room and speak there
/part [#ROOM]     leave a room (the current one)
/rooms            the rooms you are in
/nick NAME        change your name
/away [TEXT]      say that you are away, and why
/back             say that you are back
/me TEXT          say what you do
/history [N]      the last N stored lines of this room (20); again, without N:
                  those before
/search TEXT      stored lines of all rooms with this text
/code             your connection code, for --peer and /connect
/connect CODE     link with a peer at its code, HOST[:PORT], or @ID (--dht)
/trust [NAME]     whom you know; bind a name to its key; also forget NAME,
                  ban NAME, unban NAME
/verify NAME [FP] its fingerprint; compare the one that was read to you
/ignore [NAME]    print no lines of somebody; whose are not printed
/unignore NAME    print them again
/whois NAME       key, fingerprint, whereabouts and profile of somebody
/avatar NAME FILE save the picture of somebody in a new file
/profile [FIELD VALUE]
                  what you say about yourself, on request: name, status, avatar
                  (a file) or any field; the value - removes it
/stats            delivery of your lines, and counters
/msg NAME TEXT    say a line to one peer, or to a #ROOM (also /dm, /w)
/post TEXT        say a line here
/set [NAME VALUE] settings: username, color, bell, typing, history-direct
/lsnp COMMAND     with --lsnp: PROFILE NAME|STATUS, LIST, VERBOSE
/verbose          print what happens on stderr, as with --debug; again: no more
/clear            clear the screen
/quit             leave (also /exit, /q)
//TEXT            say a line that begins with /
keys: C-a C-e C-b C-f M-b M-f move; C-u C-k C-w M-d delete, C-y puts it back;
      up, down, C-r: earlier lines; C-l clears the screen, C-c the line;
      C-z stops, C-d leaves; Tab completes commands, names and rooms, a second
      Tab lists them; several pasted lines ask what to do with them
";

/// Parses a line from the terminal, or from a pipe with `--commands`. A line without a leading `/`
/// is text to send. `//x` sends the text `/x`.
///
/// # Errors
/// The line is no valid command, or its text is too long. The error is a sentence for the user. The
/// caller must not send a mistyped command as text.
pub fn parse(line: &str) -> Result<UserCommand, String> {
    let Some(rest) = line.strip_prefix('/') else {
        return build_room_message(None, line, LineForm::Text);
    };
    if rest.starts_with('/') {
        return build_room_message(None, rest, LineForm::Text);
    }
    let (word, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let argument = argument.trim();
    match word.to_lowercase().as_str() {
        "help" => Ok(UserCommand::Help),
        "quit" | "exit" | "q" => Ok(UserCommand::Quit),
        "clear" => Ok(UserCommand::Clear),
        "verbose" => Ok(UserCommand::Verbose),
        "post" if argument.is_empty() => Err("/post needs a text: /post hello".into()),
        "post" => build_room_message(None, argument, LineForm::Text),
        "set" if !cfg!(feature = "terminal") => Err(NO_SETTINGS.into()),
        "set" => Ok(parse_set(argument)),
        "users" | "who" | "names" | "list" => Ok(UserCommand::Core(Command::Peers)),
        "rooms" => Ok(UserCommand::Rooms),
        "code" => Ok(UserCommand::Code),
        "connect" if argument.is_empty() => {
            Err("/connect needs a code or an address: /connect 10.0.0.7".into())
        }
        "connect" => Ok(UserCommand::Connect(argument.to_owned())),
        "trust" if HAS_TRUST => parse_trust(argument).map(UserCommand::Trust),
        "verify" if HAS_TRUST => parse_verify(argument).map(UserCommand::Trust),
        "ignore" if HAS_TRUST => parse_ignore(argument).map(UserCommand::Trust),
        "unignore" if HAS_TRUST => parse_unignore(argument).map(UserCommand::Trust),
        "whois" if HAS_TRUST => parse_whois(argument).map(UserCommand::Trust),
        "profile" => Ok(match parse_profile_command(argument)? {
            TypedProfile::Command(command) => UserCommand::Core(Command::Profile(command)),
            TypedProfile::AvatarFile(path) => UserCommand::AvatarFile(path),
        }),
        "avatar" => {
            let (selector, file) = parse_avatar_command(argument)?;
            Ok(UserCommand::Avatar { selector, file })
        }
        "stats" => Ok(UserCommand::Core(Command::Stats)),
        "lsnp" if HAS_GUESTS => {
            parse_lsnp_request(argument).map(|it| UserCommand::Core(Command::Lsnp(it)))
        }
        "join" if argument.is_empty() => Err("/join needs a room: /join #ops".into()),
        "join" => Ok(UserCommand::Core(Command::Join(parse_room(argument)?))),
        "part" if argument.is_empty() => Ok(UserCommand::Core(Command::Part(None))),
        "part" => Ok(UserCommand::Core(Command::Part(Some(parse_room(
            argument,
        )?)))),
        "away" | "back" if !HAS_PRESENCE => Err(NOT_BUILT.into()),
        "away" if argument.len() > AWAY_TEXT_MAX_BYTES => Err(format!(
            "the text is longer than {AWAY_TEXT_MAX_BYTES} bytes: shorten it"
        )),
        "away" => Ok(UserCommand::Core(Command::Away(Some(AwayText::cut(
            argument,
        ))))),
        "back" => Ok(UserCommand::Core(Command::Away(None))),
        "nick" if argument.is_empty() => Err("/nick needs a name: /nick bob".into()),
        "nick" => match Nick::new(argument) {
            Ok(nick) => Ok(UserCommand::Core(Command::Nick(nick))),
            Err(error) => Err(format!("the name {argument} {error}; {NICK_RULE}")),
        },
        "history" => parse_history(argument),
        "search" if argument.is_empty() => Err("/search needs a text: /search hello".into()),
        "search" => Ok(UserCommand::Search(argument.to_owned())),
        "msg" | "dm" | "w" => {
            let (target, text) = match argument.split_once(char::is_whitespace) {
                Some((target, text)) if !text.trim().is_empty() => (target, text.trim_start()),
                _ => return Err(format!("/{word} needs a name and a text: /{word} bob psst")),
            };
            match target.starts_with('#') {
                true => build_room_message(Some(parse_room(target)?), text, LineForm::Text),
                false => build_direct_message(target, text, LineForm::Text),
            }
        }
        "me" if argument.is_empty() => Err("/me needs a text: /me waves".into()),
        "me" => build_room_message(None, argument, LineForm::Action),
        _ => Err(reject_unknown(word, find_nearest(word))),
    }
}

fn parse_set(argument: &str) -> UserCommand {
    let (name, value) = argument
        .split_once(char::is_whitespace)
        .unwrap_or((argument, ""));
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    UserCommand::Set {
        name: given(name),
        value: given(value.trim()),
    }
}

/// The commands in [`HELP`], each with the names of its arguments: of the row
/// `/msg NAME TEXT    say a line (also /dm)`, `/msg` and `/dm` with `NAME TEXT`.
pub fn command_rows() -> impl Iterator<Item = (String, &'static str)> {
    let rows = HELP
        .lines()
        .filter(|row| row.starts_with('/') && !row.starts_with("//"));
    rows.flat_map(|row| {
        let (usage, text) = row.split_once("  ").unwrap_or((row, ""));
        let (command, arguments) = usage.split_once(' ').unwrap_or((usage, ""));
        let also = text.rsplit_once("(also ").map_or("", |(_, also)| also);
        let others = also.split([',', ')', ' ']).filter(|it| it.starts_with('/'));
        let commands = std::iter::once(command).chain(others);
        commands.map(move |command| (command.to_owned(), arguments))
    })
}

/// The error about an unknown command. Names the nearest one.
fn reject_unknown(word: &str, nearest: Option<String>) -> String {
    let word: String = word.chars().take(COMMAND_MAX_CHARS).collect();
    let hint = nearest.map_or(String::new(), |command| format!("did you mean {command}? "));
    format!(
        "/{word} is not a command here: {hint}/help lists them; to say it, begin the line with //"
    )
}

/// The command for which `word` may be mistyped.
fn find_nearest(word: &str) -> Option<String> {
    if !cfg!(feature = "terminal") {
        return None;
    }
    // A longer word is no mistyped command.
    let word: String = word.chars().take(COMMAND_MAX_CHARS).collect();
    let typed = format!("/{}", word.to_lowercase());
    let distances = command_rows().map(|(command, _)| {
        let distance = match typed.len() > 2 && command.starts_with(&typed) {
            true => 1,
            false => edit_distance(&typed, &command),
        };
        // The first letter is seldom mistyped.
        let begins_otherwise = typed.chars().nth(1) != command.chars().nth(1);
        (distance, begins_otherwise, command)
    });
    let errors_max = word
        .chars()
        .count()
        .saturating_sub(1)
        .min(TYPING_ERRORS_MAX);
    let nearest = distances.min().filter(|(errors, ..)| *errors <= errors_max);
    nearest.map(|(_, _, command)| command)
}

/// How many characters must be changed, added, removed or swapped with the next one to make `b` of
/// `a` (the optimal string alignment distance).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let is_changed = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + is_changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The text of [`UserCommand::History`].
pub fn format_history(lines: Option<u64>, before: Option<LineKey>) -> String {
    let lines = lines.unwrap_or(DEFAULT_HISTORY_LINES);
    match before {
        Some(before) => format!("/history {lines} {before}"),
        None => format!("/history {lines}"),
    }
}

/// Parses `[N [KEY]]`. The key is that of the line after those to show.
fn parse_history(argument: &str) -> Result<UserCommand, String> {
    let mut words = argument.split_whitespace();
    let (lines, before) = (words.next().map(str::parse), words.next().map(str::parse));
    match (lines.transpose(), before.transpose(), words.next()) {
        (Ok(lines), Ok(before), None) if lines != Some(0) => {
            Ok(UserCommand::History { lines, before })
        }
        _ => Err("/history takes a number of lines: /history 50".into()),
    }
}

/// For whom the line is that is being typed. `None`: it is a command, or there is no line yet.
pub fn typing_target(line: &str, current_room: Option<&Room>) -> Option<TypingTarget> {
    let command = line.strip_prefix('/').filter(|rest| !rest.starts_with('/'));
    let Some(command) = command else {
        let room = current_room.filter(|_| !line.is_empty());
        return room.cloned().map(TypingTarget::Room);
    };
    let mut words = command.splitn(3, char::is_whitespace);
    let (word, target) = (words.next()?.to_lowercase(), words.next()?);
    if !["msg", "dm", "w"].contains(&&*word) || words.next()?.is_empty() {
        return None;
    }
    match target.starts_with('#') {
        true => Room::new(target).ok().map(TypingTarget::Room),
        false => PeerSelector::parse(target).ok().map(TypingTarget::Peer),
    }
}

/// Builds the command that sends text to a room. If `room` is `None`, the text goes to the current
/// room. Each line of the text becomes one message. `form`: what it is.
///
/// # Errors
/// The text is too long. The error is a sentence for the user.
pub fn build_room_message(
    room: Option<Room>,
    text: &str,
    form: LineForm,
) -> Result<UserCommand, String> {
    let lines = parse_lines(text)?;
    Ok(UserCommand::SendToRoom { room, lines, form })
}

/// Builds the command that sends text to a peer. `name` is a selector. The core resolves it later,
/// and the command then fails if no known peer matches. `form`: what it is.
///
/// # Errors
/// The name is invalid, or the text is too long. The error is a sentence for the user.
pub fn build_direct_message(name: &str, text: &str, form: LineForm) -> Result<UserCommand, String> {
    let selector = PeerSelector::parse(name).map_err(|error| format!("the name {name} {error}"))?;
    let lines = parse_lines(text)?;
    Ok(UserCommand::SendToPeer {
        selector,
        lines,
        form,
        timeout_ms: 0,
    })
}

fn parse_lines(text: &str) -> Result<Lines, String> {
    let mut lines = Lines::default();
    let pushed = lines.push(text.as_bytes());
    pushed.map_err(|error| error.to_string())?;
    Ok(lines)
}

/// Parses what a user of LSNP requests: `PROFILE NAME|STATUS`, `LIST` or `VERBOSE`. A picture is a
/// third field of a profile, a data URL (RFC 2397).
///
/// # Errors
/// It is none of these. The error is a sentence for the user.
pub fn parse_lsnp_request(text: &str) -> Result<LsnpRequest, String> {
    let (word, argument) = text.split_once(' ').unwrap_or((text, ""));
    match (word, argument.trim()) {
        ("PROFILE", argument) => parse_lsnp_profile(argument).map(LsnpRequest::Profile),
        ("LIST", "") => Ok(LsnpRequest::List),
        ("VERBOSE", "") => Ok(LsnpRequest::Verbose),
        _ => Err("/lsnp takes PROFILE NAME|STATUS, LIST or VERBOSE".into()),
    }
}

/// Parses a room name as a user types it.
///
/// # Errors
/// The text breaks a rule for room names. The error is a sentence that tells the user the rule.
pub fn parse_room(text: &str) -> Result<Room, String> {
    Room::new(text).map_err(|error| {
        let blank = if text.is_empty() { "" } else { " " };
        format!("the room name {text}{blank}{error}; {ROOM_RULE}")
    })
}
