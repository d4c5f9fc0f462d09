//! Tab: completes commands, their arguments, names and rooms. What a command takes stands in
//! [`HELP`](crate::ui::command::HELP).
use crate::ui::command::command_rows;

/// Maximum number of candidates that a list shows.
const LISTED_MAX: usize = 100;

/// The words that are known in a session.
#[derive(Clone, Debug, Default)]
pub struct KnownWords {
    /// The names of peers, as a command takes them.
    pub names: Vec<String>,
    /// The rooms, with `#`.
    pub rooms: Vec<String>,
}

/// What can stand in place of the last word before the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Number of characters of that word.
    pub word_chars: usize,
    /// The words that begin with it, sorted. The letters' case makes no difference.
    pub candidates: Vec<String>,
    /// What follows a word that is complete.
    pub end: &'static str,
}

impl Completion {
    /// Completes the text before the cursor.
    pub fn find(before: &str, words: &KnownWords) -> Completion {
        let start = before
            .char_indices()
            .rfind(|(_, c)| c.is_whitespace())
            .map_or(0, |(at, c)| at + c.len_utf8());
        let (line, word) = before.split_at(start);
        let is_command = before.starts_with('/') && !before.starts_with("//");
        let candidates = match (is_command, line.is_empty()) {
            (true, true) => commands(),
            (true, false) => arguments(line, word, words),
            (false, _) if word.is_empty() => Vec::new(),
            (false, _) => mentions(word, words),
        };
        let folded = word.to_lowercase();
        let is_match = |it: &String| it.to_lowercase().starts_with(&folded);
        let mut candidates: Vec<String> = candidates.into_iter().filter(is_match).collect();
        candidates.sort_by_cached_key(|it| (it.to_lowercase(), it.clone()));
        candidates.dedup();
        Completion {
            word_chars: word.chars().count(),
            candidates,
            end: match line.is_empty() && !is_command && !word.starts_with('#') {
                true => ": ",
                false => " ",
            },
        }
    }

    /// The beginning that all candidates have in common, and the end if there is only one.
    /// `None`: there is no candidate, or nothing to add.
    pub fn common_text(&self) -> Option<String> {
        let (first, others) = self.candidates.split_first()?;
        if others.is_empty() {
            return Some(format!("{first}{}", self.end));
        }
        let is_same = |(a, b): &(char, char)| a == b || a.to_lowercase().eq(b.to_lowercase());
        let common = |other: &String| first.chars().zip(other.chars()).take_while(is_same).count();
        let len = others.iter().map(common).min().unwrap_or(0);
        (len > self.word_chars).then(|| first.chars().take(len).collect())
    }

    /// The candidates as one line.
    pub fn list(&self) -> String {
        let shown: Vec<&str> = self
            .candidates
            .iter()
            .take(LISTED_MAX)
            .map(String::as_str)
            .collect();
        let more = match self.candidates.len().checked_sub(LISTED_MAX) {
            None | Some(0) => String::new(),
            Some(more) => format!("  … and {more} more"),
        };
        shown.join("  ") + &more
    }
}

fn commands() -> Vec<String> {
    command_rows().map(|(command, _)| command).collect()
}

/// What can be the next argument of the command that begins `line`.
fn arguments(line: &str, word: &str, words: &KnownWords) -> Vec<String> {
    let mut typed = line.split_whitespace();
    let command = typed.next().unwrap_or_default().to_lowercase();
    let given = typed.count();
    let Some((_, arguments)) = command_rows().find(|row| row.0 == command) else {
        return Vec::new();
    };
    let argument = arguments.split(' ').nth(given);
    let argument = argument.or_else(|| arguments.split(' ').next_back());
    let argument = argument.unwrap_or_default().trim_matches(['[', ']']);
    let kinds = argument.split('|');
    let of_kind = |kind: &str| match kind {
        "NAME" if command == "/nick" => Vec::new(),
        "NAME" if command == "/set" => ["username", "color", "bell", "typing", "history-direct"]
            .map(str::to_owned)
            .into(),
        "NAME" | "TEXT" => mentions(word, words),
        "#ROOM" => words.rooms.clone(),
        // A word to be typed as it is.
        literal if literal.starts_with(|c: char| c.is_ascii_lowercase()) => {
            vec![literal.to_owned()]
        }
        "PROFILE" | "LIST," | "VERBOSE" | "COMMAND" if command == "/lsnp" => {
            ["PROFILE", "LIST", "VERBOSE"].map(str::to_owned).into()
        }
        _ => Vec::new(),
    };
    kinds.flat_map(of_kind).collect()
}

/// What can stand in a text: names, also after `@`, and rooms.
fn mentions(word: &str, words: &KnownWords) -> Vec<String> {
    match word.starts_with('@') {
        true => words.names.iter().map(|name| format!("@{name}")).collect(),
        false => words.names.iter().chain(&words.rooms).cloned().collect(),
    }
}
