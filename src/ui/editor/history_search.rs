//! Ctrl-R: searches the typed lines backwards while the user types what they contain.
use termion::event::Key;

use crate::ui::editor::edited_text::EditedText;
use crate::ui::editor::line_history::LineHistory;

/// Maximum length of the text that is searched, in bytes.
const PATTERN_MAX_BYTES: usize = 256;

/// A search that has begun.
#[derive(Debug, Default)]
pub struct HistorySearch {
    pattern: String,
    /// Index of the line that was found last.
    found: Option<usize>,
    /// Whether no line that is old enough contains the pattern.
    has_failed: bool,
    /// The line that was edited before the search.
    draft: String,
}

/// What a key does to a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchStep {
    /// The search goes on.
    Continued,
    /// The search has ended. The editor shows the line that was found, or the line before.
    Ended,
    /// The search has ended, and the key then acts on the line that was found.
    Handed,
}

impl HistorySearch {
    /// Begins a search. `draft`: the edited line.
    pub fn new(draft: String) -> HistorySearch {
        HistorySearch {
            draft,
            ..HistorySearch::default()
        }
    }

    /// The prompt while searching.
    pub fn prompt(&self) -> String {
        let failed = if self.has_failed { "failed " } else { "" };
        format!("({failed}search) {}: ", self.pattern)
    }

    /// Applies a key to the search, and shows the line that it finds in `text`.
    pub fn handle_key(
        &mut self,
        key: Key,
        history: &mut LineHistory,
        text: &mut EditedText,
    ) -> SearchStep {
        match key {
            Key::Ctrl('r') => self.find(self.found, history, text),
            Key::Char(c) if !c.is_control() => {
                if self.pattern.len() + c.len_utf8() <= PATTERN_MAX_BYTES {
                    self.pattern.push(c);
                }
                // The line that was found may contain the longer pattern as well.
                self.find(self.found.map(|index| index + 1), history, text);
            }
            Key::Backspace | Key::Ctrl('h') => {
                self.pattern.pop();
                self.find(None, history, text);
            }
            Key::Ctrl('g') => {
                text.replace(&self.draft);
                return SearchStep::Ended;
            }
            _ => {
                if let Some(index) = self.found {
                    history.show(index, std::mem::take(&mut self.draft));
                }
                return match key {
                    Key::Esc => SearchStep::Ended,
                    _ => SearchStep::Handed,
                };
            }
        }
        SearchStep::Continued
    }

    fn find(&mut self, before: Option<usize>, history: &LineHistory, text: &mut EditedText) {
        if self.pattern.is_empty() {
            (self.found, self.has_failed) = (None, false);
            return text.replace(&self.draft);
        }
        let found = history.find(&self.pattern, before);
        self.has_failed = found.is_none();
        if let Some((index, line)) = found {
            self.found = Some(index);
            text.replace(line);
            let at = line.find(&self.pattern).unwrap_or(0);
            text.set_cursor(line.get(..at).unwrap_or_default().chars().count());
        }
    }
}
