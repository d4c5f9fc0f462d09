//! Decides when a run is over, and with which exit status.
use crate::base::time::Time;
use crate::shell::config::exit_status::ExitStatus;
use crate::ui::session_event::DeliveryReport;

/// How long `peers` looks for peers if --wait is not given, in milliseconds.
pub const DEFAULT_PEERS_WAIT_MS: u64 = 2_000;
/// How long a run waits for delivery if --wait is not given, in milliseconds.
pub const DEFAULT_DELIVERY_WAIT_MS: u64 = 10_000;

/// What a run says that ends before guests have answered.
pub const GUESTS_DO_NOT_ANSWER: &str =
    "no answer of a guest has come in time: whether the last lines arrived is unknown";

/// The command that opened the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// Sends the lines of stdin and prints the transcript.
    Chat,
    /// Sends lines, waits for their delivery, and ends.
    Send,
    /// Prints the transcript.
    Listen,
    /// Looks for peers for a limited time, and lists them.
    Peers,
    /// Exchanges all lines with those who are here, and ends.
    Sync,
    /// As [`SessionMode::Sync`], and prints the transcript.
    Drain,
}

impl SessionMode {
    /// Whether this command ends when all lines are exchanged with those who are here.
    pub fn is_sync(self) -> bool {
        matches!(self, SessionMode::Sync | SessionMode::Drain)
    }

    /// Whether this command ends by itself soon, and comes and goes unannounced.
    pub fn is_transient(self) -> bool {
        matches!(self, SessionMode::Send | SessionMode::Peers) || self.is_sync()
    }

    /// Whether this command prints the transcript.
    pub fn prints_transcript(self) -> bool {
        matches!(
            self,
            SessionMode::Chat | SessionMode::Listen | SessionMode::Drain
        )
    }
}

/// What happens to undelivered lines when the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// The lines are lost: an ephemeral run stores them in memory only.
    Lost,
    /// The server stores the lines and sends them. This run is attached to that server.
    Server,
    /// The lines are stored, and the next run in this directory sends them.
    NextRun,
}

/// Lines that the session has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnansweredLines {
    /// There are none.
    None,
    /// All are for single guests, who have not answered.
    ToGuests,
    /// Some are not stored yet.
    ToBeStored,
}

/// The end of a run: the exit status, and a sentence for stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit status.
    pub status: ExitStatus,
    /// Why the run did not succeed, and what happens to undelivered lines.
    pub message: Option<String>,
}

/// Whether more input may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputState {
    Open,
    /// stdin is not read, because no peer is linked and the store is full. If this still holds at
    /// the time `until`, the run ends; `None`: no limit.
    Blocked {
        until: Option<Time>,
    },
    /// The input has ended, and the run waits for delivery. The run ends at the time `until` at the
    /// latest.
    Ended {
        until: Time,
    },
}

/// Whether the run has ended, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndState {
    Running,
    /// A script has given /quit. The status is 77 after a key mismatch, else 1 after a refusal,
    /// else 0.
    Quitting,
    /// The run prints its last output, and then ends.
    Ended(ExitStatus),
    /// The run ends without waiting for stdout.
    Aborted(ExitStatus),
}

/// Time between two lists of peers while one who is expected is missing, in milliseconds.
const EXPECT_INTERVAL_MS: u64 = 200;
/// How long the session may take to say that a name is unknown, in milliseconds after its time to
/// resolve has passed.
const RESOLVE_ANSWER_MAX_MS: u64 = 1_000;
/// How long a run waits before it says whom it waits for, in milliseconds.
const WAIT_NOTE_AFTER_MS: u64 = 2_000;

/// Decides when a run ends. Records what the decision depends on.
pub struct ExitPolicy {
    /// The command of this run.
    pub mode: SessionMode,
    /// What happens to undelivered lines.
    pub retention: Retention,
    /// The value of --wait in milliseconds. For `listen` and `peers`: a limit for the whole run.
    /// For other commands: a limit for the wait for delivery.
    wait_ms: Option<u64>,
    /// How many chat lines `listen --count` still has to print; `None`: no limit.
    remaining_lines: Option<u64>,
    /// When `listen` or `peers` ends, or `listen --drain` without a link; `None`: no limit.
    run_deadline: Option<Time>,
    input: InputState,
    /// The request whose recipient's name is to be resolved, and when it is answered at the latest.
    resolution: Option<(u64, Time)>,
    end: EndState,
    is_delivery_complete: bool,
    /// Whether a line or a command was refused.
    has_refused: bool,
    /// Whether a recipient presented a key that is not bound to its name.
    has_key_mismatch: bool,
    /// Whether a peer was linked at any time during the run.
    has_linked: bool,
    /// Whether all peers of `peers --expect` are here; `None`: unknown, or nobody is expected.
    has_all_expected: Option<bool>,
    /// Until when to wait for the expected peers. `None`: nobody is expected.
    expect_until: Option<Time>,
    /// Whether somebody sees at a terminal that the run waits.
    announces_wait: bool,
    /// When to say whom the run waits for; `None`: never, or not again.
    wait_note_at: Option<Time>,
}

impl ExitPolicy {
    /// Creates the policy of a run. `now`: the start of the run. `listen` and `peers` end after
    /// `wait_ms`. `listen` also ends after `line_limit` chat lines.
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
            SessionMode::Drain if wait_ms.is_none() => Some(now + DEFAULT_PEERS_WAIT_MS),
            _ => None,
        };
        ExitPolicy {
            mode,
            retention,
            wait_ms,
            remaining_lines: line_limit,
            run_deadline,
            input: InputState::Open,
            resolution: None,
            end: EndState::Running,
            is_delivery_complete: false,
            has_refused: false,
            has_key_mismatch: false,
            has_linked: false,
            has_all_expected: None,
            expect_until: None,
            announces_wait: false,
            wait_note_at: None,
        }
    }

    /// Lets the run say whom it waits for, if it waits long: see [`ExitPolicy::take_wait_note`].
    pub fn announce_wait(&mut self) {
        self.announces_wait = true;
    }

    /// When [`ExitPolicy::take_wait_note`] has something to say.
    pub fn wait_note_at(&self) -> Option<Time> {
        self.wait_note_at.filter(|_| !self.has_ended())
    }

    /// A sentence for stderr, once: who lacks lines, and how long the run still waits. `None` in
    /// the first `WAIT_NOTE_AFTER_MS`.
    pub fn take_wait_note(&mut self, now: Time, report: &DeliveryReport) -> Option<String> {
        let InputState::Ended { until } = self.input else {
            return None;
        };
        self.wait_note_at().filter(|at| *at <= now)?;
        if report.undelivered.is_empty() {
            self.wait_note_at = Some(now + WAIT_NOTE_AFTER_MS);
            return None;
        }
        self.wait_note_at = None;
        let seconds = until.ms_since(now).div_ceil(1000);
        Some(format!(
            "{}: waiting for {seconds} s more; Ctrl-C ends it",
            report.undelivered
        ))
    }

    fn delivery_deadline(&self, now: Time) -> Time {
        now + self.wait_ms.unwrap_or(DEFAULT_DELIVERY_WAIT_MS)
    }

    /// Records the end of input. The wait for delivery begins at the time `now`.
    pub fn record_input_end(&mut self, now: Time) {
        self.input = InputState::Ended {
            until: self.delivery_deadline(now),
        };
        self.wait_note_at = self.announces_wait.then(|| now + WAIT_NOTE_AFTER_MS);
    }

    /// Records the oldest request whose recipient's name is to be resolved: its id, and how long
    /// that may take, in milliseconds. The lines behind it wait in the session. Once it is
    /// answered, they get all of the time for delivery.
    pub fn update_resolution(&mut self, now: Time, oldest: Option<(u64, u64)>) {
        let is_same = |(id, _)| oldest.is_some_and(|(oldest, _)| oldest == id);
        if self.resolution.is_some_and(is_same) {
            return;
        }
        if self.resolution.is_some() && self.has_input_ended() {
            let until = self.delivery_deadline(now);
            self.input = InputState::Ended { until };
        }
        self.resolution = oldest.map(|(id, ms)| (id, now + ms + RESOLVE_ANSWER_MAX_MS));
    }

    /// Records whether stdin is blocked. Blocked stdin is not read, because no peer is linked and
    /// the store is full. Returns a sentence for stderr when stdin becomes blocked.
    pub fn update_blocked(&mut self, now: Time, is_blocked: bool) -> Option<&'static str> {
        let waits = match self.mode {
            SessionMode::Send => true,
            SessionMode::Chat => self.wait_ms.is_some(),
            _ => return None,
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

    /// Whether the input has ended.
    pub fn has_input_ended(&self) -> bool {
        matches!(self.input, InputState::Ended { .. })
    }

    /// Records that a line or a command was refused. [`ExitPolicy::decide`] then chooses status 1.
    pub fn record_refusal(&mut self) {
        self.has_refused = true;
    }

    /// Records that a recipient's key is not the one bound to its name. [`ExitPolicy::decide`] then
    /// chooses status 77.
    pub fn record_key_mismatch(&mut self) {
        self.has_key_mismatch = true;
    }

    /// Records that a peer is linked. If delivery then fails, the exit status is 75 instead of 69.
    pub fn record_linked_peer(&mut self) {
        self.has_linked = true;
    }

    /// Lets `peers` wait for the expected peers from the time `now` on, for all of --wait. A
    /// program that runs already may know them at once.
    pub fn expect_peers(&mut self, now: Time, wait_ms: Option<u64>) {
        self.expect_until = Some(now + wait_ms.unwrap_or(DEFAULT_PEERS_WAIT_MS));
    }

    /// Records whether all peers of `peers --expect` are here. Returns whether to list the peers
    /// again later, at the new [`ExitPolicy::deadline`].
    pub fn record_expected(&mut self, now: Time, has_all: bool) -> bool {
        self.has_all_expected = Some(has_all);
        let until = self.expect_until.filter(|until| !has_all && now < *until);
        if let Some(until) = until {
            self.run_deadline = Some(until.min(now + EXPECT_INTERVAL_MS));
        }
        until.is_some()
    }

    /// Records that the required peers have acknowledged all lines.
    pub fn record_delivery_complete(&mut self) {
        self.is_delivery_complete = true;
    }

    /// Ends the run with this status. If the run already has a status, does nothing.
    pub fn end(&mut self, status: ExitStatus) {
        if let EndState::Running | EndState::Quitting = self.end {
            self.end = EndState::Ended(status);
        }
    }

    /// Ends the run. The status is 77 after a key mismatch, else 1 after a refusal, else 0.
    pub fn quit(&mut self) {
        if self.end == EndState::Running {
            self.end = EndState::Quitting;
        }
    }

    /// Ends the run without waiting for stdout. Replaces a status set by [`ExitPolicy::end`]. After
    /// an earlier `abort`, does nothing.
    pub fn abort(&mut self, status: ExitStatus) {
        if !self.is_aborted() {
            self.end = EndState::Aborted(status);
        }
    }

    /// Aborts the run, because nobody reads stdout any more. A run that has ended keeps its status:
    /// the reader of `listen -n 1 | head -1` leaves when it has its line. If such a run still has
    /// output, the write fails and aborts the run.
    pub fn record_reader_gone(&mut self) {
        if self.exit_status().is_none() {
            self.abort(ExitStatus::StdoutClosed);
        }
    }

    /// Whether the run ends without waiting for stdout.
    pub fn is_aborted(&self) -> bool {
        matches!(self.end, EndState::Aborted(_))
    }

    /// Whether the run has ended or is quitting. Such a run reads no more input.
    pub fn has_ended(&self) -> bool {
        self.end != EndState::Running
    }

    /// The exit status; `None` before the run has one. A run that is quitting has none yet.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match self.end {
            EndState::Running | EndState::Quitting => None,
            EndState::Ended(status) | EndState::Aborted(status) => Some(status),
        }
    }

    /// How many chat lines `listen --count` may still print; `None`: no limit.
    pub fn remaining_lines(&self) -> Option<u64> {
        self.remaining_lines
    }

    /// Subtracts printed chat lines from the limit of `listen --count`. At 0 the run ends with
    /// status 0.
    pub fn record_printed_lines(&mut self, lines: u64) {
        let Some(remaining) = &mut self.remaining_lines else {
            return;
        };
        *remaining = remaining.saturating_sub(lines);
        // Lines stored before the timeout may be printed after it. They still count, so status 124
        // becomes 0.
        if *remaining == 0 && matches!(self.exit_status(), None | Some(ExitStatus::TimedOut)) {
            self.end = EndState::Ended(ExitStatus::Success);
        }
    }

    /// The time at which the run ends, if nothing ends it earlier; `None`: no limit.
    pub fn deadline(&self) -> Option<Time> {
        match self.input {
            InputState::Open => self.run_deadline,
            InputState::Blocked { until } => until,
            // While nobody is linked, the run deadline of `listen --drain` is the earlier one.
            InputState::Ended { until } if self.mode == SessionMode::Drain && !self.has_linked => {
                Some(self.run_deadline.map_or(until, |at| at.min(until)))
            }
            InputState::Ended { until } => {
                Some(self.resolution.map_or(until, |(_, by)| by.max(until)))
            }
        }
    }

    /// Decides whether the run is over, and how; `None` while the run goes on. `unanswered`: which
    /// of the lines passed to the core are neither stored nor sent to their guest.
    pub fn decide(
        &mut self,
        now: Time,
        unanswered: UnansweredLines,
        report: &DeliveryReport,
    ) -> Option<Exit> {
        if let Some(status) = self.exit_status() {
            return Some(Exit {
                status,
                message: None,
            });
        }
        let has_lost = report.delivery.is_lost_to_guests;
        self.has_refused |= has_lost;
        let is_done = self.has_input_ended() && self.is_delivery_complete;
        if is_done || self.end == EndState::Quitting {
            // Other commands say it when it happens.
            let is_unsaid = has_lost && self.mode == SessionMode::Send;
            let message = is_unsaid.then(|| report.undelivered.clone());
            return Some(self.exit_unless_refused(ExitStatus::Success, message));
        }
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        Some(match self.mode {
            SessionMode::Listen if self.remaining_lines.is_some() => {
                self.exit_unless_refused(ExitStatus::TimedOut, None)
            }
            SessionMode::Listen => self.exit_unless_refused(ExitStatus::Success, None),
            SessionMode::Peers => {
                let status = match (self.has_all_expected, self.has_linked) {
                    (Some(true), _) | (None, true) => ExitStatus::Success,
                    (Some(false), true) => ExitStatus::PartialDelivery,
                    (_, false) => ExitStatus::NoPeer,
                };
                self.exit_unless_refused(status, None)
            }
            // What is stored is printed.
            SessionMode::Drain if !self.has_linked => {
                self.exit_unless_refused(ExitStatus::Success, None)
            }
            SessionMode::Chat | SessionMode::Send if unanswered != UnansweredLines::None => Exit {
                status: ExitStatus::GeneralError,
                message: Some(match unanswered {
                    UnansweredLines::ToGuests => GUESTS_DO_NOT_ANSWER.to_owned(),
                    _ => "the last lines could not be stored, and are lost".to_owned(),
                }),
            },
            SessionMode::Chat | SessionMode::Send | SessionMode::Sync | SessionMode::Drain => {
                self.exit_undelivered(report)
            }
        })
    }

    /// Creates an exit. The status is 77 after a key mismatch, else 1 after a refusal, else
    /// `status`.
    fn exit_unless_refused(&self, status: ExitStatus, message: Option<String>) -> Exit {
        let status = match (self.has_key_mismatch, self.has_refused) {
            (true, _) => ExitStatus::KeyMismatch,
            (false, true) => ExitStatus::GeneralError,
            (false, false) => status,
        };
        Exit { status, message }
    }

    /// The exit of a run whose time limit for delivery has passed.
    fn exit_undelivered(&self, report: &DeliveryReport) -> Exit {
        if report.delivery.is_settled {
            return self.exit_unless_refused(ExitStatus::Success, None);
        }
        let status = match self.has_linked {
            true => ExitStatus::PartialDelivery,
            false => ExitStatus::NoPeer,
        };
        let mut message = self.undelivered_message(report);
        if !self.has_input_ended() {
            message.push_str(", and the rest of stdin was not read");
        }
        self.exit_unless_refused(status, Some(message))
    }

    /// The sentence that says why lines are undelivered, and what happens to them.
    fn undelivered_message(&self, report: &DeliveryReport) -> String {
        if self.mode.is_sync() {
            return report.undelivered.clone();
        }
        let fate = match self.retention {
            Retention::Lost => "the lines are lost with this program",
            Retention::Server => "the lines are stored, and sent by the p2pchat that runs here",
            Retention::NextRun if report.delivery.is_unsent_to_guests => {
                "the lines are stored, and the next run sends them to peers, but not to guests"
            }
            Retention::NextRun => "the lines are stored, and sent by the next run",
        };
        let reason = match &report.undelivered[..] {
            "" => "not all peers have received all lines",
            reason => reason,
        };
        format!("{reason}: {fate}")
    }

    /// A sentence for stderr if the end of this run loses lines. `None` if no lines are lost, or if
    /// the reader of stdout is gone.
    pub fn loss_warning(&self, report: &DeliveryReport) -> Option<String> {
        if self.retention != Retention::Lost || self.exit_status() == Some(ExitStatus::StdoutClosed)
        {
            return None;
        }
        report
            .delivery
            .has_undelivered
            .then(|| self.undelivered_message(report))
    }
}
