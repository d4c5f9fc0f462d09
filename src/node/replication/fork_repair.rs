//! Own logs of which a peer holds something else, for this directory is an old copy, or there is one: from which line on is found by comparing
//! batch with batch; and what is only ours from there on is said again, in a log of its own.
use crate::base::batch::{Batch, LogId};
use crate::base::event::StreamId;
use crate::base::identity::Hash;
use crate::base::name::{Folder, Target};
use crate::base::range::Range;
use crate::base::table::Table;
use crate::node::context::Hub;
use crate::node::replication::delivery::Receipts;
use crate::node::replication::fetch::want;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::{LOAD_BYTES, load};

/// Stands for no stream: what the store reads for it is said again.
pub const AGAIN: StreamId = StreamId(u64::MAX);
/// Stands for no stream: what the store reads for it is compared.
pub const COMPARE: StreamId = StreamId(u64::MAX - 1);
/// Most comparisons under way or done on the links that stand.
const COMPARED_MAX: usize = 1024;
/// The bits of an incarnation in which a line stands.
const LINES: u64 = (1 << 40) - 1;

/// How far a peer's lines of an own log are ours.
struct Compared {
    /// Up to this one they are.
    same: u64,
    /// From this one on they are not, or one of both has none.
    other: u64,
    /// What `other` was at first.
    end: u64,
    /// The batch of the peer's that is compared with the store's: its first line, and its hash.
    theirs: Option<(u64, Hash)>,
}

impl Compared {
    /// The line to be asked for next; `None`: it is found.
    fn next(&self) -> Option<u64> {
        let open = self.other.saturating_sub(self.same + 1);
        (open > 0).then(|| self.same + 1 + open / 2)
    }
}

#[derive(Default)]
pub struct Again {
    compared: Table<(StreamId, LogId), Compared>,
}

impl Again {
    pub fn keep(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.compared.retain(|key, _| which(key));
    }

    /// Is this log being compared with that of this peer, or was it?
    pub fn knows(&self, key: &(StreamId, LogId)) -> bool {
        self.compared.contains_key(key)
    }

    /// The peer holds something else somewhere in its lines of this own log: it is asked for them, one here and one there.
    pub fn compare(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        key: &(StreamId, LogId),
        (low, high): (u64, u64),
    ) {
        let Some(range) = logs.get(&key.1) else {
            return;
        };
        if self.compared.len() >= COMPARED_MAX && !self.knows(key) {
            return;
        }
        let end = range.high.min(high).saturating_add(1);
        let compared = self.compared.get_or_insert_with(key.clone(), || Compared {
            same: range.low.saturating_sub(1),
            other: end,
            end,
            theirs: None,
        });
        // What it no longer has cannot be compared.
        let gone = low.saturating_sub(1).min(compared.other.saturating_sub(1));
        compared.same = compared.same.max(gone);
        if let Some(line) = compared.next() {
            want(hub, key, (line, 0));
        }
    }

    /// Is this what was asked for?
    pub fn awaits(&self, key: &(StreamId, LogId), batch: &Batch) -> bool {
        let line = self.compared.get(key).and_then(Compared::next);
        line.is_some_and(|line| batch.sequence <= line && line <= batch.last())
    }

    /// What was asked for has come: the store is asked what is ours there.
    pub fn take(&mut self, hub: &mut Hub, key: &(StreamId, LogId), batch: &Batch) {
        if let Some(compared) = self.compared.get_mut(key) {
            compared.theirs = Some((batch.sequence, batch.hash));
            want(hub, key, (0, 0));
            load(hub, COMPARE, key.1.clone(), batch.sequence, None, 1);
        }
    }

    /// What is ours there. Gives the line from which on it is found to be ours alone.
    pub fn read(
        &mut self,
        hub: &mut Hub,
        log: &LogId,
        from: u64,
        ours: Option<&Batch>,
    ) -> Option<u64> {
        let ours = ours?;
        let mut found = None;
        for (key, compared) in self.compared.iter_mut().filter(|(key, _)| key.1 == *log) {
            let Some((_, hash)) = compared.theirs.filter(|(first, _)| *first == from) else {
                continue;
            };
            compared.theirs = None;
            let last = compared.other.saturating_sub(1);
            if ours.hash == hash {
                compared.same = ours.last().min(last);
            } else if ours.sequence <= from {
                compared.other = ours.sequence.max(compared.same + 1);
            } else {
                // The store gave up what lies before.
                compared.same = compared.same.max(ours.sequence - 1).min(last);
            }
            match compared.next() {
                Some(line) => want(hub, key, (line, 0)),
                None if compared.other < compared.end => found = Some(compared.other),
                None => {}
            }
        }
        found
    }
}

/// From this line on the own log is not what a peer holds: what nobody holds of it is said again. Once: the log for it is the same in every run, and
/// tells how much of it was said.
pub fn begin(hub: &mut Hub, logs: &mut Logs, receipts: &Receipts, log: &LogId, line: u64) {
    let from = line.max(receipts.best(log) + 1);
    let high = logs.get(log).map_or(0, |range| range.high);
    let before = logs.given_up().get(log);
    if from <= high && before.is_none_or(|before| from < *before) {
        logs.give_up(log, from);
        go_on(hub, logs, log);
    }
}

/// A part of the history was opened: what an earlier run began is gone on with.
pub fn opened(hub: &mut Hub, logs: &mut Logs, folder: &Folder) {
    let mut own = logs.in_folder(folder, &hub.id());
    own.retain(|range| range.log.author == hub.id());
    for range in &own {
        let zeroth = incarnation_of(range, 0);
        let at = |number| (&range.log.target, number);
        let first = own.partition_point(|other| order(&other.log) < at(zeroth & !LINES));
        let near = own.iter().skip(first);
        let lines = near
            .take_while(|other| order(&other.log) <= at(zeroth | LINES))
            .map(|other| other.log.incarnation ^ zeroth);
        if let Some(from) = lines.filter(|line| (1..=range.high).contains(line)).min() {
            logs.give_up(&range.log, from);
            go_on(hub, logs, &range.log);
        }
    }
}

fn order(log: &LogId) -> (&Target, u64) {
    (&log.target, log.incarnation)
}

/// The log in which this one is said again, and the line to be said next.
pub fn next(logs: &Logs, log: &LogId) -> Option<(LogId, u64)> {
    let from = *logs.given_up().get(log)?;
    let again = LogId {
        incarnation: incarnation_of(logs.get(log)?, from),
        ..log.clone()
    };
    let said = logs.get(&again).map_or(0, |range| range.high);
    Some((again, from + said))
}

fn go_on(hub: &mut Hub, logs: &Logs, log: &LogId) {
    if let Some((_, next)) = next(logs, log)
        && logs.get(log).is_some_and(|range| next <= range.high)
    {
        load(hub, AGAIN, log.clone(), next, None, LOAD_BYTES);
    }
}

/// The store takes lines again.
pub fn resume(hub: &mut Hub, logs: &Logs) {
    for log in logs.given_up().keys() {
        go_on(hub, logs, log);
    }
}

/// Does this log hold what is said again of another?
pub fn holds(logs: &Logs, log: &LogId) -> bool {
    let mut all = logs.given_up().iter();
    all.any(|(other, from)| {
        let range = logs.get(other);
        range.is_some_and(|range| incarnation_of(range, *from) == log.incarnation)
    })
}

/// Where an own line stands that was said again.
pub fn place(logs: &Logs, log: &LogId, line: u64) -> Option<(LogId, u64)> {
    let from = *logs.given_up().get(log)?;
    let (again, _) = next(logs, log)?;
    (line >= from).then(|| (again, line - from + 1))
}

/// A number that no other program draws for its own lines; a later run finds it again, and the line in its lowest bits. The log ends with what
/// is said again: where it ends otherwise, the directory is an older copy still, and what it holds came back from others.
fn incarnation_of(range: &Range, from: u64) -> u64 {
    let incarnation = range.log.incarnation.to_be_bytes();
    let hash = Hash::of(&[b"p2pchat again\0", &incarnation, &range.hash.0]);
    let number = hash.0.iter().take(8);
    number.fold(0, |n, byte| n << 8 | u64::from(*byte)) ^ from
}
