//! The lines that a client has sent and the server has not accepted yet.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Command, Position};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{FolderName, PeerSelector, Target};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::shell::ipc::message::request::{Request, encode_send};
use crate::shell::store::store::Store;

/// At this many bytes of unconfirmed lines stdin waits.
const UNCONFIRMED_MAX_BYTES: usize = 256 * 1024;
/// At this many unconfirmed sends stdin waits.
const UNCONFIRMED_MAX: usize = 1024;
/// Bytes read from the history at a time.
const READ_BYTES: usize = 64 * 1024;

/// A sent [`Request::Send`] that the server has not answered: the lines of one batch.
struct UnconfirmedSend {
    target: Target,
    lines: Lines,
    action: bool,
    /// If the server stored the batch, it lies behind this position of its folder.
    stored_after: Position,
}

/// Lines to a peer that the server is still looking for.
pub struct UnresolvedSend {
    /// The peer, as the user named it.
    pub selector: PeerSelector,
    /// What is to be sent.
    pub lines: Lines,
    /// As of /me.
    pub action: bool,
    /// Milliseconds within which the peer may still appear.
    pub timeout_ms: u64,
    /// When the server must have answered.
    pub deadline: Time,
}

/// The last line that the server stored for a target.
struct StoredHead {
    log: LogId,
    sequence: u64,
}

/// The lines on their way to the server, oldest first. It outlives the server: the next one gets
/// again what the last one did not store.
#[derive(Default)]
pub struct Outbox {
    unconfirmed: VecDeque<UnconfirmedSend>,
    /// While a peer is looked for, nothing else is sent.
    unresolved: Option<UnresolvedSend>,
    stored_heads: SortedMap<Target, StoredHead>,
}

impl Outbox {
    /// Whether the server has stored or rejected every line.
    pub fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty() && self.unresolved.is_none()
    }

    /// Whether it is empty, and the server has stored no line either.
    pub fn is_unused(&self) -> bool {
        self.is_empty() && self.stored_heads.is_empty()
    }

    /// Whether more lines can be sent.
    pub fn can_accept(&self) -> bool {
        let bytes: usize = self.unconfirmed.iter().map(|send| send.lines.len()).sum();
        self.unresolved.is_none()
            && bytes < UNCONFIRMED_MAX_BYTES
            && self.unconfirmed.len() < UNCONFIRMED_MAX
    }

    /// The lines whose peer is being looked for.
    pub fn unresolved(&self) -> Option<&UnresolvedSend> {
        self.unresolved.as_ref()
    }

    /// Sends everything to a new server.
    pub fn resend_all(&self, out: &mut Vec<u8>) {
        for StoredHead { log, sequence } in self.stored_heads.values() {
            let (log, sequence) = (log.clone(), *sequence);
            Request::AwaitDelivery { log, sequence }.encode(out);
        }
        for send in &self.unconfirmed {
            encode_send(out, &send.target, &send.lines, send.action);
        }
        if let Some(unresolved) = &self.unresolved {
            unresolved.request().encode(out);
        }
    }

    /// Sends lines, one request a batch: so the history shows which requests a server that died
    /// had executed.
    pub fn send(
        &mut self,
        out: &mut Vec<u8>,
        store: &Store,
        target: Target,
        mut lines: Lines,
        action: bool,
    ) {
        let folder = own_folder(&target);
        while !lines.is_empty() {
            let send = UnconfirmedSend {
                target: target.clone(),
                lines: lines.take_batch(),
                action,
                stored_after: store.end(&folder),
            };
            encode_send(out, &send.target, &send.lines, action);
            self.unconfirmed.push_back(send);
        }
    }

    /// Asks the server for the peer; its lines are sent once it is found.
    pub fn resolve_and_send(&mut self, out: &mut Vec<u8>, unresolved: UnresolvedSend) {
        unresolved.request().encode(out);
        self.unresolved = Some(unresolved);
    }

    /// The peer is found: sends its lines.
    pub fn complete_resolve(&mut self, out: &mut Vec<u8>, store: &Store, recipient: PeerId) {
        if let Some(unresolved) = self.unresolved.take() {
            let target = Target::Peer(recipient);
            self.send(out, store, target, unresolved.lines, unresolved.action);
        }
    }

    /// Gives up the lines whose peer is looked for: it is not found, or the run ends.
    pub fn cancel_resolve(&mut self) -> Option<UnresolvedSend> {
        self.unresolved.take()
    }

    /// The server has stored the oldest unconfirmed send; `sequence` is its last line.
    pub fn confirm_oldest(&mut self, log: LogId, sequence: u64) {
        if let Some(send) = self.unconfirmed.pop_front() {
            self.stored_heads
                .insert(send.target, StoredHead { log, sequence });
        }
    }

    /// The server has rejected the oldest unconfirmed send.
    pub fn reject_oldest(&mut self) {
        self.unconfirmed.pop_front();
    }

    /// Gives up every line that is not stored.
    pub fn clear(&mut self) {
        self.unconfirmed.clear();
        self.unresolved = None;
    }

    /// Confirms the sends that a server stored before it died without an answer, so that no line
    /// is published twice.
    pub fn drop_stored(&mut self, store: &Store, own: &PeerId) {
        while let Some(send) = self.unconfirmed.front() {
            let Some(head) = self.find_stored(store, own, send) else {
                return;
            };
            self.confirm_oldest(head.log, head.sequence);
        }
    }

    fn find_stored(
        &self,
        store: &Store,
        own: &PeerId,
        send: &UnconfirmedSend,
    ) -> Option<StoredHead> {
        let head = self.stored_heads.get(&send.target);
        let is_earlier = |batch: &Batch| {
            head.is_some_and(|head| head.log == batch.log && batch.last_sequence() <= head.sequence)
        };
        let mut position = send.stored_after;
        let folder = own_folder(&send.target);
        loop {
            let batches = store.read_from(&folder, &mut position, READ_BYTES);
            // A batch that cannot be read counts as not stored: a line sent twice is better than
            // one lost.
            let batches = batches.ok().filter(|batches| !batches.is_empty())?;
            for entry in batches {
                let batch = entry.batch;
                if batch.log.author == *own && !is_earlier(&batch) && is_same_content(&batch, send)
                {
                    return Some(StoredHead {
                        log: batch.log.clone(),
                        sequence: batch.last_sequence(),
                    });
                }
            }
        }
    }

    /// Empties the outbox into commands, for a run that publishes its lines itself from now on.
    pub fn take_commands(&mut self) -> Vec<Command> {
        let heads = std::mem::take(&mut self.stored_heads).into_values();
        let mut commands: Vec<Command> = heads
            .map(|StoredHead { log, sequence }| Command::AwaitDelivery { log, sequence })
            .collect();
        commands.extend(self.unconfirmed.drain(..).map(|send| match send.target {
            Target::Room(room) => Command::SendToRoom {
                room: Some(room),
                lines: send.lines,
                action: send.action,
            },
            Target::Peer(id) => Command::SendToPeer {
                selector: PeerSelector::from(&id),
                lines: send.lines,
                action: send.action,
                timeout_ms: 0,
            },
        }));
        commands.extend(
            self.unresolved
                .take()
                .map(|unresolved| Command::SendToPeer {
                    selector: unresolved.selector,
                    lines: unresolved.lines,
                    action: unresolved.action,
                    timeout_ms: unresolved.timeout_ms,
                }),
        );
        commands
    }
}

impl UnresolvedSend {
    fn request(&self) -> Request {
        Request::Resolve {
            selector: self.selector.clone(),
            timeout_ms: self.timeout_ms,
        }
    }
}

/// The folder in which the own lines to this target are stored.
fn own_folder(target: &Target) -> FolderName {
    target
        .room()
        .map_or_else(FolderName::direct, FolderName::from)
}

fn is_same_content(batch: &Batch, send: &UnconfirmedSend) -> bool {
    let mut lines = send.lines.iter();
    let mut is_same = batch.action == send.action && batch.log.target == send.target;
    batch.for_each_line(|line| is_same &= lines.next() == Some(line));
    is_same && lines.next().is_none()
}
