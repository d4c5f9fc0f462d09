//! The line editor: takes keys, returns lines. The keys are those of readline's emacs mode.
use std::collections::VecDeque;

use termion::event::Key;

use crate::base::text::line_form::LineForm;
use crate::ui::editor::completion::{Completion, KnownWords};
use crate::ui::editor::edited_text::{EditedText, Movement, VisibleLine};
use crate::ui::editor::history_search::{HistorySearch, SearchStep};
use crate::ui::editor::keys::TerminalInput;
use crate::ui::editor::line_history::LineHistory;
use crate::ui::editor::paste::{Paste, PasteAnswer, PasteQuestion};

/// Whether this program is built with the editor. Where this is false, the code for it is unused,
/// and the compiler leaves it out.
pub const HAS_EDITOR: bool = cfg!(feature = "terminal");

/// The effect of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// The line is still being edited. Its text or its cursor may have changed.
    Edited,
    /// Enter was pressed. The line is not empty and has at most
    /// [`LINE_MAX_BYTES`](crate::base::lines::LINE_MAX_BYTES) bytes.
    Line(String),
    /// Several pasted lines are to be said, also those that begin with `/`: as text, or as one
    /// block. A line may be too long.
    PastedLines(VecDeque<String>, LineForm),
    /// Ctrl-C on an empty line.
    Interrupt,
    /// Ctrl-D on an empty line.
    EndOfInput,
    /// Tab: call [`LineEditor::complete`].
    Complete,
    /// Ctrl-Z: stop the program.
    Suspend,
    /// Ctrl-L: clear the screen, and draw the line on its first row.
    ClearScreen,
    /// The key had no effect, for example because the line is full.
    Rejected,
}

/// The line being edited, its cursor, the deleted text, and the history of typed lines.
#[derive(Debug, Default)]
pub struct LineEditor {
    text: EditedText,
    history: LineHistory,
    /// The search in the history. `None`: the line is edited.
    search: Option<HistorySearch>,
    /// Pasted lines, while the user is asked what to do with them.
    question: Option<PasteQuestion>,
    /// Pasted lines to edit after the edited one.
    queued: VecDeque<String>,
    /// What Ctrl-Y inserts: the text that was deleted last.
    killed: String,
    /// Whether the last key deleted into [`LineEditor::killed`]. The next such key then adds to it.
    is_killing: bool,
    /// Whether the last key was a Tab that had nothing to add. The next Tab lists the candidates.
    has_tabbed: bool,
}

impl LineEditor {
    /// Is the line empty?
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The line as edited so far. `None`: the user searches, or is asked something.
    pub fn edited_line(&self) -> Option<String> {
        self.prompt().is_none().then(|| self.text.text())
    }

    /// Adds lines of earlier runs to the history, the oldest first.
    pub fn load_history(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.history.push(line));
    }

    /// Whether the prompt is a question, which the next key answers.
    pub fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// What stands before the line in place of the prompt. `None`: the prompt.
    pub fn prompt(&self) -> Option<String> {
        match &self.question {
            Some(question) => Some(question.prompt()),
            None => self.search.as_ref().map(HistorySearch::prompt),
        }
    }

    /// See [`EditedText::visible_line`].
    pub fn visible_line(&mut self, width: usize) -> VisibleLine {
        match self.question.is_some() {
            true => VisibleLine::default(),
            false => self.text.visible_line(width),
        }
    }

    /// Applies a key or a paste to the line.
    pub fn handle_input(&mut self, input: TerminalInput) -> EditOutcome {
        match input {
            TerminalInput::Key(key) => self.handle_key(key),
            TerminalInput::Paste(paste) => self.paste(&paste),
        }
    }

    /// Inserts a pasted line, or asks what to do with several lines.
    fn paste(&mut self, paste: &Paste) -> EditOutcome {
        if self.question.is_some() {
            return EditOutcome::Rejected;
        }
        (self.search, self.is_killing) = (None, false);
        let mut lines = VecDeque::from(paste.lines());
        if lines.len() == 1 {
            return self.insert(&lines.pop_front().unwrap_or_default());
        }
        let before = self.text.before_cursor();
        if let Some(first) = lines.front_mut() {
            first.insert_str(0, &before);
        }
        if let Some(last) = lines.back_mut() {
            last.push_str(&self.text.after_cursor());
        }
        self.question = Some(PasteQuestion {
            lines,
            can_say_all: before.is_empty() && self.queued.is_empty(),
            is_cut: paste.is_cut,
        });
        EditOutcome::Edited
    }

    fn answer(&mut self, question: PasteQuestion, key: Key) -> EditOutcome {
        match question.answer(key) {
            None => {
                self.question = Some(question);
                return EditOutcome::Rejected;
            }
            Some(PasteAnswer::Cancel) => {}
            Some(answer @ (PasteAnswer::SayAll | PasteAnswer::SayBlock)) => {
                self.replace("");
                let form = match answer {
                    PasteAnswer::SayBlock => LineForm::Block,
                    _ => LineForm::Text,
                };
                return EditOutcome::PastedLines(question.lines, form);
            }
            Some(PasteAnswer::Edit) => {
                for line in question.lines.into_iter().rev() {
                    self.queued.push_front(line);
                }
                self.edit_next();
            }
        }
        EditOutcome::Edited
    }

    /// Begins to edit the next of the pasted lines. Empty ones cannot be said.
    fn edit_next(&mut self) {
        self.replace("");
        while self.text.is_empty() {
            let Some(next) = self.queued.pop_front() else {
                return;
            };
            self.text.replace(&next);
        }
    }

    /// Applies a key to the line.
    pub fn handle_key(&mut self, key: Key) -> EditOutcome {
        if let Some(question) = self.question.take() {
            return self.answer(question, key);
        }
        if let Some(mut search) = self.search.take() {
            match search.handle_key(key, &mut self.history, &mut self.text) {
                SearchStep::Continued => {
                    self.search = Some(search);
                    return EditOutcome::Edited;
                }
                SearchStep::Ended => return EditOutcome::Edited,
                SearchStep::Handed => {}
            }
        }
        let was_killing = std::mem::take(&mut self.is_killing);
        if let Some(movement) = movement_of(key) {
            self.has_tabbed = false;
            self.text.move_cursor(movement);
            return EditOutcome::Edited;
        }
        if let Some(movement) = kill_of(key) {
            self.has_tabbed = false;
            self.kill(movement, was_killing);
            return EditOutcome::Edited;
        }
        if key == Key::Char('\t') {
            return EditOutcome::Complete;
        }
        self.has_tabbed = false;
        let is_empty = self.text.is_empty();
        match key {
            Key::Char('\n') => return self.enter(),
            Key::Char(c) => return self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Ctrl('c') if is_empty => return EditOutcome::Interrupt,
            Key::Ctrl('c') => {
                self.queued.clear();
                self.replace("");
            }
            Key::Ctrl('d') if is_empty => return EditOutcome::EndOfInput,
            Key::Delete | Key::Ctrl('d') => drop(self.text.remove(Movement::Right)),
            Key::Backspace | Key::Ctrl('h') => drop(self.text.remove(Movement::Left)),
            Key::Ctrl('y') => return self.yank(),
            Key::Ctrl('r') => self.search = Some(HistorySearch::new(self.text.text())),
            Key::Ctrl('z') => return EditOutcome::Suspend,
            Key::Ctrl('l') => return EditOutcome::ClearScreen,
            Key::Up | Key::Ctrl('p') => {
                let older = self.history.older(&self.text.text()).map(str::to_owned);
                return self.recall(older);
            }
            Key::Down | Key::Ctrl('n') => {
                let newer = self.history.newer().map(str::to_owned);
                return self.recall(newer);
            }
            _ => {}
        }
        EditOutcome::Edited
    }

    /// Completes the word before the cursor. Returns the line to print that lists the candidates,
    /// if there are several and Tab was pressed twice.
    pub fn complete(&mut self, words: &KnownWords) -> Option<String> {
        let completion = Completion::find(&self.text.before_cursor(), words);
        if let Some(text) = completion.common_text() {
            self.text.remove_before(completion.word_chars);
            self.text.insert(&text);
            self.has_tabbed = false;
            return None;
        }
        let is_second = std::mem::replace(&mut self.has_tabbed, true);
        (is_second && !completion.candidates.is_empty()).then(|| completion.list())
    }

    fn insert(&mut self, text: &str) -> EditOutcome {
        match self.text.insert(text) {
            true => EditOutcome::Edited,
            false => EditOutcome::Rejected,
        }
    }

    fn yank(&mut self) -> EditOutcome {
        let killed = std::mem::take(&mut self.killed);
        let outcome = self.insert(&killed);
        self.killed = killed;
        outcome
    }

    /// Removes the text up to where the movement leads. Ctrl-Y inserts it again, with what the keys
    /// just before removed.
    fn kill(&mut self, movement: Movement, was_killing: bool) {
        let removed = self.text.remove(movement);
        if !was_killing {
            self.killed.clear();
        }
        match movement {
            Movement::LineStart | Movement::Left | Movement::WordStart => {
                self.killed.insert_str(0, &removed);
            }
            Movement::LineEnd | Movement::Right | Movement::WordEnd => {
                self.killed.push_str(&removed);
            }
        }
        self.is_killing = true;
    }

    fn enter(&mut self) -> EditOutcome {
        let line = self.text.text();
        self.edit_next();
        if line.is_empty() {
            return EditOutcome::Edited;
        }
        self.history.push(&line);
        EditOutcome::Line(line)
    }

    /// Replaces the line. No line of the history is shown afterwards.
    fn replace(&mut self, text: &str) {
        self.text.replace(text);
        self.history.leave();
    }

    fn recall(&mut self, line: Option<String>) -> EditOutcome {
        let Some(line) = line else {
            return EditOutcome::Rejected;
        };
        self.text.replace(&line);
        EditOutcome::Edited
    }
}

fn movement_of(key: Key) -> Option<Movement> {
    Some(match key {
        Key::Left | Key::Ctrl('b') => Movement::Left,
        Key::Right | Key::Ctrl('f') => Movement::Right,
        Key::CtrlLeft | Key::AltLeft | Key::Alt('b') => Movement::WordStart,
        Key::CtrlRight | Key::AltRight | Key::Alt('f') => Movement::WordEnd,
        Key::Home | Key::Ctrl('a') => Movement::LineStart,
        Key::End | Key::Ctrl('e') => Movement::LineEnd,
        _ => return None,
    })
}

/// Up to where a key deletes, if Ctrl-Y inserts again what it deletes.
fn kill_of(key: Key) -> Option<Movement> {
    Some(match key {
        Key::Ctrl('u') => Movement::LineStart,
        Key::Ctrl('k') => Movement::LineEnd,
        Key::Ctrl('w') | Key::Alt('\u{7f}') => Movement::WordStart,
        Key::Alt('d') => Movement::WordEnd,
        _ => return None,
    })
}
