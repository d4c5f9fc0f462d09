//! Our user's lines that wait to be sent to guests. UDP has no back-pressure, so lines leave at a
//! bounded rate; and a line for a room without a guest waits for the first one.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::guests::guest::{GuestLines, GuestNetwork, LineTarget};
use crate::base::rate_limiter::RateLimiter;
use crate::base::text::line_form::{BLOCK_SEPARATOR, LineForm};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::guests::visits::{refuse_direct, show_direct};

/// Number of lines that may leave at once.
const GUEST_LINES_BURST: u64 = 32;
/// Milliseconds after which one more line may leave.
const GUEST_LINE_INTERVAL_MS: u64 = 20;
/// Size of a line that counts as one more for each recipient, in bytes: few large lines to many
/// guests would else take 134 MB in one turn.
const GUEST_LINE_SHARE_BYTES: usize = 8192;
/// Maximum number of lines that wait. Further ones are not sent to guests, and the user is told.
const GUEST_LINES_WAITING_MAX: usize = 4096;
/// Maximum size of the waiting lines together, in bytes.
const GUEST_LINES_WAITING_MAX_BYTES: usize = 1024 * 1024;

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
        has_guests || matches!(self.target, LineTarget::Guest { .. })
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
    /// Whether no line waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Tells the user how many lines for the room found no place since the last call. Peers may
    /// store them, so this alone fails no run: the delivery counts them as sent to no guest.
    pub fn report_dropped(&mut self, ctx: &mut Context, network: GuestNetwork) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            ctx.notify(Notice::Error {
                code: ErrorCode::Guests,
                content: format!(
                    "{dropped} lines were not sent to the guests of {}: too many wait already",
                    network.room()
                ),
            });
        }
    }

    /// Queues the lines of a batch of ours.
    pub fn push_batch(&mut self, batch: &Batch) {
        let mut sequence = batch.sequence;
        batch.for_each_line(|line| {
            let target = LineTarget::Room(batch.log.clone(), sequence);
            let is_queued = self.push(target, batch.username.as_str(), line, batch.form);
            self.dropped += u64::from(!is_queued);
            sequence += 1;
        });
    }

    /// Removes the lines of batches that the store refused. They are published again.
    pub fn forget(&mut self, refused: &[Arc<Batch>]) {
        let is_refused = |line: &OwnLine| match &line.target {
            LineTarget::Room(log, sequence) => refused
                .iter()
                .any(|batch| batch.log == *log && batch.contains_line(*sequence)),
            LineTarget::Guest { .. } => false,
        };
        self.queue.retain(|line| !is_refused(line));
        self.queued_bytes = self.queue.iter().map(|line| line.text.len()).sum();
    }

    /// Queues lines for one guest. `own`: our name. Returns how many find no place.
    pub fn push_direct(&mut self, own: &str, direct: &GuestLines) -> u64 {
        let target = LineTarget::Guest {
            id: direct.guest,
            request_id: direct.request_id,
        };
        let mut dropped = 0;
        for line in direct.lines.iter() {
            let is_queued = self.push(target.clone(), own, line, direct.form);
            dropped += u64::from(!is_queued);
        }
        dropped
    }

    /// Queues a line. No foreign network knows actions and blocks, so they are told as text.
    /// Returns false if there is no place.
    fn push(&mut self, target: LineTarget, own: &str, line: &str, form: LineForm) -> bool {
        let text = match form {
            LineForm::Action => format!("* {own} {line}"),
            LineForm::Block => line.replace(BLOCK_SEPARATOR, " "),
            LineForm::Text => line.to_owned(),
        };
        let bytes = self.queued_bytes + text.len();
        if self.queue.len() >= GUEST_LINES_WAITING_MAX || bytes > GUEST_LINES_WAITING_MAX_BYTES {
            return false;
        }
        self.queued_bytes = bytes;
        self.queue.push_back(OwnLine { target, text });
        true
    }

    /// Takes the next line that may leave now. `guests`: how many guests get a line for the room.
    pub fn pop(&mut self, now: Time, guests: usize) -> Option<OwnLine> {
        self.limiter.drain(now);
        let at = self.queue.iter().position(|line| line.is_ready(guests > 0));
        let at = at.filter(|_| self.limiter.level() < GUEST_LINES_BURST)?;
        let line = self.queue.remove(at)?;
        let recipients = match line.target {
            LineTarget::Room(..) => guests,
            LineTarget::Guest { .. } => 1,
        };
        let shares = line.text.len() * recipients / GUEST_LINE_SHARE_BYTES;
        (0..=shares).for_each(|_| self.limiter.add());
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

/// Queues lines for one guest, and shows them as sent. Reports those that find no place.
pub fn queue_direct(ctx: &mut Context, lines: &mut OwnLines, direct: &GuestLines) {
    let dropped = lines.push_direct(ctx.nick.as_str(), direct);
    show_direct(ctx, direct);
    let why = "too many lines wait already";
    refuse_direct(ctx, direct.request_id, dropped, why);
}
