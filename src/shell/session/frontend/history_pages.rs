//! Which lines the next /history at a terminal shows.
use crate::base::line_key::LineKey;
use crate::base::name::Room;
use crate::ui::session_event::EventKind;

/// Where the lines on the screen begin. A /history without a number continues upwards from there.
#[derive(Debug, Default)]
pub struct HistoryPages {
    first: Option<(Room, LineKey)>,
}

impl HistoryPages {
    /// Records that lines of a room from this one on are on the screen.
    pub fn record_first(&mut self, room: &Room, first: LineKey) {
        self.first = Some((room.clone(), first));
    }

    /// Records the answer to /history. After an empty one, the next one begins at the end again.
    pub fn record_reply(&mut self, reply: &[EventKind]) {
        self.first = reply.iter().find_map(|kind| match kind {
            EventKind::Chat { chat, .. } => Some((chat.log.target.room()?.clone(), chat.key())),
            _ => None,
        });
    }

    /// Forgets what is on the screen, because the talk goes on.
    pub fn clear(&mut self) {
        self.first = None;
    }

    /// Before which line the next page of this room ends. `None`: at the newest line.
    pub fn before(&self, room: Option<&Room>) -> Option<LineKey> {
        let (of, first) = self.first.as_ref()?;
        (Some(of) == room).then_some(*first)
    }
}
