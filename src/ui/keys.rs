//! Bytes of a terminal as keys.
//!
//! A terminal's bytes are foreign input: a paste may hold any sequence. termion's parser panics at numbers and mouse reports that it does not expect,
//! so only sequences of the shape it knows are shown to it.
use termion::event::{Event, Key, parse_event};

/// Longest control sequence that is looked at, in bytes; the rest of a longer one is swallowed.
const SEQUENCE_MAX: usize = 16;

/// Keeps what a read cut in two.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

enum Step {
    Key(Key),
    /// Complete, and of no use here.
    Nothing,
    More,
    /// The bytes before the last were a key of their own; the last begins anew.
    Again(Key),
}

impl Decoder {
    /// The keys of what one read of the terminal gave.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Key)) {
        for (i, byte) in bytes.iter().enumerate() {
            // A bare Esc ends a read; a sequence goes on in the same one, or at least with a bracket.
            if i == 0 && self.pending == [0x1b] && !matches!(byte, b'[' | b'O') {
                self.pending.clear();
                each(Key::Esc);
            }
            self.push(*byte, &mut each);
        }
    }

    fn push(&mut self, byte: u8, each: &mut impl FnMut(Key)) {
        self.pending.push(byte);
        match step(&self.pending) {
            Step::Key(key) => each(key),
            Step::Nothing => {}
            Step::Again(key) => {
                self.pending.clear();
                each(key);
                return self.push(byte, each);
            }
            Step::More => {
                self.pending.truncate(SEQUENCE_MAX);
                return;
            }
        }
        self.pending.clear();
    }
}

fn step(pending: &[u8]) -> Step {
    match pending {
        [0x1b] | [0x1b, b'[' | b'O'] | [0x1b, b'[', b'['] => Step::More,
        [0x1b, 0x1b] => Step::Again(Key::Esc),
        // The cursor keys of a terminal in application mode.
        [0x1b, b'O', key @ (b'A'..=b'D' | b'F' | b'H')] => known(&[0x1b, b'[', *key]),
        [0x1b, b'O', _] | [0x1b, b'[', b'[', _] => known(pending),
        [0x1b, b'[', middle @ .., last] => match last {
            b'@'..=b'~' if plain_numbers(middle) && *last != b'M' => known(pending),
            b'@'..=b'~' => Step::Nothing,
            b' '..=b'?' => Step::More,
            // Not a sequence after all.
            _ => Step::Again(Key::Esc),
        },
        [0x1b, _] => known(pending),
        [first, ..] if *first < 0x80 => known(pending),
        _ => match std::str::from_utf8(pending) {
            Ok(text) => text
                .chars()
                .next()
                .map_or(Step::Nothing, |c| Step::Key(Key::Char(c))),
            Err(error) if error.error_len().is_none() => Step::More,
            Err(_) if pending.len() > 1 => Step::Again(Key::Char('\u{fffd}')),
            Err(_) => Step::Key(Key::Char('\u{fffd}')),
        },
    }
}

/// None at all, or numbers up to 255 between semicolons.
fn plain_numbers(text: &[u8]) -> bool {
    text.is_empty()
        || text.split(|b| *b == b';').all(|part| {
            part.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(part).is_ok_and(|p| p.parse::<u8>().is_ok())
        })
}

fn known(sequence: &[u8]) -> Step {
    let Some((first, rest)) = sequence.split_first() else {
        return Step::Nothing;
    };
    match parse_event(*first, &mut rest.iter().map(|b| Ok(*b))) {
        Ok(Event::Key(key)) => Step::Key(key),
        _ => Step::Nothing,
    }
}
