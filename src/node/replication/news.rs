//! Remembers when this run first met each member of its rooms. Lines that a member publishes
//! after that are news, whoever brings them.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;

/// Most members of all rooms together. Members that were never linked may take half of the
/// places, so that peers which others merely name cannot crowd out linked ones.
const CONTACTS_MAX: usize = 16_384;
/// Programs whose starts differ by at most this many milliseconds count as started together.
pub const START_OFFSET_SLACK_MS: i64 = 250;

struct FirstContact {
    /// The link over which the member first advertised its lines of the room. `None`: it was only
    /// reachable through others so far.
    stream: Option<StreamId>,
    /// When it was first linked in the room, or reachable there.
    at: Time,
}

/// The first contact with each member of each room.
#[derive(Default)]
pub struct News(SortedMap<(Room, PeerId), FirstContact>);

impl News {
    /// Records that a peer advertised its lines of a room over the link `stream`, or, with
    /// `None`, that it is reachable there through others. Later contacts change nothing.
    pub fn record_contact(
        &mut self,
        room: &Room,
        peer: PeerId,
        stream: Option<StreamId>,
        at: Time,
    ) {
        let places = match stream {
            Some(_) => CONTACTS_MAX,
            None => CONTACTS_MAX / 2,
        };
        if self.0.len() < places {
            let key = (room.clone(), peer);
            let first = self
                .0
                .get_or_insert_with(key, || FirstContact { stream, at });
            first.stream = first.stream.or(stream);
        }
    }

    fn first_contact(&self, log: &LogId, peer: PeerId) -> Option<&FirstContact> {
        let room = log.target.room()?;
        self.0.get(&(room.clone(), peer))
    }

    /// Whether the peer of this link first advertised its lines of the log's room over this very
    /// link, or has yet to do so.
    pub fn is_first_link(&self, ctx: &Context, stream: StreamId, log: &LogId) -> bool {
        let link = ctx.links.get(&stream);
        let first = link.and_then(|link| self.first_contact(log, link.peer.id)?.stream);
        first.is_none_or(|over| over == stream)
    }

    /// Whether all lines of this log that we lack were published after we met its author.
    ///
    /// True if the author's program (`start_offset_ms` older than ours; `None`: unknown) started
    /// after the first contact. Also true if the author had advertised all its logs at first
    /// contact over another link, unless `is_first_contact`: a neighbour just met may store lines
    /// that the author itself has lost.
    pub fn is_news(
        &self,
        stream: StreamId,
        log: &LogId,
        start_offset_ms: Option<i64>,
        is_first_contact: bool,
    ) -> bool {
        self.first_contact(log, log.author).is_some_and(|first| {
            let met_at = first.at.0 as i64 + START_OFFSET_SLACK_MS;
            let began_after =
                start_offset_ms.is_some_and(|offset| met_at < offset.saturating_neg());
            began_after || !is_first_contact && first.stream.is_some_and(|over| over != stream)
        })
    }
}
