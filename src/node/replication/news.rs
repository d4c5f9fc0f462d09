//! Decides which lines are news. A line is news for a reader if it was published after the reader
//! first came into the room. Everything older is history.
//!
//! The moment of publication is found once, when the line arrives, on our monotonic clock. It
//! decides three verdicts:
//!
//! | verdict | the line was published |
//! |---|---|
//! | late | before the link that brought the line was established |
//! | before the start | before this program started |
//! | news | at or after the reader's beginning |
//!
//! # The moment of publication
//!
//! | known clock | the moment | wrong only if |
//! |---|---|---|
//! | of the run that published | the run's start + `uptime` | a relay lies |
//! | of another run of the author | `timestamp`, by the author's wall clock | that clock was set |
//! | none | `timestamp`, by our wall clock | our clock or the author's is wrong |
//! | none, `timestamp` in our future | unknown: older than everything | the line was new |
//!
//! If no clock of the author is known, the line's Lamport number serves as a second timestamp. The
//! later of the two timestamps counts. A Lamport number in our future is ignored. The Lamport
//! number shows that the author had heard a line of that time.
//!
//! Whatever the clocks say now, a line is news as well if its author has published news before. The
//! Lamport numbers of an author order its lines, over all its logs and runs. Where news begin is
//! learned only from a line whose signed timestamp agreed with our clock when it arrived: see
//! [`LogRange::record_news`](crate::base::range::LogRange::record_news). An author whose clock was
//! in the future before it lost its directory may bring older lines as news.
//!
//! # The reader's beginning
//!
//! | the reader began | its beginning on our monotonic clock |
//! |---|---|
//! | in this boot | exact |
//! | in an earlier boot | found anew from our wall clock at every comparison |
//! | in our future | unknown, our wall clock is not set: `timestamp` decides |
//!
//! In the second case, setting the wall clock corrects the beginning. In the last case, every line
//! that was published since our program started is news.
//!
//! A wall clock may stand still while the machine is off. Until the clock is set, the beginning
//! seems too late. Lines published between the true and the seeming beginning count as history.
use crate::base::batch::batch::{Batch, LogId};
use crate::base::batch::batch_layout::identifying_parts;
use crate::base::name::{Room, Target};
use crate::base::table::SortedMap;
use crate::base::time::{CLOCK_ERROR_MAX_MS, Now, ReaderStart, Time, WallTime};
use crate::node::author_clocks::AuthorClocks;
use crate::node::context::Context;
use crate::node::peer_clock::PeerClock;
use crate::node::replication::logs::table::Logs;

/// What dates a batch, from the best evidence to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The clock of the run that published the batch.
    SameRun(PeerClock),
    /// The clock of another run of the author.
    OtherRun(PeerClock),
    /// Our wall clock, because no clock of the author is known.
    OwnClock,
}

impl Evidence {
    /// The best evidence for this batch.
    pub fn of(batch: &Batch, clocks: &AuthorClocks) -> Evidence {
        match clocks.find(&batch.log.author, batch.run) {
            Some(known) if known.run == batch.run => Evidence::SameRun(known.clock),
            Some(known) => Evidence::OtherRun(known.clock),
            None => Evidence::OwnClock,
        }
    }

    /// When the batch was published, in milliseconds since our program started: at most now.
    /// Negative: before our start. `i64::MIN`: unknown.
    pub fn published_at(self, batch: &Batch, now: Now) -> i64 {
        let now_ms = now.time.0.cast_signed();
        let published_at = match self {
            Evidence::SameRun(clock) => clock.time_of_uptime(batch.uptime),
            Evidence::OtherRun(clock) => clock.time_of_wall(batch.timestamp),
            Evidence::OwnClock => {
                let heard = WallTime::from_lamport(batch.lamport);
                let stamp = match heard <= now.wall {
                    true => batch.timestamp.max(heard),
                    false => batch.timestamp,
                };
                let age_ms = now.wall.0.saturating_sub(stamp.0);
                match age_ms < -CLOCK_ERROR_MAX_MS.cast_signed() {
                    true => i64::MIN,
                    false => now_ms.saturating_sub(age_ms),
                }
            }
        };
        published_at.min(now_ms)
    }
}

/// How old a line is, as far as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The line was published before the link that brought the line was established.
    pub is_late: bool,
    /// The line was published before this program started.
    pub is_before_start: bool,
    /// The line is news for the first reader of the room. If not, it is history for all.
    pub is_news: bool,
    /// When the line was published, by our wall clock, if it is history for the last reader of the
    /// room. The transcript of each reader compares it with the reader's beginning.
    pub published: Option<WallTime>,
}

/// When the readers of a room began.
#[derive(Clone, Copy)]
struct Readers {
    first: ReaderStart,
    last: ReaderStart,
}

/// The readers of this directory.
#[derive(Default)]
pub struct News {
    /// When each room's readers began. A room without an entry has no reader.
    readers: SortedMap<Room, Readers>,
    /// The parts of printed batches that the disk has damaged. The store bounds them.
    printed_parts: Vec<Box<[u8]>>,
}

impl News {
    /// Records when a reader of a room began. Until the first call, no line of the room is news.
    pub fn open_reader(&mut self, room: Room, start: ReaderStart) {
        let readers = Readers {
            first: start,
            last: start,
        };
        let readers = self.readers.get_or_insert_with(room, || readers);
        if start.is_no_later_than(readers.first) {
            readers.first = start;
        }
        if readers.last.is_no_later_than(start) {
            readers.last = start;
        }
    }

    /// Records parts of batches that were printed. These batches are no news when they come again.
    pub fn record_printed(&mut self, parts: Vec<Box<[u8]>>) {
        for part in parts {
            if !self.printed_parts.contains(&part) {
                self.printed_parts.push(part);
            }
        }
    }

    /// Whether the batch was printed before the disk damaged it.
    fn was_printed(&self, batch: &Batch) -> bool {
        let is_recorded = |part: &[u8]| self.printed_parts.iter().any(|it| **it == *part);
        !self.printed_parts.is_empty() && identifying_parts(batch.as_bytes()).any(is_recorded)
    }

    /// Judges a batch that another author wrote, or that we wrote in an earlier run.
    /// `established_at`: when the link that brought the batch was established.
    pub fn judge(
        &self,
        ctx: &Context,
        logs: &Logs,
        batch: &Batch,
        established_at: Time,
    ) -> Verdict {
        let evidence = Evidence::of(batch, &ctx.author_clocks);
        let published_at = evidence.published_at(batch, ctx.now);
        // The user saw our own lines when typing them. A direct message concerns its recipient
        // whenever it was written.
        let room = batch.log.target.room();
        let readers = room.and_then(|room| self.readers.get(room));
        let is_since =
            |start: ReaderStart| is_at_or_after(start, published_at, batch.timestamp, ctx.now);
        let is_news = batch.log.author != ctx.own_id()
            && (room.is_none()
                || readers.is_some_and(|readers| {
                    is_since(readers.first) || self.follows_news(logs, batch, readers.first)
                }))
            && !self.was_printed(batch);
        let is_old_for_last = readers.is_some_and(|readers| !is_since(readers.last));
        Verdict {
            is_late: published_at < established_at.0.cast_signed(),
            is_before_start: published_at < 0,
            is_news,
            published: is_old_for_last.then(|| published_wall(published_at, ctx.now)),
        }
    }

    /// Whether the author published news before this batch, in a room whose reader began at `start`
    /// or later.
    fn follows_news(&self, logs: &Logs, batch: &Batch, start: ReaderStart) -> bool {
        self.readers.iter().any(|(room, other)| {
            let log = LogId {
                target: Target::Room(room.clone()),
                ..batch.log.clone()
            };
            let mut ranges = logs.ranges_of_author(&log);
            start.is_no_later_than(other.first)
                && ranges.any(|range| range.news_from.is_some_and(|first| first <= batch.lamport))
        })
    }
}

/// The moment `published_at` on our wall clock; zero if it is unknown.
fn published_wall(published_at: i64, now: Now) -> WallTime {
    let age_ms = now.time.0.cast_signed().saturating_sub(published_at);
    WallTime(now.wall.0.saturating_sub(age_ms).max(0))
}

/// Whether a line was published at or after the beginning of a reader. `published_at`: see
/// [`Evidence::published_at`].
pub fn is_at_or_after(
    start: ReaderStart,
    published_at: i64,
    timestamp: WallTime,
    now: Now,
) -> bool {
    match start {
        ReaderStart::SameBoot { at_ms } => published_at >= at_ms,
        ReaderStart::EarlierBoot { wall } if now.wall < wall => {
            published_at >= 0 || timestamp >= wall
        }
        ReaderStart::EarlierBoot { wall } => {
            let age_ms = now.wall.0.saturating_sub(wall.0);
            let began_at = now.time.0.cast_signed().saturating_sub(age_ms);
            // The reader began before this program started, whatever the clock says.
            published_at >= began_at.min(0)
        }
    }
}
