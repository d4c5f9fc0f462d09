//! The clocks of authors, from which the age of their lines is found. A linked author sends its
//! clocks in its hello. For other authors, a neighbour relays the clocks before the first lines.
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::node::peer_clock::PeerClock;

/// Maximum number of authors in each half of [`AuthorClocks`].
const AUTHORS_MAX: usize = 8_192;

/// Maximum number of authors in [`SentClocks`].
const SENT_AUTHORS_MAX: usize = 2_048;

/// The clocks of one run of an author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorClock {
    /// The random number of the run.
    pub run: u64,
    /// The monotonic clock and the wall clock of the run.
    pub clock: PeerClock,
}

/// The authors' clocks. Kept after an author has left.
///
/// A peer can invent authors, so a relayed clock is a claim. It has a place of its own, and takes
/// none from a clock that an author's own hello gave.
#[derive(Default)]
pub struct AuthorClocks {
    /// The clocks that the authors' own hellos gave. A hello of another run replaces them.
    direct: ClockTable,
    /// The clocks that neighbours relayed.
    relayed: ClockTable,
}

impl AuthorClocks {
    /// Records the clock that an author's own hello gave. `is_linked`: whether an author is linked.
    /// If there are too many authors, forgets the one whose hello is the oldest, but no linked one.
    pub fn record_direct(
        &mut self,
        author: PeerId,
        clock: AuthorClock,
        is_linked: &dyn Fn(&PeerId) -> bool,
    ) {
        let known = self.direct.get(&author);
        let of_run = known.filter(|known| known.run == clock.run);
        let clock = AuthorClock {
            clock: of_run.map_or(clock.clock, |known| known.clock.updated(clock.clock)),
            ..clock
        };
        self.direct.insert(author, clock, None, is_linked);
    }

    /// Records a clock that the neighbour `relay` relayed. If the table has a relayed clock of the
    /// same run, keeps the older clock. If there are too many authors, forgets the oldest clock of
    /// the neighbour that relayed the most. A neighbour that invents authors thus displaces its own
    /// clocks.
    pub fn record_relayed(&mut self, author: PeerId, clock: AuthorClock, relay: PeerId) {
        let known = self.relayed.get(&author);
        if known.is_none_or(|known| known.run != clock.run) {
            self.relayed.insert(author, clock, Some(relay), &|_| false);
        }
    }

    /// The author's clock in this run. If this clock is unknown, returns the author's clock in
    /// another run. Returns `None` if no clock of the author is known.
    pub fn find(&self, author: &PeerId, run: u64) -> Option<AuthorClock> {
        let (direct, relayed) = (self.direct.get(author), self.relayed.get(author));
        let mut clocks = direct.into_iter().chain(relayed);
        let of_run = clocks.find(|clock| clock.run == run);
        of_run.or(direct).or(relayed)
    }
}

/// At most [`AUTHORS_MAX`] clocks, one of each author.
#[derive(Default)]
struct ClockTable {
    clocks: SortedMap<PeerId, RecordedClock>,
    /// Number of clocks by [`RecordedClock::relay`].
    counts: SortedMap<Option<PeerId>, usize>,
    /// Number of clocks that were ever recorded.
    recorded: u64,
}

struct RecordedClock {
    clock: AuthorClock,
    /// The neighbour that relayed the clock. `None`: the author's own hello gave it.
    relay: Option<PeerId>,
    /// The order of recording: the oldest clock has the smallest number.
    number: u64,
}

impl ClockTable {
    fn get(&self, author: &PeerId) -> Option<AuthorClock> {
        self.clocks.get(author).map(|known| known.clock)
    }

    /// Records an author's clock. `relay`: see [`RecordedClock::relay`]. If the table is full,
    /// first removes the oldest clock of the neighbour that relayed the most. Removes no clock for
    /// whose author `is_kept` is `true`.
    fn insert(
        &mut self,
        author: PeerId,
        clock: AuthorClock,
        relay: Option<PeerId>,
        is_kept: &dyn Fn(&PeerId) -> bool,
    ) {
        self.remove(&author);
        if self.clocks.len() >= AUTHORS_MAX {
            let most = self.counts.iter().max_by_key(|(_, count)| **count);
            let most = most.and_then(|(relay, _)| *relay);
            let of_most = self.clocks.iter().filter(|(_, known)| known.relay == most);
            let removable = of_most.filter(|(author, _)| !is_kept(author));
            let oldest = removable.min_by_key(|(_, known)| known.number);
            let Some(oldest) = oldest.map(|(author, _)| *author) else {
                return;
            };
            self.remove(&oldest);
        }
        self.recorded += 1;
        *self.counts.get_or_default(relay) += 1;
        let recorded = RecordedClock {
            clock,
            relay,
            number: self.recorded,
        };
        self.clocks.insert(author, recorded);
    }

    fn remove(&mut self, author: &PeerId) {
        let Some(known) = self.clocks.remove(author) else {
            return;
        };
        let count = self.counts.get_or_default(known.relay);
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&known.relay);
        }
    }
}

/// The clocks that were sent on one link. Keeps the last sent run of each author.
#[derive(Default)]
pub struct SentClocks(SortedMap<PeerId, u64>);

impl SentClocks {
    /// Returns whether the caller must send the clock of this run. If so, counts the clock as sent.
    /// Returns `false` if the last clock sent for this author is of the same run.
    pub fn insert(&mut self, author: PeerId, run: u64) -> bool {
        if self.0.get(&author) == Some(&run) {
            return false;
        }
        // Clocks that are forgotten here are sent again.
        if self.0.len() >= SENT_AUTHORS_MAX {
            self.0 = SortedMap::new();
        }
        self.0.insert(author, run);
        true
    }

    /// Number of authors.
    pub fn author_count(&self) -> usize {
        self.0.len()
    }
}
