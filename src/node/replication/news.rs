//! Who was there in each room during our run: what it says after we first met is news, over whatever way it comes.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;

/// Most members of all rooms that are kept; of those that were only reached through others, half as many.
const CONTACTS_MAX: usize = 16_384;
/// A program that started this much later still counts as of the same age, in milliseconds: programs started together differ by as much.
pub const START_OFFSET_SLACK_MS: i64 = 250;

struct FirstContact {
    /// The link over which it first said what it holds of the room. `None`: it was only reached through others.
    stream: Option<StreamId>,
    /// When we first knew it to be there.
    at: Time,
}

#[derive(Default)]
pub struct News(SortedMap<(Room, PeerId), FirstContact>);

impl News {
    /// A peer says over a link what it holds of a room, or it is there, though only through others.
    pub fn record_contact(&mut self, room: &Room, peer: PeerId, over: Option<StreamId>, at: Time) {
        // Whoever others name takes no place of one that is linked.
        let most = CONTACTS_MAX / if over.is_some() { 1 } else { 2 };
        if self.0.len() < most {
            let key = (room.clone(), peer);
            let first = self
                .0
                .get_or_insert_with(key, || FirstContact { stream: over, at });
            first.stream = first.stream.or(over);
        }
    }

    fn first_contact(&self, log: &LogId, peer: PeerId) -> Option<&FirstContact> {
        let room = log.target.room()?;
        self.0.get(&(room.clone(), peer))
    }

    /// This neighbour first said over this link what it holds of the log's room.
    pub fn is_first_link(&self, ctx: &Context, stream: StreamId, log: &LogId) -> bool {
        let link = ctx.links.get(&stream);
        let first = link.and_then(|link| self.first_contact(log, link.peer.id)?.stream);
        first.is_none_or(|over| over == stream)
    }

    /// A log that was not there when we met its author: either the author's program, older than ours by `lead` milliseconds, began after that; or
    /// it told all it had when we met, and so did who tells of the log now. (`first`: that one does so just now, and may hold what the author has lost.)
    pub fn is_news(&self, stream: StreamId, log: &LogId, lead: i64, first: bool) -> bool {
        self.first_contact(log, log.author).is_some_and(|met| {
            let began_after = met.at.0 as i64 + START_OFFSET_SLACK_MS < lead.saturating_neg();
            began_after || !first && met.stream.is_some_and(|over| over != stream)
        })
    }
}
