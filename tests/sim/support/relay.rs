//! A scripted relay between an author and a reader that have no link to each other. Tests decide
//! what it forwards.
use std::ops::RangeInclusive;

use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::{NetworkTag, PeerId};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{HaveEntry, Member, Members, Message, WantEntry, format_incarnation};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

/// A scripted peer with one link to an author and one to a reader.
pub struct Relay {
    pub to_author: ScriptedPeer,
    pub to_reader: ScriptedPeer,
    author: PeerIndex,
    reader: PeerIndex,
}

impl Relay {
    /// Connects to both. Tells the author that the reader is in reach.
    pub fn connect(lan: &mut Lan, n: u64, author: PeerIndex, reader: PeerIndex) -> Relay {
        let mut relay = Relay {
            to_author: ScriptedPeer::connect(lan, author, n),
            to_reader: ScriptedPeer::connect(lan, reader, n),
            author,
            reader,
        };
        relay.advertise_reader(lan);
        relay
    }

    fn advertise_reader(&mut self, lan: &mut Lan) {
        let members = members_with(lan.id(self.reader), "bob", 1);
        self.to_author.send(lan, &members);
    }

    /// Tells the reader that the author is in reach.
    pub fn advertise_author(&mut self, lan: &mut Lan) {
        let members = members_with(lan.id(self.author), "alice", 1);
        self.to_reader.send(lan, &members);
    }

    /// Connects to the next run of the author.
    pub fn meet_next_run(&mut self, lan: &mut Lan, n: u64) {
        self.to_author = ScriptedPeer::connect(lan, self.author, n);
        self.advertise_reader(lan);
    }

    /// Replaces the link to the reader, who then requests the log anew. `n` determines the new key.
    pub fn reconnect(&mut self, lan: &mut Lan, n: u64) {
        let stream = self.to_reader.stream;
        lan.feed(self.reader, Input::Closed { stream });
        self.to_reader = ScriptedPeer::connect(lan, self.reader, n);
    }

    /// Requests the author's log from this line on.
    pub fn request(&mut self, lan: &mut Lan, log: &LogId, from: u64) {
        let want = WantEntry {
            sender: log.author,
            incarnation: format_incarnation(log.incarnation),
            from,
            to: 0,
        };
        let (target, logs) = (log.target.to_string(), vec![want]);
        self.to_author.send(lan, &Message::Want { target, logs });
    }

    /// The author says a line; the batch that the author sent to the relay.
    pub fn take_line(&mut self, lan: &mut Lan, text: &str) -> Batch {
        lan.say(self.author, text);
        let frames = self.to_author.receive(lan).into_iter();
        let mut batches = frames.filter(|frame| frame.kind == FrameKind::Batch);
        let bytes = batches.next().expect("a batch").payload.to_vec();
        Batch::parse(bytes, &NetworkTag::OPEN).expect("a batch")
    }

    /// Offers the log up to this batch to the reader, and sends these bytes for the batch.
    pub fn forward(&mut self, lan: &mut Lan, batch: &Batch, bytes: &[u8]) {
        self.offer(lan, 1..=batch.last_sequence(), batch);
        self.to_reader.send_frame(lan, FrameKind::Batch, bytes);
        lan.run_for(1_000);
    }

    /// Offers these lines of the log to the reader. `last`: the batch that ends there.
    pub fn offer(&mut self, lan: &mut Lan, lines: RangeInclusive<u64>, last: &Batch) {
        let log = &last.log;
        let entry = have_entry(log.author, log.incarnation, lines, last.hash);
        let have = Message::Have(general_have(vec![entry]));
        self.to_reader.send(lan, &have);
    }

    /// Claims to store no line before this batch, and forwards it.
    pub fn forward_without_earlier(&mut self, lan: &mut Lan, batch: &Batch) {
        self.offer(lan, batch.sequence..=batch.last_sequence(), batch);
        self.to_reader
            .send_frame(lan, FrameKind::Batch, batch.as_bytes());
        lan.run_for(1_000);
    }

    /// Offers the whole log to the reader, up to `last`. Sends the batches that the reader then
    /// requests for gaps, if they are among `batches`. Returns the first requested lines.
    pub fn fill_gaps(&mut self, lan: &mut Lan, last: &Batch, batches: &[&Batch]) -> Vec<u64> {
        let mut requested = Vec::new();
        for _ in 0..batches.len() + 1 {
            self.offer(lan, 1..=last.last_sequence(), last);
            for message in self.to_reader.receive_messages(lan) {
                if self.forward_receipts_of(lan, &message, |entry| entry) {
                    continue;
                }
                let Message::Want { logs, .. } = message else {
                    continue;
                };
                for want in logs.iter().filter(|want| want.to > 0) {
                    requested.push(want.from);
                    for batch in batches {
                        if (want.from..=want.to).contains(&batch.sequence) {
                            self.to_reader
                                .send_frame(lan, FrameKind::Batch, batch.as_bytes());
                        }
                    }
                }
            }
            lan.run_for(1_000);
        }
        requested
    }

    /// Forwards the reader's receipts to the author.
    pub fn forward_receipts(&mut self, lan: &mut Lan) {
        for message in self.to_reader.receive_messages(lan) {
            self.forward_receipts_of(lan, &message, |entry| entry);
        }
    }

    /// Forwards the receipts in one message of the reader to the author, after `change`. Returns
    /// whether it has any.
    pub fn forward_receipts_of(
        &mut self,
        lan: &mut Lan,
        message: &Message,
        change: impl Fn(HaveEntry) -> HaveEntry,
    ) -> bool {
        let Message::Have(mut have) = message.clone() else {
            return false;
        };
        have.digest = None;
        have.logs.retain(|entry| entry.signature.is_some());
        let holder = Some(lan.id(self.reader));
        let receipts = have.logs.into_iter();
        have.logs = receipts
            .map(|entry| HaveEntry {
                holder,
                ..change(entry)
            })
            .collect();
        let has_any = !have.logs.is_empty();
        self.to_author.send(lan, &Message::Have(have));
        has_any
    }
}

/// Names one member, who is this many links away from the sender.
pub fn members_with(peer: PeerId, username: &str, hops: u8) -> Message {
    Message::Members(Members {
        target: "#general".into(),
        here: vec![Member {
            peer,
            username: username.into(),
            run: 8,
            hops,
            via: None,
            await_ms: None,
        }],
        gone: Vec::new(),
    })
}

/// How often the author reported that a peer stores its lines.
pub fn delivered_count(lan: &Lan, author: PeerIndex, holder: PeerIndex) -> usize {
    let id = lan.id(holder);
    let delivered = |n: &&Notice| matches!(n, Notice::Delivered { peer, .. } if peer.id == id);
    lan.peers[author].notices_of_run().filter(delivered).count()
}

/// An author and a reader who have no link to each other.
pub fn author_and_reader(seed: u64) -> (Lan, [PeerIndex; 3]) {
    let mut lan = Lan::new(seed);
    let peers = lan.add_peers(["alice", "bob", "carol"]);
    let [alice, bob, _] = peers;
    lan.cut(alice, bob);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    (lan, peers)
}
