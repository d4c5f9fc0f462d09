//! Decodes the bytes of a terminal into keys.
//!
//! A paste may contain any bytes, and termion's parser panics at some numbers and mouse reports.
//! The decoder therefore passes only safe sequences to the parser.
use termion::event::{Event, Key, parse_event};

use crate::ui::editor::paste::{PASTE_MAX_BYTES, Paste};

/// Maximum number of buffered bytes of an incomplete control sequence. In a longer sequence, the
/// bytes between this limit and the final byte are dropped.
const SEQUENCE_MAX_BYTES: usize = 16;

/// The terminal sends this sequence before a pasted text.
const PASTE_START: &[u8] = b"\x1b[200~";
/// The terminal sends this sequence after a pasted text.
const PASTE_END: &[u8] = b"\x1b[201~";

/// What comes from a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalInput {
    /// A key was pressed.
    Key(Key),
    /// A text was pasted.
    Paste(Paste),
}

/// Decodes bytes into keys. Buffers a sequence of bytes until all its bytes have arrived.
#[derive(Debug, Default)]
pub struct KeyDecoder {
    pending: Vec<u8>,
    /// The bytes of a paste that has not ended yet.
    pasted: Option<PastedBytes>,
}

/// The bytes of a paste. The last ones may begin [`PASTE_END`].
#[derive(Debug, Default)]
struct PastedBytes {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl PastedBytes {
    /// Adds a byte. Returns the text if this byte ends the paste.
    fn push(&mut self, byte: u8) -> Option<Paste> {
        self.bytes.push(byte);
        if let Some(text) = self.bytes.strip_suffix(PASTE_END) {
            return Some(Paste {
                text: String::from_utf8_lossy(text).into_owned(),
                is_cut: self.is_cut,
            });
        }
        if self.bytes.len() >= PASTE_MAX_BYTES + PASTE_END.len() {
            self.bytes.remove(PASTE_MAX_BYTES);
            self.is_cut = true;
        }
        None
    }
}

/// The result of decoding the pending bytes.
enum KeyStep {
    /// A complete key.
    Key(Key),
    /// A complete sequence that stands for no key.
    Ignored,
    /// The beginning of a sequence.
    Incomplete,
    /// The last pending byte begins a new sequence. The pending bytes before it form this key.
    Restart(Key),
}

impl KeyDecoder {
    /// Decodes the bytes of one read from the terminal. Calls `each` with every key and paste.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(TerminalInput)) {
        for (i, byte) in bytes.iter().enumerate() {
            // An Esc byte at the end of a read is the Esc key. But if the next read begins with
            // `[` or `O`, that Esc byte began a sequence.
            if i == 0 && self.pending == [0x1b] && !matches!(byte, b'[' | b'O') {
                self.pending.clear();
                each(TerminalInput::Key(Key::Esc));
            }
            self.push(*byte, &mut each);
        }
    }

    fn push(&mut self, byte: u8, each: &mut impl FnMut(TerminalInput)) {
        if let Some(pasted) = &mut self.pasted {
            if let Some(paste) = pasted.push(byte) {
                self.pasted = None;
                each(TerminalInput::Paste(paste));
            }
            return;
        }
        self.pending.push(byte);
        if self.pending == PASTE_START {
            self.pending.clear();
            self.pasted = Some(PastedBytes::default());
            return;
        }
        match decode_step(&self.pending) {
            KeyStep::Key(key) => each(TerminalInput::Key(key)),
            KeyStep::Ignored => {}
            KeyStep::Restart(key) => {
                self.pending.clear();
                each(TerminalInput::Key(key));
                return self.push(byte, each);
            }
            KeyStep::Incomplete => {
                self.pending.truncate(SEQUENCE_MAX_BYTES);
                return;
            }
        }
        self.pending.clear();
    }
}

fn decode_step(pending: &[u8]) -> KeyStep {
    match pending {
        [0x1b] | [0x1b, b'[' | b'O'] | [0x1b, b'[', b'['] => KeyStep::Incomplete,
        [0x1b, 0x1b] => KeyStep::Restart(Key::Esc),
        // Cursor keys of a terminal in application mode.
        [0x1b, b'O', key @ (b'A'..=b'D' | b'F' | b'H')] => parse_sequence(&[0x1b, b'[', *key]),
        [0x1b, b'O', _] | [0x1b, b'[', b'[', _] => parse_sequence(pending),
        [0x1b, b'[', middle @ .., last] => match last {
            b'@'..=b'~' if has_byte_parameters(middle) && *last != b'M' => parse_sequence(pending),
            b'@'..=b'~' => KeyStep::Ignored,
            b' '..=b'?' => KeyStep::Incomplete,
            // This byte is not allowed in a sequence.
            _ => KeyStep::Restart(Key::Esc),
        },
        [0x1b, _] => parse_sequence(pending),
        [first, ..] if *first < 0x80 => parse_sequence(pending),
        _ => match std::str::from_utf8(pending) {
            Ok(text) => text
                .chars()
                .next()
                .map_or(KeyStep::Ignored, |c| KeyStep::Key(Key::Char(c))),
            Err(error) if error.error_len().is_none() => KeyStep::Incomplete,
            Err(_) if pending.len() > 1 => KeyStep::Restart(Key::Char('\u{fffd}')),
            Err(_) => KeyStep::Key(Key::Char('\u{fffd}')),
        },
    }
}

/// Can termion parse these parameters of a control sequence? True if `text` is empty, or consists
/// of numbers up to 255 separated by semicolons. At other parameters termion may panic.
fn has_byte_parameters(text: &[u8]) -> bool {
    text.is_empty()
        || text.split(|b| *b == b';').all(|part| {
            part.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(part).is_ok_and(|p| p.parse::<u8>().is_ok())
        })
}

fn parse_sequence(sequence: &[u8]) -> KeyStep {
    let Some((first, rest)) = sequence.split_first() else {
        return KeyStep::Ignored;
    };
    match parse_event(*first, &mut rest.iter().map(|b| Ok(*b))) {
        Ok(Event::Key(key)) => KeyStep::Key(key),
        _ => KeyStep::Ignored,
    }
}
