//! What a run that acts through another program has said, until that told it to be stored.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Command, Position};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{Folder, Target, Whom};
use crate::base::table::Table;
use crate::base::time::Time;
use crate::shell::ipc::message;
use crate::shell::ipc::message::Log;
use crate::shell::store::store::Store;

/// Bytes, and pieces, that may be said and not yet stored; then stdin waits.
const SAYS_BYTES: usize = 256 * 1024;
const SAYS_MAX: usize = 1024;
/// Bytes read from the history at a time.
const READ_BYTES: usize = 64 * 1024;

/// Said, and not yet told to be stored.
struct Said {
    target: Target,
    lines: Lines,
    action: bool,
    /// It lies behind this in its part of the history, if anywhere.
    mark: Position,
}

/// To be said once it is known who is meant.
pub struct Asked {
    pub whom: Whom,
    pub lines: Lines,
    pub action: bool,
    /// Milliseconds in which the reader may yet come.
    pub within: u64,
    /// When an answer must be there.
    pub until: Time,
}

#[derive(Default)]
pub struct Outbox {
    says: VecDeque<Said>,
    /// The reader who is looked for; nothing else is said meanwhile.
    asked: Option<Asked>,
    /// Stored last for each target.
    heads: Table<Target, (LogId, u64)>,
}

impl Outbox {
    /// All that was said is stored, or was refused.
    pub fn is_empty(&self) -> bool {
        self.says.is_empty() && self.asked.is_none()
    }

    /// Nothing was stored either.
    pub fn was_unused(&self) -> bool {
        self.is_empty() && self.heads.is_empty()
    }

    /// More may be said.
    pub fn takes(&self) -> bool {
        let bytes: usize = self.says.iter().map(|said| said.lines.len()).sum();
        self.asked.is_none() && bytes < SAYS_BYTES && self.says.len() < SAYS_MAX
    }

    /// Who is looked for.
    pub fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// Another program is told all of it again.
    pub fn begin(&self, out: &mut Vec<u8>) {
        for (log, sequence) in self.heads.values() {
            message::put(out, format_args!("await {} {sequence}", Log(log)));
        }
        for said in &self.says {
            message::put_say(out, &said.target, &said.lines, said.action);
        }
        if let Some(asked) = &self.asked {
            message::put_find(out, &asked.whom, asked.within);
        }
    }

    /// In pieces that are one batch each: so it can be told from the history which of them are stored.
    pub fn say(
        &mut self,
        out: &mut Vec<u8>,
        store: &Store,
        target: Target,
        mut lines: Lines,
        action: bool,
    ) {
        let folder = folder(&target);
        while !lines.is_empty() {
            let said = Said {
                target: target.clone(),
                lines: lines.take_batch(),
                action,
                mark: store.end(&folder),
            };
            message::put_say(out, &said.target, &said.lines, action);
            self.says.push_back(said);
        }
    }

    pub fn ask(&mut self, out: &mut Vec<u8>, asked: Asked) {
        message::put_find(out, &asked.whom, asked.within);
        self.asked = Some(asked);
    }

    /// Who is meant is known.
    pub fn found(&mut self, out: &mut Vec<u8>, store: &Store, reader: PeerId) {
        if let Some(asked) = self.asked.take() {
            let target = Target::Peer(reader);
            self.say(out, store, target, asked.lines, asked.action);
        }
    }

    /// Nobody is meant, or nobody is looked for any more: what was to be said is not.
    pub fn lost(&mut self) -> Option<Asked> {
        self.asked.take()
    }

    /// The oldest is stored, up to this line.
    pub fn accepted(&mut self, log: LogId, sequence: u64) {
        if let Some(said) = self.says.pop_front() {
            self.heads.insert(said.target, (log, sequence));
        }
    }

    /// The oldest never will be.
    pub fn refused(&mut self) {
        self.says.pop_front();
    }

    /// None of it is waited for any more.
    pub fn clear(&mut self) {
        self.says.clear();
        self.asked = None;
    }

    /// The program that was to store it died, perhaps between that and telling of it: what is stored is not said again.
    pub fn drop_stored(&mut self, store: &Store, me: &PeerId) {
        while let Some(said) = self.says.front() {
            let Some(found) = self.stored(store, me, said) else {
                return;
            };
            let target = said.target.clone();
            self.heads.insert(target, found);
            self.says.pop_front();
        }
    }

    fn stored(&self, store: &Store, me: &PeerId, said: &Said) -> Option<(LogId, u64)> {
        let head = self.heads.get(&said.target);
        let mut at = said.mark;
        let folder = folder(&said.target);
        loop {
            let batches = store.read_on(&folder, &mut at, READ_BYTES);
            // What cannot be read counts as not there: said twice is better than lost.
            let batches = batches.ok().filter(|batches| !batches.is_empty())?;
            for entry in batches {
                let batch = entry.batch;
                let before =
                    head.is_some_and(|(log, last)| *log == batch.log && batch.last() <= *last);
                if batch.log.author == *me && !before && is_same(&batch, said) {
                    return Some((batch.log.clone(), batch.last()));
                }
            }
        }
    }

    /// All of it, to be done by this run itself.
    pub fn take(&mut self) -> Vec<Command> {
        let heads = std::mem::take(&mut self.heads).into_values();
        let mut commands: Vec<Command> = heads
            .map(|(log, sequence)| Command::Await { log, sequence })
            .collect();
        commands.extend(self.says.drain(..).map(|said| match said.target {
            Target::Room(room) => Command::Say {
                room: Some(room),
                lines: said.lines,
                action: said.action,
            },
            Target::Peer(id) => Command::Tell {
                whom: Whom::from(&id),
                lines: said.lines,
                action: said.action,
                within: 0,
            },
        }));
        commands.extend(self.asked.take().map(|asked| Command::Tell {
            whom: asked.whom,
            lines: asked.lines,
            action: asked.action,
            within: asked.within,
        }));
        commands
    }
}

/// Where the history keeps what we say there.
fn folder(target: &Target) -> Folder {
    target.room().map_or_else(Folder::direct, Folder::from)
}

fn is_same(batch: &Batch, said: &Said) -> bool {
    let (mut lines, mut same) = (said.lines.iter(), batch.action == said.action);
    same &= batch.log.target == said.target;
    batch.each_line(|line| same &= lines.next() == Some(line));
    same && lines.next().is_none()
}
