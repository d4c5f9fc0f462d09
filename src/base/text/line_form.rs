//! What the lines of a batch are: text, actions, or blocks of several lines.
use std::borrow::Cow;

/// What separates the lines of a block within its content: LINE TABULATION, which text hardly ever
/// contains. It has one byte, as the line end that it stands for.
pub const BLOCK_SEPARATOR: char = '\u{b}';

/// What the lines of a batch are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineForm {
    /// Text.
    #[default]
    Text,
    /// Actions, as by `/me`.
    Action,
    /// Blocks. Each is one message of several lines, between which [`BLOCK_SEPARATOR`] stands.
    Block,
}

impl LineForm {
    /// The form that two flags of JSON tell. An action is no block.
    pub fn from_flags(action: bool, block: bool) -> LineForm {
        match (action, block) {
            (true, _) => LineForm::Action,
            (false, true) => LineForm::Block,
            (false, false) => LineForm::Text,
        }
    }

    /// The lines of a block, or the line itself.
    pub fn parts(self, line: &str) -> impl Iterator<Item = &str> {
        let mut rest = Some(line);
        std::iter::from_fn(move || {
            let line = rest.take()?;
            // A text is not searched, because each line that is shown comes through here.
            let parts = (self == LineForm::Block).then(|| line.split_once(BLOCK_SEPARATOR));
            let Some((part, after)) = parts.flatten() else {
                return Some(line);
            };
            rest = Some(after);
            Some(part)
        })
    }

    /// The text as JSON and regular expressions have it: with `\n` between the lines of a block.
    pub fn with_line_ends(self, line: &str) -> Cow<'_, str> {
        match self.is_ambiguous(line) {
            true => Cow::Owned(line.replace(BLOCK_SEPARATOR, "\n")),
            false => Cow::Borrowed(line),
        }
    }

    /// Whether this text would come back as another one: it is a block, and contains the character
    /// that stands for a line end.
    pub fn is_ambiguous(self, text: &str) -> bool {
        self == LineForm::Block && text.contains(BLOCK_SEPARATOR)
    }

    /// The text of JSON as a line: the reverse of [`LineForm::with_line_ends`]. `\r\n` is a line
    /// end, too.
    pub fn without_line_ends(self, text: &str) -> Cow<'_, str> {
        if self != LineForm::Block || !text.contains('\n') {
            return Cow::Borrowed(text);
        }
        let separator = BLOCK_SEPARATOR.to_string();
        let text = text.replace("\r\n", &separator);
        Cow::Owned(text.replace('\n', &separator))
    }

    /// The flag of JSON that tells the form. Text needs none.
    pub fn flag(self) -> Option<&'static str> {
        match self {
            LineForm::Text => None,
            LineForm::Action => Some("action"),
            LineForm::Block => Some("block"),
        }
    }
}
