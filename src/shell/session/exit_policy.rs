//! What this run is for: when it is over, and with which exit status.
use crate::base::event::Delivery;
use crate::base::time::Time;
use crate::shell::config::exit_status::ExitStatus;

/// How long `peers` looks if nothing else is said, in milliseconds.
pub const DEFAULT_PEERS_WAIT_MS: u64 = 2_000;
/// How long delivery is waited for if nothing else is said, in milliseconds.
pub const DEFAULT_DELIVERY_WAIT_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// Say what comes from stdin, print the transcript.
    Chat,
    /// Say, wait until it has arrived, leave.
    Send,
    /// Print the transcript.
    Listen,
    /// Look who is there.
    Peers,
}

pub struct ExitPolicy {
    pub mode: SessionMode,
    /// Milliseconds: for delivery after the end of input, or for the whole run.
    wait_ms: Option<u64>,
    /// Chat lines to be printed before `listen` is done.
    remaining_lines: Option<u64>,
    ephemeral: bool,
    /// It acts through a program that stays when this one ends.
    pub is_attached: bool,
    /// Nobody is there, and the store has no room for more: it was told, and stdin waits.
    is_blocked: bool,
    /// When waiting ends.
    deadline: Option<Time>,
    /// No more input will come.
    has_input_ended: bool,
    is_delivery_complete: bool,
    /// Lines were refused.
    has_refused: bool,
    /// A name that was written to came with a key that is not bound to it.
    has_key_mismatch: bool,
    /// Somebody was linked at some time.
    has_linked: bool,
    exit_status: Option<ExitStatus>,
    /// A script said to end it.
    is_quitting: bool,
    /// Stdout is not waited for.
    is_aborted: bool,
}

impl ExitPolicy {
    /// `wait` in milliseconds; for `listen` and `peers` it counts from `now`.
    pub fn new(
        purpose: SessionMode,
        wait: Option<u64>,
        count: Option<u64>,
        ephemeral: bool,
        now: Time,
    ) -> ExitPolicy {
        let deadline = match purpose {
            SessionMode::Listen => wait.map(|ms| now + ms),
            SessionMode::Peers => Some(now + wait.unwrap_or(DEFAULT_PEERS_WAIT_MS)),
            SessionMode::Chat | SessionMode::Send => None,
        };
        ExitPolicy {
            mode: purpose,
            wait_ms: wait,
            remaining_lines: count,
            ephemeral,
            is_attached: false,
            is_blocked: false,
            deadline,
            has_input_ended: false,
            is_delivery_complete: false,
            has_refused: false,
            has_key_mismatch: false,
            has_linked: false,
            exit_status: None,
            is_quitting: false,
            is_aborted: false,
        }
    }

    /// No more will be said.
    pub fn record_input_end(&mut self, now: Time) {
        self.has_input_ended = true;
        self.deadline = Some(now + self.wait_ms.unwrap_or(DEFAULT_DELIVERY_WAIT_MS));
    }

    /// `stuck`: nobody is there, and the store has no room for more. One who waits for delivery does so from then on, too: stdin may
    /// never end. Gives what stderr should say.
    pub fn update_blocked(&mut self, now: Time, stuck: bool) -> Option<&'static str> {
        let before = std::mem::replace(&mut self.is_blocked, stuck);
        if self.has_input_ended || before == stuck {
            return None;
        }
        let waits = match self.mode {
            SessionMode::Send => true,
            SessionMode::Chat => self.wait_ms.is_some(),
            SessionMode::Listen | SessionMode::Peers => return None,
        };
        let until = stuck.then(|| now + self.wait_ms.unwrap_or(10_000));
        self.deadline = until.filter(|_| waits);
        stuck.then_some("nobody is there, and there is no room for more: stdin waits")
    }

    pub fn has_input_ended(&self) -> bool {
        self.has_input_ended
    }

    pub fn record_refusal(&mut self) {
        self.has_refused = true;
    }

    pub fn record_key_mismatch(&mut self) {
        self.has_key_mismatch = true;
    }

    pub fn record_linked_peer(&mut self) {
        self.has_linked = true;
    }

    pub fn record_delivery_complete(&mut self) {
        self.is_delivery_complete = true;
    }

    /// Ends the run with this status, unless it has ended already.
    pub fn end(&mut self, status: ExitStatus) {
        self.exit_status.get_or_insert(status);
    }

    /// Ends the run, with a status that tells of what was refused.
    pub fn quit(&mut self) {
        self.is_quitting = true;
    }

    /// Ends the run at once, also one that ends already and waits for the reader of stdout. The first status of these counts.
    pub fn abort(&mut self, status: ExitStatus) {
        if !std::mem::replace(&mut self.is_aborted, true) {
            self.exit_status = Some(status);
        }
    }

    pub fn is_aborted(&self) -> bool {
        self.is_aborted
    }

    pub fn has_ended(&self) -> bool {
        self.exit_status.is_some() || self.is_quitting
    }

    /// That of the run that ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.exit_status
    }

    /// Chat lines that `listen` may still print; `None`: as many as come.
    pub fn remaining_lines(&self) -> Option<u64> {
        self.remaining_lines
    }

    /// Lines of this run were printed.
    pub fn record_printed_lines(&mut self, lines: u64) {
        if let Some(count) = &mut self.remaining_lines {
            *count = count.saturating_sub(lines);
            // What was stored in time may be shown after it.
            if *count == 0 && matches!(self.exit_status, None | Some(ExitStatus::TimedOut)) {
                self.exit_status = Some(ExitStatus::Success);
            }
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// The exit status, once the run is over, and what stderr should say. `stored`: all that was said so far is.
    pub fn decide(
        &mut self,
        now: Time,
        stored: bool,
        delivery: impl FnOnce() -> Delivery,
    ) -> Option<(ExitStatus, Option<String>)> {
        if let Some(status) = self.exit_status {
            return Some((status, None));
        }
        let bad = match (self.has_key_mismatch, self.has_refused) {
            (true, _) => Some(ExitStatus::KeyMismatch),
            (false, true) => Some(ExitStatus::GeneralError),
            (false, false) => None,
        };
        if self.is_quitting || self.has_input_ended && self.is_delivery_complete {
            return Some((bad.unwrap_or(ExitStatus::Success), None));
        }
        if self.deadline.is_none_or(|at| at > now) {
            return None;
        }
        match self.mode {
            SessionMode::Listen => {
                let status = if self.remaining_lines.is_some() {
                    ExitStatus::TimedOut
                } else {
                    ExitStatus::Success
                };
                Some((bad.unwrap_or(status), None))
            }
            SessionMode::Peers => {
                let status = if self.has_linked {
                    ExitStatus::Success
                } else {
                    ExitStatus::NoPeer
                };
                Some((bad.unwrap_or(status), None))
            }
            SessionMode::Chat | SessionMode::Send if !stored => {
                let sentence = "what was said last could not be stored, and is gone";
                Some((ExitStatus::GeneralError, Some(sentence.to_owned())))
            }
            SessionMode::Chat | SessionMode::Send => {
                let delivery = delivery();
                if delivery.is_settled {
                    return Some((bad.unwrap_or(ExitStatus::Success), None));
                }
                let status = if self.has_linked {
                    ExitStatus::PartialDelivery
                } else {
                    ExitStatus::NoPeer
                };
                let sentence = self.undelivered_message(&delivery);
                let rest = match self.has_input_ended {
                    true => "",
                    false => ", and the rest of stdin was not taken",
                };
                Some((bad.unwrap_or(status), Some(sentence + rest)))
            }
        }
    }

    /// Why not all has arrived, and what becomes of it.
    fn undelivered_message(&self, delivery: &Delivery) -> String {
        let fate = match (self.ephemeral, self.is_attached) {
            (true, _) => "it is gone with this program",
            (false, true) => "it is stored, and the program that runs here goes on with it",
            (false, false) => "it is stored and goes out with the next run",
        };
        let held = delivery.acked_peers;
        // Who is yet to come, or to stay, is needed too.
        let needed = delivery.required_peers.max(held + 1);
        match (self.has_linked, delivery.linked_peers) {
            (false, _) => format!("nobody is there: {fate}"),
            (true, 0) => format!("nobody for whom it is meant is linked: {fate}"),
            _ => format!("not everyone holds it yet ({held} of {needed} hold it): {fate}"),
        }
    }

    /// What stderr should say at an end that waits for nobody, if something is lost by it.
    pub fn loss_warning(&self, delivery: impl FnOnce() -> Delivery) -> Option<String> {
        if !self.ephemeral || self.exit_status == Some(ExitStatus::StdoutClosed) {
            return None;
        }
        let delivery = delivery();
        delivery
            .has_undelivered
            .then(|| self.undelivered_message(&delivery))
    }
}
