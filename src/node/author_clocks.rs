//! The clocks of authors, from which the age of their lines is found. A linked author sends its
//! clocks in its hello. For other authors, a neighbour relays the clocks before the first lines.
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::node::peer_clock::PeerClock;

/// Maximum number of authors whose clocks are kept. Relayed clocks may fill only half of the table,
/// because a peer can invent authors.
const AUTHORS_MAX: usize = 16_384;

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

/// What is known of one author's clocks. Kept after the author has left.
#[derive(Default)]
struct KnownClocks {
    /// The clocks that the author's own hello gave. A hello of another run replaces them.
    direct: Option<AuthorClock>,
    /// The clocks that a neighbour relayed. They are a claim and never replace `direct`.
    relayed: Option<AuthorClock>,
}

/// The table of the authors' clocks.
#[derive(Default)]
pub struct AuthorClocks(SortedMap<PeerId, KnownClocks>);

impl AuthorClocks {
    /// Records the clock that an author's own hello gave.
    pub fn record_direct(&mut self, author: PeerId, clock: AuthorClock) {
        if let Some(known) = self.entry(author, AUTHORS_MAX) {
            let of_run = known.direct.filter(|known| known.run == clock.run);
            known.direct = Some(AuthorClock {
                clock: of_run.map_or(clock.clock, |known| known.clock.updated(clock.clock)),
                ..clock
            });
        }
    }

    /// Records a clock that a neighbour relayed. If the table has a relayed clock of the same run,
    /// keeps the older clock.
    pub fn record_relayed(&mut self, author: PeerId, clock: AuthorClock) {
        if let Some(known) = self.entry(author, AUTHORS_MAX / 2) {
            let is_known = known
                .relayed
                .is_some_and(|relayed| relayed.run == clock.run);
            if !is_known {
                known.relayed = Some(clock);
            }
        }
    }

    fn entry(&mut self, author: PeerId, authors_max: usize) -> Option<&mut KnownClocks> {
        let has_place = self.0.len() < authors_max || self.0.contains_key(&author);
        has_place.then(|| self.0.get_or_default(author))
    }

    /// The author's clock in this run. If this clock is unknown, returns the author's clock in
    /// another run. Returns `None` if no clock of the author is known.
    pub fn find(&self, author: &PeerId, run: u64) -> Option<AuthorClock> {
        let known = self.0.get(author)?;
        let clocks = [known.direct, known.relayed];
        let of_run = clocks.into_iter().flatten().find(|clock| clock.run == run);
        of_run.or(known.direct).or(known.relayed)
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
