//! The end of a run: the goodbye to the peers, the last output, and the marker of a clean end.
use std::io;
use std::time::Duration;

use mio::Events;

use crate::base::event::command::Command;
use crate::base::event::input::Input;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::shell::runtime::poll_sources;
use crate::shell::session::frontend::shutdown::{CLOSE_TIMEOUT_MS, GOODBYE_TIMEOUT_MS};

impl EventLoop {
    /// Says goodbye to the peers, and closes the session. If the run went well, also closes the
    /// store and writes the marker of a clean end.
    pub(super) fn shut_down(mut self, events: &mut Events, went_well: bool) -> io::Result<()> {
        let goodbye_deadline = self.now.time + GOODBYE_TIMEOUT_MS;
        let close_deadline = goodbye_deadline + CLOSE_TIMEOUT_MS;
        self.ipc_server.close();
        self.handle_input(Input::Command(Command::Leave));
        self.port_mapping.begin_delete();
        while self.streams.has_unsent() && self.now.time < goodbye_deadline {
            self.poll_events(events, goodbye_deadline.ms_since(self.now.time))?;
            self.flush_streams(events);
        }
        self.finders.withdraw();
        self.now = self.clock.now();
        let left_ms = goodbye_deadline.ms_since(self.now.time);
        self.port_mapping
            .wait_deleted(Duration::from_millis(left_ms));
        self.now = self.clock.now();
        let (node, datagrams) = (self.node.counters(), self.multicast.counters());
        self.frontend
            .debug(|| format!("{node:?}, datagrams: {datagrams:?}"));
        self.close_session(close_deadline.ms_since(self.now.time));
        // Without the marker the next run begins a new incarnation, which is always safe.
        if went_well && self.store.close(&self.node).is_ok() {
            let _ = self.state.write_clean_marker(&self.node.resume_state());
        }
        Ok(())
    }

    /// Writes unsent bytes to the streams. Also reads from the streams, but only to notice that a
    /// stream has ended. Drops the bytes read, because the core has closed every link.
    fn flush_streams(&mut self, events: &Events) {
        let mut changes = Vec::new();
        for event in events
            .iter()
            .filter(|event| poll_sources::is_stream(event.token()))
        {
            self.streams.handle_event(event, &mut changes);
        }
        for stream in self.streams.take_readable() {
            let _ = self.streams.read(stream, &mut self.read_buffer);
        }
    }
}
