//! The history of typed lines.
use std::collections::VecDeque;

/// Maximum number of lines in the history.
pub const HISTORY_MAX_LINES: usize = 1000;
/// Maximum length of all lines in the history, in bytes.
pub const HISTORY_MAX_BYTES: usize = 256 << 10;

/// The typed lines, and which of them is shown in place of the edited line.
#[derive(Debug, Default)]
pub struct LineHistory {
    lines: VecDeque<String>,
    /// Length of the lines in bytes.
    bytes: usize,
    /// Index of the line that is shown. `None`: a new line is edited.
    shown: Option<usize>,
    /// The unfinished new line, saved while a line of the history is shown.
    draft: String,
}

impl LineHistory {
    /// Adds the newest line, unless it repeats the one before. Drops the oldest lines if there are
    /// too many.
    pub fn push(&mut self, line: &str) {
        if self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > HISTORY_MAX_LINES || self.bytes > HISTORY_MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }

    /// The line above the one that is shown. `draft` is the edited line.
    pub fn older(&mut self, draft: &str) -> Option<&str> {
        let index = self.shown.unwrap_or(self.lines.len()).checked_sub(1)?;
        let line = self.lines.get(index)?;
        if self.shown.is_none() {
            draft.clone_into(&mut self.draft);
        }
        self.shown = Some(index);
        Some(line)
    }

    /// The line below the one that is shown; the draft below the newest line.
    pub fn newer(&mut self) -> Option<&str> {
        let next = self.shown? + 1;
        if let Some(line) = self.lines.get(next) {
            self.shown = Some(next);
            return Some(line);
        }
        self.shown = None;
        Some(&self.draft)
    }

    /// The newest line older than the one at the index `before` that contains `pattern`, and its
    /// index. `None` as `before`: any line.
    pub fn find(&self, pattern: &str, before: Option<usize>) -> Option<(usize, &str)> {
        let lines = self.lines.iter().enumerate().rev();
        let mut older = lines.skip_while(|(index, _)| before.is_some_and(|end| *index >= end));
        let found = older.find(|(_, line)| line.contains(pattern));
        found.map(|(index, line)| (index, line.as_str()))
    }

    /// Shows the line at this index in place of the edited line `draft`.
    pub fn show(&mut self, index: usize, draft: String) {
        self.shown = Some(index);
        self.draft = draft;
    }

    /// Shows the edited line again.
    pub fn leave(&mut self) {
        self.shown = None;
        self.draft.clear();
    }
}
