//! Remembers when this run first met each member of its rooms. Lines that a member publishes
//! after that contact are news, whichever peer brings them.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;

/// Most first contacts kept, over all rooms. A contact through another peer is added only while the
/// table is less than half full, because a peer can invent members.
const CONTACTS_MAX: usize = 16_384;
/// Two programs whose starts differ by at most this many milliseconds count as started together.
pub const START_OFFSET_SLACK_MS: i64 = 250;

struct FirstContact {
    /// The link over which the member first advertised its lines of the room. `None`: the member
    /// was only reachable through other peers.
    stream: Option<StreamId>,
    /// When the member first advertised its lines of the room, or became reachable in the room.
    at: Time,
}

/// The first contact with each member of each room.
#[derive(Default)]
pub struct News(SortedMap<(Room, PeerId), FirstContact>);

impl News {
    /// Records a contact with a peer in a room. `stream`: the link over which the peer advertised
    /// its lines of the room. `None`: the peer is reachable in the room through other peers.
    ///
    /// Only the first contact sets the time. Only the first contact over a link sets the link.
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

    /// Whether this link is the first one over which its peer advertised lines of the log's room.
    /// Also true if the peer has not advertised any lines of the room yet.
    pub fn is_first_link(&self, ctx: &Context, stream: StreamId, log: &LogId) -> bool {
        let link = ctx.links.get(&stream);
        let first = link.and_then(|link| self.first_contact(log, link.peer.id)?.stream);
        first.is_none_or(|over| over == stream)
    }

    /// Whether all lines of this log that we lack were published after our first contact with the
    /// log's author. `stream`: the link over which the log is offered.
    ///
    /// True if the run of the author that `start_offset_ms` describes began after that contact.
    /// `start_offset_ms`: milliseconds by which that run began before ours; `None`: unknown.
    ///
    /// Also true if `is_first_contact` is false and the author first advertised its lines over
    /// another link than `stream`. A first contact does not count, because a neighbour that we have
    /// just met may store lines that the author has lost.
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
