//! Decides when a run is over, and with which exit status.
use crate::base::event::Delivery;
use crate::base::time::Time;
use crate::shell::config::exit_status::ExitStatus;

/// How long `peers` looks for peers without --wait, in milliseconds.
pub const DEFAULT_PEERS_WAIT_MS: u64 = 2_000;
/// How long a run waits for delivery without --wait, in milliseconds.
pub const DEFAULT_DELIVERY_WAIT_MS: u64 = 10_000;

/// What a session is for: the command that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// Sends the lines of stdin and prints the transcript.
    Chat,
    /// Sends lines, waits for their delivery, and ends.
    Send,
    /// Prints the transcript.
    Listen,
    /// Lists the peers that it finds within a time.
    Peers,
}

impl SessionMode {
    /// The command prints the transcript.
    pub fn prints_transcript(self) -> bool {
        matches!(self, SessionMode::Chat | SessionMode::Listen)
    }
}

/// What becomes of lines that are not delivered when the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// They are lost: an ephemeral run stores in memory only.
    Lost,
    /// The program that this one is attached to sends them.
    Server,
    /// They are stored, and the next run in this directory sends them.
    NextRun,
}

/// The end of a run: its status, and a sentence for stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// With what the program exits.
    pub status: ExitStatus,
    /// What was not achieved, and what becomes of the lines.
    pub message: Option<String>,
}

/// Whether more input may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputState {
    Open,
    /// No peer is linked and the store is full, so no line can be accepted. A run that waits for
    /// delivery waits no longer than until then, because stdin may never end.
    Blocked {
        until: Option<Time>,
    },
    /// Delivery is awaited until then.
    Ended {
        until: Time,
    },
}

/// How far the run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndState {
    Running,
    /// /quit in a script: ends with the status that the refusals so far call for.
    Quitting,
    /// Ends as soon as stdout has taken its last lines.
    Ended(ExitStatus),
    /// Ends at once.
    Aborted(ExitStatus),
}

/// The state from which the end of one run is decided.
pub struct ExitPolicy {
    /// The command.
    pub mode: SessionMode,
    /// What becomes of lines that are not delivered.
    pub retention: Retention,
    /// --wait, in milliseconds: for delivery after the end of input, or for the whole run.
    wait_ms: Option<u64>,
    /// Chat lines that `listen --count` has still to print.
    remaining_lines: Option<u64>,
    /// When `listen` or `peers` ends.
    run_deadline: Option<Time>,
    input: InputState,
    end: EndState,
    is_delivery_complete: bool,
    /// A line or a command was refused.
    has_refused: bool,
    /// A recipient presented a key that is not bound to its name.
    has_key_mismatch: bool,
    /// A peer was linked at some time.
    has_linked: bool,
}

impl ExitPolicy {
    /// A run that begins `now`. `listen` and `peers` end after `wait_ms`; `listen` also ends after
    /// `line_limit` chat lines.
    pub fn new(
        mode: SessionMode,
        wait_ms: Option<u64>,
        line_limit: Option<u64>,
        retention: Retention,
        now: Time,
    ) -> ExitPolicy {
        let run_deadline = match mode {
            SessionMode::Listen => wait_ms.map(|ms| now + ms),
            SessionMode::Peers => Some(now + wait_ms.unwrap_or(DEFAULT_PEERS_WAIT_MS)),
            SessionMode::Chat | SessionMode::Send => None,
        };
        ExitPolicy {
            mode,
            retention,
            wait_ms,
            remaining_lines: line_limit,
            run_deadline,
            input: InputState::Open,
            end: EndState::Running,
            is_delivery_complete: false,
            has_refused: false,
            has_key_mismatch: false,
            has_linked: false,
        }
    }

    fn delivery_deadline(&self, now: Time) -> Time {
        now + self.wait_ms.unwrap_or(DEFAULT_DELIVERY_WAIT_MS)
    }

    /// Notes the end of input. The wait for delivery begins.
    pub fn record_input_end(&mut self, now: Time) {
        self.input = InputState::Ended {
            until: self.delivery_deadline(now),
        };
    }

    /// Notes whether the input is blocked: no peer is linked and the store is full. Gives the
    /// sentence for stderr when that begins.
    pub fn update_blocked(&mut self, now: Time, is_blocked: bool) -> Option<&'static str> {
        let waits = match self.mode {
            SessionMode::Send => true,
            SessionMode::Chat => self.wait_ms.is_some(),
            SessionMode::Listen | SessionMode::Peers => return None,
        };
        match (self.input, is_blocked) {
            (InputState::Open, true) => {
                let until = waits.then(|| self.delivery_deadline(now));
                self.input = InputState::Blocked { until };
                Some("no peer is connected and the store is full: stdin waits")
            }
            (InputState::Blocked { .. }, false) => {
                self.input = InputState::Open;
                None
            }
            _ => None,
        }
    }

    /// No more input will come.
    pub fn has_input_ended(&self) -> bool {
        matches!(self.input, InputState::Ended { .. })
    }

    /// Notes a refused line or command: the run ends with status 1 instead of 0.
    pub fn record_refusal(&mut self) {
        self.has_refused = true;
    }

    /// Notes that a recipient's key is not the one bound to its name: status 77.
    pub fn record_key_mismatch(&mut self) {
        self.has_key_mismatch = true;
    }

    /// Notes that a peer is linked: missing delivery then is status 75, not 69.
    pub fn record_linked_peer(&mut self) {
        self.has_linked = true;
    }

    /// Notes that the required peers have acknowledged all lines.
    pub fn record_delivery_complete(&mut self) {
        self.is_delivery_complete = true;
    }

    /// Ends the run with this status, unless it has one already.
    pub fn end(&mut self, status: ExitStatus) {
        if let EndState::Running | EndState::Quitting = self.end {
            self.end = EndState::Ended(status);
        }
    }

    /// Ends the run with the status that the refusals so far call for.
    pub fn quit(&mut self) {
        if self.end == EndState::Running {
            self.end = EndState::Quitting;
        }
    }

    /// Ends the run without waiting for the reader of stdout, also a run that has ended already.
    /// The first status given here stays.
    pub fn abort(&mut self, status: ExitStatus) {
        if !self.is_aborted() {
            self.end = EndState::Aborted(status);
        }
    }

    /// The run ends without waiting for the reader of stdout.
    pub fn is_aborted(&self) -> bool {
        matches!(self.end, EndState::Aborted(_))
    }

    /// The run takes no more input: it has ended or is quitting.
    pub fn has_ended(&self) -> bool {
        self.end != EndState::Running
    }

    /// The status of the run, once it has one.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match self.end {
            EndState::Running | EndState::Quitting => None,
            EndState::Ended(status) | EndState::Aborted(status) => Some(status),
        }
    }

    /// Chat lines that `listen --count` may still print; `None`: no limit.
    pub fn remaining_lines(&self) -> Option<u64> {
        self.remaining_lines
    }

    /// Counts printed chat lines of this run; `listen --count` ends with the last one.
    pub fn record_printed_lines(&mut self, lines: u64) {
        let Some(remaining) = &mut self.remaining_lines else {
            return;
        };
        *remaining = remaining.saturating_sub(lines);
        // Lines stored before the time ran out may be printed after it.
        if *remaining == 0 && matches!(self.exit_status(), None | Some(ExitStatus::TimedOut)) {
            self.end = EndState::Ended(ExitStatus::Success);
        }
    }

    /// When the run ends at the latest, or waits no longer for delivery.
    pub fn deadline(&self) -> Option<Time> {
        match self.input {
            InputState::Open => self.run_deadline,
            InputState::Blocked { until } => until,
            InputState::Ended { until } => Some(until),
        }
    }

    /// How the run ends, once it is over. `is_all_stored`: the core has stored every line given
    /// to it.
    pub fn decide(
        &mut self,
        now: Time,
        is_all_stored: bool,
        delivery: impl FnOnce() -> Delivery,
    ) -> Option<Exit> {
        if let Some(status) = self.exit_status() {
            return Some(Exit {
                status,
                message: None,
            });
        }
        let is_done = self.has_input_ended() && self.is_delivery_complete;
        if is_done || self.end == EndState::Quitting {
            return Some(self.exit_unless_refused(ExitStatus::Success, None));
        }
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        Some(match self.mode {
            SessionMode::Listen if self.remaining_lines.is_some() => {
                self.exit_unless_refused(ExitStatus::TimedOut, None)
            }
            SessionMode::Listen => self.exit_unless_refused(ExitStatus::Success, None),
            SessionMode::Peers if self.has_linked => {
                self.exit_unless_refused(ExitStatus::Success, None)
            }
            SessionMode::Peers => self.exit_unless_refused(ExitStatus::NoPeer, None),
            SessionMode::Chat | SessionMode::Send if !is_all_stored => Exit {
                status: ExitStatus::GeneralError,
                message: Some("the last lines could not be stored, and are lost".to_owned()),
            },
            SessionMode::Chat | SessionMode::Send => self.exit_undelivered(&delivery()),
        })
    }

    /// Refusals decide the status before anything else does.
    fn exit_unless_refused(&self, status: ExitStatus, message: Option<String>) -> Exit {
        let status = match (self.has_key_mismatch, self.has_refused) {
            (true, _) => ExitStatus::KeyMismatch,
            (false, true) => ExitStatus::GeneralError,
            (false, false) => status,
        };
        Exit { status, message }
    }

    /// The time for delivery is over.
    fn exit_undelivered(&self, delivery: &Delivery) -> Exit {
        if delivery.is_settled {
            return self.exit_unless_refused(ExitStatus::Success, None);
        }
        let status = match self.has_linked {
            true => ExitStatus::PartialDelivery,
            false => ExitStatus::NoPeer,
        };
        let mut message = self.undelivered_message(delivery);
        if !self.has_input_ended() {
            message.push_str(", and the rest of stdin was not read");
        }
        self.exit_unless_refused(status, Some(message))
    }

    /// Why not all lines are delivered, and what becomes of them.
    fn undelivered_message(&self, delivery: &Delivery) -> String {
        let fate = match self.retention {
            Retention::Lost => "the lines are lost with this program",
            Retention::Server => "the lines are stored, and sent by the p2pchat that runs here",
            Retention::NextRun => "the lines are stored, and sent by the next run",
        };
        let acked = delivery.acked_peers;
        // One more peer is needed even if all linked ones have acknowledged: one that is away, or
        // that left.
        let required = delivery.required_peers.max(acked + 1);
        match (self.has_linked, delivery.linked_peers) {
            (false, _) => format!("no peer is connected: {fate}"),
            (true, 0) => format!("nobody who should get the lines is connected: {fate}"),
            _ => format!("{acked} of {required} peers have received all lines: {fate}"),
        }
    }

    /// The sentence for stderr if a run that ends without waiting loses lines.
    pub fn loss_warning(&self, delivery: impl FnOnce() -> Delivery) -> Option<String> {
        if self.retention != Retention::Lost || self.exit_status() == Some(ExitStatus::StdoutClosed)
        {
            return None;
        }
        let delivery = delivery();
        delivery
            .has_undelivered
            .then(|| self.undelivered_message(&delivery))
    }
}
