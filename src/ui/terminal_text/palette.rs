//! The colours of the transcript: of names by key, and of direct messages.
use crate::base::identity::PeerId;

/// Which colours a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// No colour, and no other style.
    None,
    /// The colours of ANSI. The terminal's theme decides how they look.
    Basic,
    /// The 256 colours of xterm.
    Indexed,
}

/// Names in the colours of ANSI: red, green, blue, cyan. Yellow is unreadable on white.
const BASIC_NAMES: [&str; 4] = ["31", "32", "34", "36"];
/// Names in the colours of xterm. Their contrast to black and to white is at least 4:1, so that
/// they are readable on a light and on a dark background (WCAG 2.1, section 1.4.3, asks for 4.5:1,
/// which no colour has to both with a margin).
pub const INDEXED_NAMES: [&str; 8] = [
    "38;5;27", "38;5;28", "38;5;30", "38;5;64", "38;5;98", "38;5;130", "38;5;131", "38;5;161",
];
/// Direct messages in the colours of xterm: magenta, as in [`Palette::Basic`].
pub const INDEXED_DIRECT: &str = "38;5;163";

impl Palette {
    /// The style of a name, as a parameter of SGR. Each key keeps its colour.
    pub fn name_style(self, id: &PeerId) -> &'static str {
        let byte = usize::from(id.0[0]);
        match self {
            Palette::None => "",
            Palette::Basic => BASIC_NAMES[byte % BASIC_NAMES.len()],
            Palette::Indexed => INDEXED_NAMES[byte % INDEXED_NAMES.len()],
        }
    }

    /// The style of a chat line behind its time, as parameters of SGR. Empty: none.
    pub fn line_style(self, is_direct: bool, is_late: bool) -> &'static str {
        match (self, is_direct, is_late) {
            (Palette::None, ..) | (_, false, false) => "",
            (_, false, true) => "2",
            (Palette::Basic, true, false) => "35",
            (Palette::Basic, true, true) => "2;35",
            (Palette::Indexed, true, false) => INDEXED_DIRECT,
            (Palette::Indexed, true, true) => "2;38;5;163",
        }
    }
}
