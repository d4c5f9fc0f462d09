//! Decides how long the client waits for the server, and when its run is over.
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::ipc::client::client::{Client, RESPONSE_TIMEOUT_MS};
use crate::shell::session::session::Session;
use crate::shell::session::shutdown::GOODBYE_TIMEOUT_MS;

/// The timers of the client.
#[derive(Clone, Copy)]
enum ClientTimer {
    /// When to give up waiting for the response to a join, a part or a request for the list of
    /// peers.
    Response,
    /// When to give up waiting for the server to find a recipient.
    Resolve,
    /// When to stop waiting for the server to accept the last lines of an ended run.
    UnsentLines,
    /// When the session must act. See [`Client::session_deadline`].
    Session,
}

impl ClientTimer {
    const ALL: [ClientTimer; 4] = [
        ClientTimer::Response,
        ClientTimer::Resolve,
        ClientTimer::UnsentLines,
        ClientTimer::Session,
    ];
}

impl Client {
    /// When the client must act even if the server sends nothing.
    pub(super) fn next_deadline(&self, session: &Session) -> Option<Time> {
        ClientTimer::ALL
            .into_iter()
            .filter_map(|timer| self.deadline(timer, session))
            .min()
    }

    fn deadline(&self, timer: ClientTimer, session: &Session) -> Option<Time> {
        let unresolved = self.outbox.unresolved();
        match timer {
            ClientTimer::Response => self
                .is_response_due()
                .then(|| self.last_request_at + RESPONSE_TIMEOUT_MS),
            ClientTimer::UnsentLines => self.unsent_deadline,
            _ if self.is_response_due() => None,
            ClientTimer::Resolve => unresolved.map(|unresolved| unresolved.deadline),
            ClientTimer::Session if unresolved.is_some() => None,
            ClientTimer::Session => self.session_deadline(session),
        }
    }

    fn is_due(&self, timer: ClientTimer, session: &Session, now: Now) -> bool {
        self.deadline(timer, session)
            .is_some_and(|deadline| deadline <= now.time)
    }

    /// The session's deadline. While the server owes an answer about this run's lines, the deadline
    /// is at least [`RESPONSE_TIMEOUT_MS`] after the server's last answer. The reason: `-W` limits
    /// the wait for delivery, but a busy server needs time to answer.
    fn session_deadline(&self, session: &Session) -> Option<Time> {
        let deadline = session.deadline()?;
        if self.is_awaiting_delivery() && !session.exit_policy.has_ended() {
            return Some(deadline.max(self.last_response_at + RESPONSE_TIMEOUT_MS));
        }
        Some(deadline)
    }

    /// The exit status, once the run is over.
    pub(super) fn poll_exit_status(
        &mut self,
        session: &mut Session,
        now: Now,
    ) -> Option<ExitStatus> {
        // A script may quit right after a direct message. Continue the search for the recipient for
        // a short time.
        if session.exit_policy.is_aborted() || self.is_due(ClientTimer::UnsentLines, session, now) {
            self.cancel_resolve(session);
        }
        if session.exit_policy.has_ended() && self.has_unsent_lines(session) {
            let deadline = *self
                .unsent_deadline
                .get_or_insert(now.time + GOODBYE_TIMEOUT_MS);
            if deadline > now.time {
                return None;
            }
        }
        if self.is_server_stalled(session, now) {
            self.abandon_server(session);
        }
        if self.is_waiting_for_server(session, now) {
            return None;
        }
        let is_all_stored = self.outbox.is_empty();
        session.poll_exit_status(now, self.has_linked_peer, is_all_stored, || self.delivery)
    }

    fn has_unsent_lines(&self, session: &Session) -> bool {
        let is_quitting = session.exit_policy.exit_status().is_none();
        !self.outbox.is_empty() || is_quitting && session.has_unsent_lines()
    }

    fn is_server_stalled(&self, session: &Session, now: Now) -> bool {
        let is_due = |timer| self.is_due(timer, session, now);
        let has_unaccepted = !self.outbox.is_empty();
        is_due(ClientTimer::Response)
            || is_due(ClientTimer::Resolve)
            || has_unaccepted && is_due(ClientTimer::Session)
            || has_unaccepted && is_due(ClientTimer::UnsentLines)
    }

    /// Ends the run with an error, and stops waiting for the server.
    fn abandon_server(&mut self, session: &mut Session) {
        session.warn(
            "the p2pchat that runs in this directory does not answer: whether it stored the last \
             lines is unknown",
        );
        session.exit_policy.end(ExitStatus::GeneralError);
        self.outbox.clear();
        self.pending_opens = 0;
        self.is_peers_pending = false;
        self.unsent_deadline = None;
    }

    fn is_waiting_for_server(&self, session: &Session, now: Now) -> bool {
        let is_asking = self.is_response_due() || self.outbox.unresolved().is_some();
        let is_in_time = !self.is_due(ClientTimer::Session, session, now);
        (is_asking || self.is_awaiting_delivery() && is_in_time) && !session.exit_policy.has_ended()
    }
}
