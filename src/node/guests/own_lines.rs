//! Our user's lines that wait to be sent to guests. UDP has no back-pressure, so lines leave at a
//! bounded rate; and a line for a room without a guest waits for the first one.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::guests::guest::{GuestId, GuestLines};
use crate::base::time::Time;
use crate::node::discovery::rate_limiter::RateLimiter;

/// Number of lines that may leave at once.
const GUEST_LINES_BURST: u64 = 32;
/// Milliseconds after which one more line may leave.
const GUEST_LINE_INTERVAL_MS: u64 = 20;
/// Maximum number of lines that wait. Further ones are dropped, and the user is told.
const GUEST_LINES_WAITING_MAX: usize = 4096;
/// Maximum size of the waiting lines together, in bytes.
const GUEST_LINES_WAITING_MAX_BYTES: usize = 1024 * 1024;

/// For whom a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineTarget {
    /// All guests of the room. The line has this place in our log.
    Room(LogId, u64),
    /// One guest.
    Guest(GuestId),
}

/// A line that waits.
#[derive(Debug)]
pub struct OwnLine {
    /// For whom the line is.
    pub target: LineTarget,
    /// The line.
    pub text: String,
}

impl OwnLine {
    fn is_ready(&self, has_guests: bool) -> bool {
        has_guests || matches!(self.target, LineTarget::Guest(_))
    }
}

/// The lines that wait, in order.
pub struct OwnLines {
    queue: VecDeque<OwnLine>,
    queued_bytes: usize,
    limiter: RateLimiter,
    dropped: u64,
}

impl Default for OwnLines {
    fn default() -> OwnLines {
        OwnLines {
            queue: VecDeque::new(),
            queued_bytes: 0,
            limiter: RateLimiter::new(GUEST_LINE_INTERVAL_MS),
            dropped: 0,
        }
    }
}

impl OwnLines {
    /// Whether a line for one guest waits.
    pub fn has_direct(&self) -> bool {
        self.queue.iter().any(|line| line.is_ready(false))
    }

    /// Whether no line waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the number of lines that found no place.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Queues the lines of a batch of ours.
    pub fn push_batch(&mut self, batch: &Batch) {
        let mut sequence = batch.sequence;
        batch.for_each_line(|line| {
            let target = LineTarget::Room(batch.log.clone(), sequence);
            self.push(target, batch.username.as_str(), line, batch.action);
            sequence += 1;
        });
    }

    /// Queues lines for one guest. `own`: our name.
    pub fn push_direct(&mut self, own: &str, direct: &GuestLines) {
        for line in direct.lines.iter() {
            self.push(LineTarget::Guest(direct.guest), own, line, direct.action);
        }
    }

    /// Queues a line. No foreign network knows actions, so one is told as text.
    fn push(&mut self, target: LineTarget, own: &str, line: &str, action: bool) {
        let text = match action {
            true => format!("* {own} {line}"),
            false => line.to_owned(),
        };
        let bytes = self.queued_bytes + text.len();
        if self.queue.len() >= GUEST_LINES_WAITING_MAX || bytes > GUEST_LINES_WAITING_MAX_BYTES {
            self.dropped += 1;
            return;
        }
        self.queued_bytes = bytes;
        self.queue.push_back(OwnLine { target, text });
    }

    /// Takes the next line that may leave now. `has_guests`: whether a guest of the room is here.
    pub fn pop(&mut self, now: Time, has_guests: bool) -> Option<OwnLine> {
        self.limiter.drain(now);
        let at = self.queue.iter().position(|line| line.is_ready(has_guests));
        let at = at.filter(|_| self.limiter.level() < GUEST_LINES_BURST)?;
        self.limiter.add();
        let line = self.queue.remove(at)?;
        self.queued_bytes -= line.text.len();
        Some(line)
    }

    /// When the next line may leave, if one waits for nothing but the rate.
    pub fn next_at(&self, has_guests: bool) -> Option<Time> {
        let mut lines = self.queue.iter();
        let is_waiting = lines.any(|line| line.is_ready(has_guests));
        is_waiting.then(|| self.limiter.next_drain_at())
    }
}
