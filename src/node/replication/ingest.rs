//! What becomes of a batch that comes in.
use std::sync::Arc;

use crate::base::batch::{Batch, Local};
use crate::base::event::{Chat, Notice, Output, Peer, StreamId};
use crate::node::context::Hub;
use crate::node::replication::carriers::may_bring;
use crate::node::replication::delivery::Receipts;
use crate::node::replication::engine::Replicate;
use crate::node::replication::logs::{Fit, Logs};
use crate::wire::sealed;

/// What became of foreign bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// The peer breaks the protocol: its link must end.
    Broken,
}

impl Replicate {
    /// A batch came in: verified before anything else is done with it.
    pub fn receive(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        receipts: &mut Receipts,
        stream: StreamId,
        bytes: Vec<u8>,
    ) -> Verdict {
        let Some(link) = hub.links.get(&stream) else {
            return Verdict::Fine;
        };
        hub.counters.batches += 1;
        let Ok(batch) = Batch::parse(bytes, &hub.network) else {
            return Verdict::Broken;
        };
        let by_peer = batch.log.author == link.peer.id;
        let key = (stream, batch.log.clone());
        let verifying = if by_peer { Some(link.key) } else { None };
        let shared = may_bring(hub, logs, receipts, link, &batch.log);
        let reader = batch.log.target.reader();
        let ours = reader.is_none_or(|reader| reader == hub.id());
        if self.again.awaits(&key, &batch) {
            let own = batch.log.author.key();
            if !own.is_some_and(|key| batch.verify(&key)) {
                return Verdict::Broken;
            }
            self.again.take(hub, &key, &batch);
            return Verdict::Fine;
        }
        if self.sources.is_evidence(hub, &key, &batch) {
            let author = self.sources.key(&batch.log.author);
            if !author.is_some_and(|author| batch.verify(&author)) {
                return Verdict::Broken;
            }
            if logs.fit(&batch, None) == Fit::Fork {
                self.sources.fork(hub, &batch.log, batch.sequence);
            }
            return Verdict::Fine;
        }
        let fills = shared && self.holes.expects(&key);
        let mut standing = None;
        if shared {
            standing = self.sources.standing(hub.now.time, &key, &batch);
        }
        let asked = standing.is_some() || by_peer;
        if !shared || logs.is_current(hub, &batch.log) || !(asked || fills) {
            hub.counters.unwanted_batches += 1;
            return Verdict::Fine;
        }
        // Of whom only missing lines were asked nothing else is taken, and they of nobody else.
        let fit = match logs.fit(&batch, standing.map(|standing| standing.from)) {
            Fit::Fills if !fills => Fit::Held,
            Fit::Next | Fit::After { .. } if !asked => Fit::Stray,
            fit => fit,
        };
        if self.stalled.is_some() {
            if fit != Fit::Fills {
                self.sources.want_later(hub, logs, stream, &batch);
            }
            return Verdict::Fine;
        }
        match fit {
            Fit::Stray => {
                hub.counters.unwanted_batches += 1;
                return Verdict::Fine;
            }
            Fit::Held => {
                hub.counters.duplicate_batches += 1;
                self.haves.receipt(key);
                return Verdict::Fine;
            }
            Fit::Next | Fit::After { .. } | Fit::Fills | Fit::Fork => {}
        }
        let verifying = verifying.or_else(|| self.sources.key(&batch.log.author));
        if !verifying.is_some_and(|key| batch.verify(&key)) {
            return Verdict::Broken;
        }
        if fit == Fit::Fills {
            self.fill(hub, logs, stream, batch);
            return Verdict::Fine;
        }
        if fit == Fit::Fork {
            self.sources.fork(hub, &batch.log, batch.sequence);
            self.sources.refuse(hub, &key);
            if batch.log.author == hub.id() {
                self.again.compare(hub, logs, &key, (1, batch.last()));
            }
            return Verdict::Fine;
        }
        if !logs.admit(hub, &batch) {
            self.sources.refuse(hub, &key);
            return Verdict::Fine;
        }
        if let Fit::After { from, to } = fit
            && ours
        {
            self.holes.seek();
            gap(hub, &batch, from, to);
        }
        if standing.is_none() && batch.sequence == 1 {
            let lead = hub.links.get(&stream).map_or(0, |link| link.lead);
            self.sources.starts(&batch.log, 1, lead);
        }
        let own = batch.log.author == hub.id();
        let backfill = own || self.sources.is_backfill(&batch);
        logs.advance(&batch);
        if !ours {
            receipts.taken(hub, &batch.log);
            // Carried before, and dropped when its reader had it.
            if reader.is_some_and(|reader| receipts.holds(&reader, &batch.log) >= batch.last()) {
                self.ask_reader(hub, &batch.log);
            }
        }
        let during = standing.is_none_or(|standing| standing.during);
        let local = Local {
            received: hub.now.wall,
            late: standing.is_some_and(|standing| standing.late),
            before: !during,
            backfill,
        };
        let batch = save(hub, batch, local);
        let strangers = self.cursors.live(hub, &batch, Some(stream));
        self.haves.receipt(key);
        if by_peer {
            self.sources.by_author(hub, stream, &batch.log);
        } else if let Some(author) = hub.linked.get(&batch.log.author) {
            self.haves.receipt((*author, batch.log.clone()));
            self.sources.caught_up(logs, stream, *author, &batch.log);
        }
        self.offer(hub, &strangers, &batch.log);
        if ours && !backfill {
            hub.notice(Notice::Chat(Chat {
                batch,
                local,
                own: false,
                during,
            }));
        }
        Verdict::Fine
    }

    /// Lines that were missing turned up: they are late, and news to whom they are missing, too.
    fn fill(&mut self, hub: &mut Hub, logs: &mut Logs, stream: StreamId, batch: Batch) {
        let Some(closed) = logs.fill(&batch) else {
            self.sources.fork(hub, &batch.log, batch.sequence);
            return self.holes.in_vain(hub, stream);
        };
        self.holes.came(hub, closed);
        hub.counters.healed_lines += batch.count;
        let author = batch.log.author;
        let local = Local {
            received: hub.now.wall,
            late: true,
            before: true,
            backfill: author == hub.id() || self.sources.is_backfill(&batch),
        };
        let batch = save(hub, batch, local);
        if let Some(room) = batch.log.target.room().filter(|_| closed) {
            for (other, link) in hub.in_room(room) {
                if other != stream && !link.passing && link.peer.id != author {
                    self.haves.offer((other, batch.log.clone()));
                }
            }
        }
        if !local.backfill {
            hub.notice(Notice::Chat(Chat {
                batch,
                local,
                own: false,
                during: false,
            }));
        }
    }
}

fn save(hub: &mut Hub, mut batch: Batch, local: Local) -> Arc<Batch> {
    if let Some(lines) = sealed::open(&hub.identity, &hub.network, &batch) {
        batch.set_plain(lines);
    }
    let batch = Arc::new(batch);
    hub.put(Output::Save {
        batch: batch.clone(),
        local,
    });
    batch
}

fn gap(hub: &mut Hub, batch: &Batch, from: u64, to: u64) {
    let author = Peer {
        id: batch.log.author,
        nick: batch.username.clone(),
    };
    hub.notice(Notice::Gap {
        target: batch.log.target.clone(),
        author,
        incarnation: batch.log.incarnation,
        from,
        to,
        at: hub.now.wall,
    });
}
