//! The verdicts on news, for readers and authors of any age, in any order, with any wall clocks:
//! what was said after the reader began is shown exactly once, what was said before never.
use p2pchat::base::name::Room;

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::{PeerIndex, WALL_START_MS, YEAR_2040_MS};

/// Who began first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Reader,
    Author,
}

/// How the author's lines come to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    /// Its program runs, and is linked with the reader.
    Runs,
    /// Its program has ended; a relay brings its lines.
    Ended,
    /// It is there only to send, and stores lines while it reaches nobody.
    SendOnly,
    /// Its program runs, and reaches the reader only through a relay.
    BehindRelay,
}

/// A wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WallClock {
    Sane,
    Year1970,
    Year2040,
    /// Between 1970, 2040 and the right time.
    Jumps,
}

const AUTHORS: [Author; 4] = [
    Author::Runs,
    Author::Ended,
    Author::SendOnly,
    Author::BehindRelay,
];
const CLOCKS: [WallClock; 4] = [
    WallClock::Sane,
    WallClock::Year1970,
    WallClock::Year2040,
    WallClock::Jumps,
];

/// One case, and its simulation.
struct Case {
    lan: Lan,
    author: PeerIndex,
    relay: PeerIndex,
    reader: PeerIndex,
    clocks: [(PeerIndex, WallClock); 2],
    steps: usize,
}

impl Case {
    fn new(seed: u64, author_clock: WallClock, reader_clock: WallClock) -> Case {
        let mut lan = Lan::new(seed);
        let [author, relay, reader] = lan.add_peers(["author", "relay", "reader"]);
        let clocks = [(author, author_clock), (reader, reader_clock)];
        let mut case = Case {
            lan,
            author,
            relay,
            reader,
            clocks,
            steps: 0,
        };
        case.set_clocks();
        case
    }

    /// Sets the wall clocks; those that jump show another time after each step.
    fn set_clocks(&mut self) {
        let wrong = [-WALL_START_MS, YEAR_2040_MS - WALL_START_MS, 0];
        for (who, clock) in self.clocks {
            self.lan.peers[who].wall_skew_ms = match clock {
                WallClock::Sane => 0,
                WallClock::Year1970 => wrong[0],
                WallClock::Year2040 => wrong[1],
                WallClock::Jumps => wrong[self.steps % 3],
            };
        }
    }

    fn step(&mut self, ms: u64) {
        self.lan.run_for(ms);
        self.steps += 1;
        self.set_clocks();
    }

    fn say(&mut self, text: &str) {
        self.lan.say(self.author, text);
        self.step(2_000);
    }

    /// The author begins before the reader, says `old`, and if it can, `new` after the reader
    /// began. Returns the news.
    fn author_first(&mut self, kind: Author) -> Vec<&'static str> {
        let (author, reader) = (self.author, self.reader);
        self.lan.start_all([author, self.relay]);
        self.step(2_000);
        self.say("old");
        match kind {
            Author::Runs => {
                self.lan.start(reader);
                self.step(3_000);
                self.say("new");
            }
            Author::Ended => {
                self.lan.stop(author);
                self.step(2_000);
                self.lan.start(reader);
                self.step(10_000);
                return Vec::new();
            }
            Author::SendOnly => {
                self.lan.stop(author);
                self.step(2_000);
                self.lan.start(reader);
                self.step(10_000);
                self.lan.start(author);
                self.say("new");
                self.lan.stop(author);
            }
            Author::BehindRelay => {
                self.lan.start(reader);
                self.step(3_000);
                self.say("new");
            }
        }
        vec!["new"]
    }

    /// The reader begins before the author, which says one line that the reader can't get at once,
    /// and if it can, another one. Returns the news.
    fn reader_first(&mut self, kind: Author) -> Vec<&'static str> {
        let (author, reader) = (self.author, self.reader);
        self.lan.start_all([self.relay, reader]);
        self.step(2_000);
        match kind {
            Author::Runs => {
                self.lan.isolate(author);
                self.lan.start(author);
                self.say("one");
                self.lan.heal();
                self.step(10_000);
                self.say("two");
            }
            Author::Ended => {
                self.lan.cut(reader, self.relay);
                self.lan.cut(reader, author);
                self.step(20_000);
                self.lan.start(author);
                self.step(2_000);
                self.say("one");
                self.say("two");
                self.lan.stop(author);
                self.step(2_000);
                self.lan.heal();
            }
            Author::SendOnly => {
                self.lan.isolate(author);
                self.lan.start(author);
                self.say("one");
                self.lan.stop(author);
                self.lan.heal();
                self.lan.start(author);
                self.say("two");
                self.lan.stop(author);
            }
            Author::BehindRelay => {
                self.lan.start(author);
                self.say("one");
                self.say("two");
            }
        }
        vec!["one", "two"]
    }
}

/// Runs one case, and returns what went wrong, if anything.
fn failure(seed: u64, first: First, kind: Author, clocks: [WallClock; 2]) -> Option<String> {
    let mut case = Case::new(seed, clocks[0], clocks[1]);
    let (author, reader) = (case.author, case.reader);
    if kind == Author::BehindRelay {
        case.lan.remove_path(author, reader);
    }
    if kind == Author::SendOnly {
        case.lan.peers[author].transient = true;
    }
    let expected = match first {
        First::Author => case.author_first(kind),
        First::Reader => case.reader_first(kind),
    };
    case.step(REDIAL_MS);
    let received = case.lan.peers[reader].received();
    // A reader that comes again shows nothing again.
    case.lan.stop(reader);
    case.step(1_000);
    case.lan.start(reader);
    case.step(20_000);
    let again = case.lan.peers[reader].received();
    let lines = case.lan.history(reader, &Room::general()).len();
    let is_right = received == expected && again.is_empty() && lines > 0;
    let [of_author, of_reader] = clocks;
    (!is_right).then(|| {
        format!(
            "{first:?} first, author {kind:?} at {of_author:?}, reader at {of_reader:?}: \
             {received:?}, not {expected:?}; then {again:?}; {lines} stored"
        )
    })
}

#[test]
fn verdicts_hold_for_all_ages_orders_and_clocks() {
    let mut failures = Vec::new();
    let mut seed = 0;
    for first in [First::Reader, First::Author] {
        for kind in AUTHORS {
            for of_author in CLOCKS {
                for of_reader in CLOCKS {
                    seed += 1;
                    failures.extend(failure(seed, first, kind, [of_author, of_reader]));
                }
            }
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} cases:\n{}",
        failures.join("\n")
    );
}

/// After a reboot, a reader's beginning is known by the wall clock: also if that was set only
/// after the beginning, and if it is not set yet in this boot.
#[test]
fn a_reboot_keeps_the_beginning_of_a_reader() {
    let unset = -WALL_START_MS;
    for (at_beginning, later, after_reboot) in [
        (0, 0, 0),
        // Set in the boot of the beginning.
        (unset, 0, 0),
        // Not set yet in the boot that follows.
        (0, 0, unset),
        (unset, 0, unset),
    ] {
        let mut lan = Lan::new(40);
        let [reader, author, stranger] = lan.add_peers(["reader", "author", "stranger"]);
        lan.peers[reader].wall_skew_ms = at_beginning;
        lan.isolate(stranger);
        lan.start_all([author, stranger]);
        lan.say(author, "old");
        lan.say(stranger, "strange and old");
        lan.run_for(120_000);
        lan.start(reader);
        lan.run_for(3_000);
        lan.peers[reader].wall_skew_ms = later;
        lan.run_for(60_000);
        lan.power_off(reader);
        lan.peers[reader].wall_skew_ms = after_reboot;
        lan.run_for(60_000);
        lan.say(author, "between");
        lan.say(stranger, "strange");
        lan.run_for(60_000);
        lan.heal();
        lan.start(reader);
        lan.run_for(REDIAL_MS);
        lan.say(author, "new");
        lan.run_for(2_000);
        let mut received = lan.peers[reader].received();
        received.sort();
        let case = format!("{at_beginning}, {later}, {after_reboot}");
        assert_eq!(received, ["between", "new", "strange"], "{case}");
        assert_eq!(lan.history(reader, &Room::general()).len(), 5, "{case}");
    }
}

/// A reader that was linked with the run that said a line dates the line by that run, also if the
/// author brings it in its next run, with another wall clock.
#[test]
fn an_author_that_restarts_with_another_wall_clock_brings_news() {
    let unset = -WALL_START_MS;
    for (before, after) in [(unset, 0), (0, YEAR_2040_MS - WALL_START_MS)] {
        let mut lan = Lan::new(41);
        let [reader, author] = lan.add_peers(["reader", "author"]);
        lan.peers[author].wall_skew_ms = before;
        lan.start_all([reader, author]);
        lan.run_for(5_000);
        lan.isolate(author);
        lan.run_for(60_000);
        lan.say(author, "new");
        lan.run_for(2_000);
        lan.stop(author);
        lan.peers[author].wall_skew_ms = after;
        lan.start(author);
        lan.heal();
        lan.run_for(REDIAL_MS);
        assert_eq!(lan.peers[reader].received(), ["new"], "{before}, {after}");
    }
}

/// The reader restarts, too: it no longer knows the clocks of the author's previous run. That it
/// has stored news of that run shows that what the run said later is news, in each of its rooms.
#[test]
fn a_reader_that_restarts_as_well_gets_the_news() {
    for skew in [3_600_000, -3_600_000, YEAR_2040_MS - WALL_START_MS] {
        let mut lan = Lan::new(43);
        let [reader, author] = lan.add_peers(["reader", "author"]);
        lan.start_all([reader, author]);
        for peer in [reader, author] {
            lan.join(peer, "#ops");
        }
        lan.run_for(5_000);
        lan.say(author, "first");
        lan.run_for(2_000);
        lan.isolate(author);
        lan.stop(reader);
        lan.run_for(10_000);
        lan.say(author, "second");
        lan.say_in(author, "#ops", "third");
        lan.run_for(2_000);
        lan.stop(author);
        lan.peers[author].wall_skew_ms = skew;
        lan.start_all([author, reader]);
        for peer in [reader, author] {
            lan.join(peer, "#ops");
        }
        lan.heal();
        lan.run_for(REDIAL_MS);
        let mut received = lan.peers[reader].received();
        received.sort();
        assert_eq!(received, ["second", "third"], "{skew}");
    }
}
