//! What a run that acts through another program has said, until that told it to be stored.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Command, Position};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{FolderName, PeerSelector, Target};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::shell::ipc::message::message;
use crate::shell::ipc::message::message::LogIdWords;
use crate::shell::store::store::Store;

/// Bytes, and pieces, that may be said and not yet stored; then stdin waits.
const UNCONFIRMED_MAX_BYTES: usize = 256 * 1024;
const UNCONFIRMED_MAX: usize = 1024;
/// Bytes read from the history at a time.
const READ_BYTES: usize = 64 * 1024;

/// Said, and not yet told to be stored.
struct UnconfirmedSend {
    target: Target,
    lines: Lines,
    action: bool,
    /// It lies behind this in its part of the history, if anywhere.
    stored_after: Position,
}

/// To be said once it is known who is meant.
pub struct UnresolvedSend {
    pub selector: PeerSelector,
    pub lines: Lines,
    pub action: bool,
    /// Milliseconds in which the reader may yet come.
    pub timeout_ms: u64,
    /// When an answer must be there.
    pub deadline: Time,
}

#[derive(Default)]
pub struct Outbox {
    unconfirmed: VecDeque<UnconfirmedSend>,
    /// The reader who is looked for; nothing else is said meanwhile.
    unresolved: Option<UnresolvedSend>,
    /// Stored last for each target.
    stored_heads: SortedMap<Target, (LogId, u64)>,
}

impl Outbox {
    /// All that was said is stored, or was refused.
    pub fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty() && self.unresolved.is_none()
    }

    /// Nothing was stored either.
    pub fn is_unused(&self) -> bool {
        self.is_empty() && self.stored_heads.is_empty()
    }

    /// More may be said.
    pub fn can_accept(&self) -> bool {
        let bytes: usize = self.unconfirmed.iter().map(|said| said.lines.len()).sum();
        self.unresolved.is_none()
            && bytes < UNCONFIRMED_MAX_BYTES
            && self.unconfirmed.len() < UNCONFIRMED_MAX
    }

    /// Who is looked for.
    pub fn unresolved(&self) -> Option<&UnresolvedSend> {
        self.unresolved.as_ref()
    }

    /// Another program is told all of it again.
    pub fn resend_all(&self, out: &mut Vec<u8>) {
        for (log, sequence) in self.stored_heads.values() {
            message::encode_header(out, format_args!("await {} {sequence}", LogIdWords(log)));
        }
        for said in &self.unconfirmed {
            message::encode_send(out, &said.target, &said.lines, said.action);
        }
        if let Some(asked) = &self.unresolved {
            message::encode_resolve(out, &asked.selector, asked.timeout_ms);
        }
    }

    /// In pieces that are one batch each: so it can be told from the history which of them are stored.
    pub fn send(
        &mut self,
        out: &mut Vec<u8>,
        store: &Store,
        target: Target,
        mut lines: Lines,
        action: bool,
    ) {
        let folder = folder_of(&target);
        while !lines.is_empty() {
            let said = UnconfirmedSend {
                target: target.clone(),
                lines: lines.take_batch(),
                action,
                stored_after: store.end(&folder),
            };
            message::encode_send(out, &said.target, &said.lines, action);
            self.unconfirmed.push_back(said);
        }
    }

    pub fn resolve_and_send(&mut self, out: &mut Vec<u8>, asked: UnresolvedSend) {
        message::encode_resolve(out, &asked.selector, asked.timeout_ms);
        self.unresolved = Some(asked);
    }

    /// Who is meant is known.
    pub fn complete_resolve(&mut self, out: &mut Vec<u8>, store: &Store, reader: PeerId) {
        if let Some(asked) = self.unresolved.take() {
            let target = Target::Peer(reader);
            self.send(out, store, target, asked.lines, asked.action);
        }
    }

    /// Nobody is meant, or nobody is looked for any more: what was to be said is not.
    pub fn cancel_resolve(&mut self) -> Option<UnresolvedSend> {
        self.unresolved.take()
    }

    /// The oldest is stored, up to this line.
    pub fn confirm_oldest(&mut self, log: LogId, sequence: u64) {
        if let Some(said) = self.unconfirmed.pop_front() {
            self.stored_heads.insert(said.target, (log, sequence));
        }
    }

    /// The oldest never will be.
    pub fn reject_oldest(&mut self) {
        self.unconfirmed.pop_front();
    }

    /// None of it is waited for any more.
    pub fn clear(&mut self) {
        self.unconfirmed.clear();
        self.unresolved = None;
    }

    /// The program that was to store it died, perhaps between that and telling of it: what is stored is not said again.
    pub fn drop_stored(&mut self, store: &Store, me: &PeerId) {
        while let Some(said) = self.unconfirmed.front() {
            let Some(found) = self.find_stored(store, me, said) else {
                return;
            };
            let target = said.target.clone();
            self.stored_heads.insert(target, found);
            self.unconfirmed.pop_front();
        }
    }

    fn find_stored(
        &self,
        store: &Store,
        me: &PeerId,
        said: &UnconfirmedSend,
    ) -> Option<(LogId, u64)> {
        let head = self.stored_heads.get(&said.target);
        let mut at = said.stored_after;
        let folder = folder_of(&said.target);
        loop {
            let batches = store.read_from(&folder, &mut at, READ_BYTES);
            // What cannot be read counts as not there: said twice is better than lost.
            let batches = batches.ok().filter(|batches| !batches.is_empty())?;
            for entry in batches {
                let batch = entry.batch;
                let before = head
                    .is_some_and(|(log, last)| *log == batch.log && batch.last_sequence() <= *last);
                if batch.log.author == *me && !before && is_same_content(&batch, said) {
                    return Some((batch.log.clone(), batch.last_sequence()));
                }
            }
        }
    }

    /// All of it, to be done by this run itself.
    pub fn take_commands(&mut self) -> Vec<Command> {
        let heads = std::mem::take(&mut self.stored_heads).into_values();
        let mut commands: Vec<Command> = heads
            .map(|(log, sequence)| Command::AwaitDelivery { log, sequence })
            .collect();
        commands.extend(self.unconfirmed.drain(..).map(|said| match said.target {
            Target::Room(room) => Command::SendToRoom {
                room: Some(room),
                lines: said.lines,
                action: said.action,
            },
            Target::Peer(id) => Command::SendToPeer {
                selector: PeerSelector::from(&id),
                lines: said.lines,
                action: said.action,
                timeout_ms: 0,
            },
        }));
        commands.extend(self.unresolved.take().map(|asked| Command::SendToPeer {
            selector: asked.selector,
            lines: asked.lines,
            action: asked.action,
            timeout_ms: asked.timeout_ms,
        }));
        commands
    }
}

/// Where the history keeps what we say there.
fn folder_of(target: &Target) -> FolderName {
    target
        .room()
        .map_or_else(FolderName::direct, FolderName::from)
}

fn is_same_content(batch: &Batch, said: &UnconfirmedSend) -> bool {
    let (mut lines, mut same) = (said.lines.iter(), batch.action == said.action);
    same &= batch.log.target == said.target;
    batch.for_each_line(|line| same &= lines.next() == Some(line));
    same && lines.next().is_none()
}
