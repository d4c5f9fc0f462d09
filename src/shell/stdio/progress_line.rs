//! The line at a terminal that says how far a long `send` is. It is written over again and again.
use crate::base::time::Time;

/// How long a run goes on before it shows its progress, in milliseconds: most end earlier.
const PROGRESS_AFTER_MS: u64 = 500;
/// Least time between two writings of the line, in milliseconds.
const PROGRESS_INTERVAL_MS: u64 = 250;
/// Number of lines of a run from which on its progress is shown.
const PROGRESS_LINES_MIN: u64 = 10;

/// How many lines of a run were sent and delivered, and what of that is shown.
#[derive(Debug)]
pub struct ProgressLine {
    /// Number of lines that are stored, and so sent to whoever is linked.
    pub sent: u64,
    /// How many of them all have who need them. `None`: it is not known before the end of input.
    pub delivered: Option<u64>,
    /// What the line says.
    shown: (u64, Option<u64>),
    /// Before this time, nothing is written.
    next_at: Time,
}

impl ProgressLine {
    /// The line of a run that begins now.
    pub fn new(now: Time) -> ProgressLine {
        ProgressLine {
            sent: 0,
            delivered: None,
            shown: (0, None),
            next_at: now + PROGRESS_AFTER_MS,
        }
    }

    /// When to write the line. `None`: it says all.
    pub fn deadline(&self) -> Option<Time> {
        let is_news = self.sent >= PROGRESS_LINES_MIN && self.shown != (self.sent, self.delivered);
        is_news.then_some(self.next_at)
    }

    /// The new text, if the line is to be written now.
    pub fn take_text(&mut self, now: Time) -> Option<String> {
        self.deadline().filter(|at| *at <= now)?;
        self.shown = (self.sent, self.delivered);
        self.next_at = now + PROGRESS_INTERVAL_MS;
        let sent = self.sent;
        Some(match self.delivered {
            None => format!("p2pchat: {sent} lines sent"),
            Some(delivered) => format!("p2pchat: {sent} lines sent, {delivered} delivered"),
        })
    }
}
