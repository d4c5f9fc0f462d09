//! The lines of a client that the server has not accepted yet.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Command, Position};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{FolderName, PeerSelector, Target};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::shell::ipc::message::request::{Request, encode_send};
use crate::shell::store::store::{READ_BYTES, Store};

/// Limit of the unconfirmed lines, in bytes. At this limit the client does not read stdin.
const UNCONFIRMED_MAX_BYTES: usize = 256 * 1024;
/// Limit of the number of unconfirmed sends. At this limit the client does not read stdin.
const UNCONFIRMED_MAX: usize = 1024;

/// A [`Request::Send`] that the server has not answered. It contains the lines of one batch.
struct UnconfirmedSend {
    target: Target,
    lines: Lines,
    action: bool,
    /// The end of the target's folder when the request was first sent. A server can store the
    /// batch only after this position.
    stored_after: Position,
}

/// Lines for a recipient that the server has not found yet.
pub struct UnresolvedSend {
    /// The recipient, as the user named it.
    pub selector: PeerSelector,
    /// The lines to send.
    pub lines: Lines,
    /// Whether the lines are actions, as by /me.
    pub action: bool,
    /// How long the server may wait for a peer that the selector names, in milliseconds.
    pub timeout_ms: u64,
    /// When the client stops waiting for the server's answer.
    pub deadline: Time,
}

/// For one target, the last line of this run that a server has stored.
struct StoredHead {
    log: LogId,
    sequence: u64,
}

/// Lines of this run that no server has accepted yet, oldest first. If the server ends, the client
/// sends these lines to the next server.
#[derive(Default)]
pub struct Outbox {
    unconfirmed: VecDeque<UnconfirmedSend>,
    /// Lines whose recipient the server has not found yet. The client sends no later lines before
    /// these.
    unresolved: Option<UnresolvedSend>,
    stored_heads: SortedMap<Target, StoredHead>,
}

impl Outbox {
    /// Whether every line is stored or rejected by the server.
    pub fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty() && self.unresolved.is_none()
    }

    /// Whether the outbox is empty, and no server has ever stored a line from it.
    pub fn is_unused(&self) -> bool {
        self.is_empty() && self.stored_heads.is_empty()
    }

    /// Whether the outbox has room for more lines, and the recipients of all earlier lines are
    /// found.
    pub fn can_accept(&self) -> bool {
        let bytes: usize = self.unconfirmed.iter().map(|send| send.lines.len()).sum();
        self.unresolved.is_none()
            && bytes < UNCONFIRMED_MAX_BYTES
            && self.unconfirmed.len() < UNCONFIRMED_MAX
    }

    /// The lines whose recipient the server has not found yet.
    pub fn unresolved(&self) -> Option<&UnresolvedSend> {
        self.unresolved.as_ref()
    }

    /// Appends to `out` the requests that a new server needs. These are the awaited deliveries, the
    /// unconfirmed sends and the search for a recipient.
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

    /// Sends lines, one batch in each request. If the server ends without an answer,
    /// [`Self::drop_stored`] searches the history for these batches.
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

    /// Sends a request to find the recipient of these lines. The lines wait in the outbox for the
    /// answer.
    pub fn resolve_and_send(&mut self, out: &mut Vec<u8>, unresolved: UnresolvedSend) {
        unresolved.request().encode(out);
        self.unresolved = Some(unresolved);
    }

    /// Sends the waiting lines to the recipient that the server has found.
    pub fn complete_resolve(&mut self, out: &mut Vec<u8>, store: &Store, recipient: PeerId) {
        if let Some(unresolved) = self.unresolved.take() {
            let target = Target::Peer(recipient);
            self.send(out, store, target, unresolved.lines, unresolved.action);
        }
    }

    /// Removes and returns the lines whose recipient is not found yet.
    pub fn cancel_resolve(&mut self) -> Option<UnresolvedSend> {
        self.unresolved.take()
    }

    /// Records that the server has stored the oldest unconfirmed send in this log. `sequence` is
    /// the head of the log after that.
    pub fn confirm_oldest(&mut self, log: LogId, sequence: u64) {
        if let Some(send) = self.unconfirmed.pop_front() {
            self.stored_heads
                .insert(send.target, StoredHead { log, sequence });
        }
    }

    /// Removes the oldest unconfirmed send, which the server has rejected.
    pub fn reject_oldest(&mut self) {
        self.unconfirmed.pop_front();
    }

    /// Removes all lines that no server has accepted.
    pub fn clear(&mut self) {
        self.unconfirmed.clear();
        self.unresolved = None;
    }

    /// Searches the history for the unconfirmed sends, because the last server may have stored some
    /// without an answer. Confirms each send that is found, so that the next server does not
    /// publish its lines again. `own` is our id.
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
            // If the batches cannot be read, the send counts as not stored. A line sent twice is
            // better than a lost one.
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

    /// Empties the outbox. Returns its content as commands, which the run executes without a
    /// server.
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

/// The folder that stores our lines to this target.
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
