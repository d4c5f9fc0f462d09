//! The clocks of authors, from which the age of their lines is found. A linked author sends its
//! clocks in its hello. For other authors, a neighbour relays the clocks before the first lines.
use crate::base::identity::PeerId;
use crate::base::table::{SortedMap, SortedSet};
use crate::node::peer_clock::PeerClock;

/// Maximum number of clocks in each half of [`AuthorClocks`].
const CLOCKS_MAX: usize = 8_192;
/// Maximum number of clocks of one author that its own hellos gave, and that each neighbour
/// relayed: those of its last two runs. An author that restarts may bring lines of its previous
/// run. The new run's wall clock can't date these lines if it was set meanwhile.
const RUNS_PER_AUTHOR_MAX: usize = 2;
/// Maximum number of clocks in [`SentClocks`].
const SENT_CLOCKS_MAX: usize = 2_048;

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
    /// The clocks that the authors' own hellos gave.
    direct: ClockTable,
    /// The clocks that neighbours relayed.
    relayed: ClockTable,
}

impl AuthorClocks {
    /// Records the clock that an author's own hello gave. `is_linked`: whether an author is linked.
    /// If there are too many clocks, forgets the oldest one, but none of a linked author.
    pub fn record_direct(
        &mut self,
        author: PeerId,
        clock: AuthorClock,
        is_linked: &dyn Fn(&PeerId) -> bool,
    ) {
        let known = self.direct.get(&author, clock.run);
        let clock = AuthorClock {
            clock: known.map_or(clock.clock, |known| known.clock.updated(clock.clock)),
            ..clock
        };
        self.direct.insert(author, clock, None, is_linked);
    }

    /// Records a clock that the neighbour `relay` relayed. If the table has a relayed clock of the
    /// same run, keeps the older clock. If there are too many clocks, forgets the oldest clock of
    /// the neighbour that relayed the most. A neighbour that invents authors or runs thus displaces
    /// its own clocks: nobody can take the place of a clock that another neighbour relayed.
    pub fn record_relayed(&mut self, author: PeerId, clock: AuthorClock, relay: PeerId) {
        if self.relayed.get(&author, clock.run).is_none() {
            self.relayed.insert(author, clock, Some(relay), &|_| false);
        }
    }

    /// The author's clock in this run. If this clock is unknown, returns the author's clock in
    /// another run. Returns `None` if no clock of the author is known.
    pub fn find(&self, author: &PeerId, run: u64) -> Option<AuthorClock> {
        let (direct, relayed) = (&self.direct, &self.relayed);
        let of_run = direct.get(author, run).or_else(|| relayed.get(author, run));
        let latest = || direct.latest(author).or_else(|| relayed.latest(author));
        of_run.or_else(latest)
    }
}

/// At most [`CLOCKS_MAX`] clocks, and at most [`RUNS_PER_AUTHOR_MAX`] of each author and relay.
#[derive(Default)]
struct ClockTable {
    /// The clocks, by author and run.
    clocks: SortedMap<(PeerId, u64), RecordedClock>,
    /// Number of clocks by [`RecordedClock::relay`].
    counts: SortedMap<Option<PeerId>, usize>,
    /// Number of clocks that were ever recorded.
    recorded: u64,
}

struct RecordedClock {
    clock: PeerClock,
    /// The neighbour that relayed the clock. `None`: the author's own hello gave it.
    relay: Option<PeerId>,
    /// The order of recording: the oldest clock has the smallest number.
    number: u64,
}

impl ClockTable {
    fn get(&self, author: &PeerId, run: u64) -> Option<AuthorClock> {
        let clock = self.clocks.get(&(*author, run))?.clock;
        Some(AuthorClock { run, clock })
    }

    /// The author's clocks, by run.
    fn of_author(&self, author: PeerId) -> impl Iterator<Item = (u64, &RecordedClock)> {
        let clocks = self.clocks.iter_from(&(author, 0));
        let clocks = clocks.take_while(move |((other, _), _)| *other == author);
        clocks.map(|((_, run), known)| (*run, known))
    }

    /// The author's clock that was recorded last.
    fn latest(&self, author: &PeerId) -> Option<AuthorClock> {
        let clocks = self.of_author(*author);
        let (run, known) = clocks.max_by_key(|(_, known)| known.number)?;
        let clock = known.clock;
        Some(AuthorClock { run, clock })
    }

    /// Records an author's clock. `relay`: see [`RecordedClock::relay`]. If there are too many
    /// clocks of the author from this relay, first removes the oldest of them. If the table is
    /// full, first removes the oldest clock of the neighbour that relayed the most. A full table
    /// loses no clock for whose author `is_kept` is `true`.
    fn insert(
        &mut self,
        author: PeerId,
        clock: AuthorClock,
        relay: Option<PeerId>,
        is_kept: &dyn Fn(&PeerId) -> bool,
    ) {
        let AuthorClock { run, clock } = clock;
        self.remove(author, run);
        let of_author = self.of_author(author);
        let same_relay = of_author.filter(|(_, known)| known.relay == relay);
        let mut runs: Vec<(u64, u64)> = same_relay.map(|(run, it)| (it.number, run)).collect();
        runs.sort_unstable();
        if let [(_, oldest), ..] = runs[..]
            && runs.len() >= RUNS_PER_AUTHOR_MAX
        {
            self.remove(author, oldest);
        }
        if self.clocks.len() >= CLOCKS_MAX {
            let most = self.counts.iter().max_by_key(|(_, count)| **count);
            let most = most.and_then(|(relay, _)| *relay);
            let of_most = self.clocks.iter().filter(|(_, known)| known.relay == most);
            let removable = of_most.filter(|((author, _), _)| !is_kept(author));
            let oldest = removable.min_by_key(|(_, known)| known.number);
            let Some((author, run)) = oldest.map(|(key, _)| *key) else {
                return;
            };
            self.remove(author, run);
        }
        self.recorded += 1;
        *self.counts.get_or_default(relay) += 1;
        let number = self.recorded;
        let recorded = RecordedClock {
            clock,
            relay,
            number,
        };
        self.clocks.insert((author, run), recorded);
    }

    fn remove(&mut self, author: PeerId, run: u64) {
        let Some(known) = self.clocks.remove(&(author, run)) else {
            return;
        };
        let count = self.counts.get_or_default(known.relay);
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&known.relay);
        }
    }
}

/// The clocks that were sent on one link, by author and run.
#[derive(Default)]
pub struct SentClocks(SortedSet<(PeerId, u64)>);

impl SentClocks {
    /// Counts the clock of this run as sent. Returns whether the caller must send the clock,
    /// because it was not sent before.
    pub fn insert(&mut self, author: PeerId, run: u64) -> bool {
        // Clocks that are forgotten here are sent again.
        if self.0.len() >= SENT_CLOCKS_MAX {
            self.0.clear();
        }
        self.0.insert((author, run))
    }

    /// Number of clocks.
    pub fn clock_count(&self) -> usize {
        self.0.len()
    }
}
