//! A liar: a scripted peer that holds links to one or two nodes, and claims at random what is not
//! true of the logs of others.
use std::sync::Arc;

use p2pchat::base::batch::batch::Batch;
use p2pchat::base::identity::{Hash, PeerId};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{
    HOPS_MAX, Have, HaveEntry, Member, Members, Message, WantEntry, format_incarnation,
};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, have_entry, source_address};

/// The number of the liar's identity.
const IDENTITY: u64 = 77;
/// Most links that it holds at a time.
const LINKS_MAX: usize = 2;

/// A link of the liar to one run of a program.
struct LiarLink {
    stranger: ScriptedPeer,
    victim: PeerIndex,
    run: u64,
}

/// The liar.
#[derive(Default)]
pub struct Liar {
    links: Vec<LiarLink>,
    connections: u64,
}

impl Liar {
    /// Answers, connects again if it can, and tells some lies.
    pub fn act(&mut self, lan: &mut Lan) {
        self.answer(lan);
        if self.links.len() < LINKS_MAX && lan.chance(300) {
            self.connect(lan);
        }
        for _ in 0..lan.random(4) {
            if !self.links.is_empty() {
                let number = lan.random(self.links.len() as u64) as usize;
                self.links[number].lie(lan);
                self.forget_ended(lan);
            }
        }
    }

    /// Lets time pass. Answers pings and requests, and claims nothing more.
    pub fn stay(&mut self, lan: &mut Lan, ms: u64) {
        for _ in 0..ms / 1_000 {
            lan.run_for(1_000);
            self.answer(lan);
        }
    }

    fn forget_ended(&mut self, lan: &Lan) {
        self.links.retain(|link| {
            let victim = &lan.peers[link.victim];
            victim.run == link.run
                && lan.is_running(link.victim)
                && !lan.has_closed(link.victim, link.stranger.stream)
        });
    }

    fn answer(&mut self, lan: &mut Lan) {
        self.forget_ended(lan);
        for link in &mut self.links {
            if lan.peers[link.victim].frozen {
                continue;
            }
            for message in link.stranger.receive_messages(lan) {
                match message {
                    Message::Ping { nonce } => link.stranger.send(lan, &Message::Pong { nonce }),
                    Message::Want { target, logs } => {
                        logs.iter().for_each(|want| link.serve(lan, &target, want));
                    }
                    _ => {}
                }
            }
        }
        self.forget_ended(lan);
    }

    fn connect(&mut self, lan: &mut Lan) {
        let victim = lan.random(lan.peers.len() as u64) as usize;
        let is_ready = lan.is_running(victim) && !lan.peers[victim].frozen;
        let is_linked = self.links.iter().any(|link| link.victim == victim);
        if !is_ready || is_linked || lan.peers[victim].psk.is_some() {
            return;
        }
        self.connections += 1;
        let (number, identity) = (self.connections, ScriptedPeer::identity(IDENTITY));
        let address = source_address();
        let stranger = ScriptedPeer::try_handshake_from(lan, victim, number, identity, address);
        // The node may have as many handshakes as it accepts.
        let Some(mut stranger) = stranger else {
            return;
        };
        let hello = stranger.hello();
        stranger.send(lan, &hello);
        let run = lan.peers[victim].run;
        self.links.push(LiarLink {
            stranger,
            victim,
            run,
        });
    }
}

impl LiarLink {
    fn lie(&mut self, lan: &mut Lan) {
        if lan.peers[self.victim].frozen {
            return;
        }
        let message = match lan.random(10) {
            0..6 => self.claim_lines(lan),
            6..8 => request_lines(lan),
            8 => claim_members(lan),
            _ => None,
        };
        match message {
            Some(message) => self.stranger.send(lan, &message),
            None => self.send_copy(lan),
        }
    }

    /// Answers a request: with some of the lines, with a claim to have lost them, or never.
    fn serve(&mut self, lan: &mut Lan, target: &str, want: &WantEntry) {
        match lan.random(4) {
            0 => {}
            1 if self.is_known(lan, target, want.sender, &want.incarnation) => {
                let low = want.from + lan.random(100);
                let high = low + lan.random(100);
                let hash = Hash([lan.random(256) as u8; 32]);
                let (sender, incarnation) = (want.sender, want.incarnation.clone());
                let entry = HaveEntry {
                    incarnation,
                    ..have_entry(sender, 0, low..=high, hash)
                };
                let have = Have {
                    target: target.to_owned(),
                    logs: vec![entry],
                    ..Have::default()
                };
                self.stranger.send(lan, &Message::Have(have));
            }
            _ => {
                let who = lan.random(lan.peers.len() as u64) as usize;
                let count = lan.random(50) as usize;
                let is_wanted = |batch: &Batch| {
                    batch.last_sequence() >= want.from
                        && is_of(batch, target, want.sender, &want.incarnation)
                };
                let batches = lan.peers[who].disk.entries().map(|it| it.batch.clone());
                let batches: Vec<_> = batches.filter(|it| is_wanted(it)).take(count).collect();
                for batch in batches {
                    let bytes = batch.as_bytes();
                    self.stranger.send_frame(lan, FrameKind::Batch, bytes);
                }
            }
        }
    }

    /// A false or true offer, acknowledgement or receipt.
    fn claim_lines(&self, lan: &mut Lan) -> Option<Message> {
        let batch = draw_batch(lan)?;
        let (target, mut entry) = (batch.log.target.to_string(), entry_of(&batch));
        entry.high = draw_sequence(lan, entry.high);
        let is_known = self.is_known(lan, &target, entry.sender, &entry.incarnation);
        if is_known && lan.chance(300) {
            entry.low = draw_sequence(lan, entry.high).min(entry.high);
        }
        if lan.chance(300) {
            entry.complete_from = draw_sequence(lan, entry.low);
        }
        if lan.chance(300) {
            entry.hash = Hash([lan.random(256) as u8; 32]);
        }
        if lan.chance(100) {
            entry.incarnation = format_incarnation(lan.random(1 << 50));
        }
        if lan.chance(200) {
            let holder = lan.random(lan.peers.len() as u64) as usize;
            entry.holder = Some(lan.id(holder));
            entry.signature = Some("A".repeat(86));
        }
        if lan.chance(200) {
            let author = lan.random(lan.peers.len() as u64) as usize;
            entry.sender = lan.id(author);
        }
        let digest = lan
            .chance(200)
            .then(|| format!("{:032x}", lan.random(1 << 50)));
        let logs = vec![entry];
        Some(Message::Have(Have {
            target,
            logs,
            digest,
        }))
    }

    /// Whether the node stores lines of a log. If not, it takes the history of the log from where
    /// the liar says that it begins, as from a peer that has evicted what is older. So the liar
    /// tells the truth about that.
    fn is_known(&self, lan: &Lan, target: &str, author: PeerId, incarnation: &str) -> bool {
        let mut entries = lan.peers[self.victim].disk.entries();
        entries.any(|it| is_of(&it.batch, target, author, incarnation))
    }

    /// Sends a batch of another peer, sometimes with a changed byte.
    fn send_copy(&mut self, lan: &mut Lan) {
        let Some(batch) = draw_batch(lan) else {
            return;
        };
        let mut bytes = batch.as_bytes().to_vec();
        if lan.chance(500) {
            let at = lan.random(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << lan.random(7);
        }
        self.stranger.send_frame(lan, FrameKind::Batch, &bytes);
    }
}

/// Whether the batch is of this log.
fn is_of(batch: &Batch, target: &str, author: PeerId, incarnation: &str) -> bool {
    let log = &batch.log;
    log.author == author
        && log.target.to_string() == target
        && format_incarnation(log.incarnation) == incarnation
}

/// A batch that some disk stores.
fn draw_batch(lan: &mut Lan) -> Option<Arc<Batch>> {
    let who = lan.random(lan.peers.len() as u64) as usize;
    let count = lan.peers[who].disk.entries().count() as u64;
    if count == 0 {
        return None;
    }
    let number = lan.random(count) as usize;
    let mut entries = lan.peers[who].disk.entries();
    entries.nth(number).map(|it| it.batch.clone())
}

/// What a peer says that stores a log up to this batch.
fn entry_of(batch: &Batch) -> HaveEntry {
    let lines = 1..=batch.last_sequence();
    let (author, incarnation) = (batch.log.author, batch.log.incarnation);
    have_entry(author, incarnation, lines, batch.hash)
}

/// A sequence near this one, or any.
fn draw_sequence(lan: &mut Lan, near: u64) -> u64 {
    match lan.random(10) {
        0..6 => near,
        6..8 => (near + lan.random(5)).saturating_sub(2).max(1),
        8 => 1 + lan.random(near + 10),
        _ => 1 + lan.random(1 << 50),
    }
}

fn request_lines(lan: &mut Lan) -> Option<Message> {
    let batch = draw_batch(lan)?;
    let from = draw_sequence(lan, batch.last_sequence());
    let to = if lan.chance(500) {
        0
    } else {
        draw_sequence(lan, from)
    };
    let want = WantEntry {
        sender: batch.log.author,
        incarnation: format_incarnation(batch.log.incarnation),
        from,
        to,
    };
    let (target, logs) = (batch.log.target.to_string(), vec![want]);
    Some(Message::Want { target, logs })
}

/// Says that members are reached through it, or no longer.
fn claim_members(lan: &mut Lan) -> Option<Message> {
    let who = lan.random(lan.peers.len() as u64) as usize;
    let via = lan.random(lan.peers.len() as u64) as usize;
    let member = Member {
        peer: lan.id(who),
        username: lan.peers[via].name.clone(),
        run: lan.random(2),
        hops: lan.random(u64::from(HOPS_MAX) + 1) as u8,
        via: lan.chance(500).then(|| lan.id(via)),
        await_ms: None,
    };
    let is_gone = lan.chance(300);
    Some(Message::Members(Members {
        target: "#general".to_owned(),
        gone: if is_gone {
            vec![member.peer]
        } else {
            Vec::new()
        },
        here: if is_gone { Vec::new() } else { vec![member] },
    }))
}
