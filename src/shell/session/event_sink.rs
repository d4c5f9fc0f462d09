//! Where a session puts its events: the frontend of this process, or a connection.
use crate::ui::session_event::SessionEvent;

/// Takes the events of a session.
pub trait EventSink {
    /// Whether the sink has room for answers. While it has none, the session executes no requests.
    fn can_answer(&self) -> bool;

    /// Whether the sink has room for the transcript. While it has none, the transcript lags.
    fn can_accept(&self) -> bool;

    /// Takes an event.
    fn emit(&mut self, event: SessionEvent);
}
