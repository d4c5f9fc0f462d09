//! Who takes part: a directory (identity, history), the host it lies on, and the program that runs there now, if one does.
use std::net::{IpAddr, Ipv4Addr};

use p2pchat::base::event::{Interface, KnownPeer, Notice, Output};
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room};
use p2pchat::base::time::{Now, Time, WallTime};
use p2pchat::node::context::{NodeConfig, ResumeState};
use p2pchat::node::node::Node;

use crate::support::disk::Disk;
use crate::support::lan::Event;

pub type Who = usize;

/// What wall clocks show when the simulator begins, in milliseconds since 1970.
pub const YEAR_2023: i64 = 1_700_000_000_000;

/// A box with one interface for each network it is on.
pub struct Host {
    pub networks: Vec<u8>,
    pub plugged: bool,
    /// Since when it is suspended.
    pub asleep: Option<u64>,
}

impl Host {
    pub fn address(host: usize, network: u8) -> IpAddr {
        let number = host as u16 + 1;
        IpAddr::V4(Ipv4Addr::from([
            10,
            network,
            (number >> 8) as u8,
            number as u8,
        ]))
    }

    pub fn interfaces(&self, host: usize) -> Vec<Interface> {
        let networks = self.networks.iter().filter(|_| self.plugged);
        networks
            .map(|network| Interface {
                index: u32::from(*network) + 1,
                name: format!("eth{network}"),
                addresses: vec![(Host::address(host, *network), 16)],
                is_loopback: false,
            })
            .collect()
    }
}

pub struct Person {
    pub name: String,
    pub host: usize,
    pub seed: [u8; 32],
    pub id: PeerId,
    pub port: u16,
    /// Of a closed network.
    pub psk: Option<[u8; 32]>,
    pub beacons: bool,
    pub passing: bool,
    /// Joined at a start.
    pub rooms: Vec<Room>,
    pub disk: Disk,
    pub resume: Option<ResumeState>,
    pub known: Vec<KnownPeer>,
    pub receipts: String,
    pub node: Option<Node>,
    /// Runs so far.
    pub run: u64,
    pub born: u64,
    /// How far its clock, which never jumps back, has fallen behind ours; less than nothing: has leapt ahead.
    pub lag: i64,
    /// How far its wall clock is from ours.
    pub skew: i64,
    /// An old copy of its directory.
    pub backup: Option<(Disk, Option<ResumeState>)>,
    /// Handles nothing; what comes waits in `held`.
    pub frozen: bool,
    /// Nothing of its streams arrives, though the path is alive.
    pub deaf: bool,
    pub held: Vec<Event>,
    pub accepted: u64,
    pub wake_at: Option<u64>,
    /// Wake-ups in the second that began then.
    pub wakes: (u64, u64),
    /// Time, run, and what was shown.
    pub notices: Vec<(u64, u64, Notice)>,
    pub beacons_sent: u64,
    pub bytes_sent: u64,
    /// The program dies after so many further outputs.
    pub dies_after: Option<u64>,
    /// Mutation: only these outputs are carried out.
    pub carries: fn(&Output) -> bool,
}

impl Person {
    pub fn new(name: &str, host: usize, seed: [u8; 32]) -> Person {
        Person {
            name: name.into(),
            host,
            seed,
            id: Identity::from_seed(&seed).id(),
            port: 9999,
            psk: None,
            beacons: true,
            passing: false,
            rooms: vec![Room::general()],
            disk: Disk::new(Identity::from_seed(&seed).id()),
            resume: None,
            known: Vec::new(),
            receipts: String::new(),
            node: None,
            run: 0,
            born: 0,
            lag: 0,
            skew: 0,
            backup: None,
            frozen: false,
            deaf: false,
            held: Vec::new(),
            accepted: 0,
            wake_at: None,
            wakes: (0, 0),
            notices: Vec::new(),
            beacons_sent: 0,
            bytes_sent: 0,
            dies_after: None,
            carries: |_| true,
        }
    }

    pub fn network(&self) -> NetworkTag {
        self.psk.map_or(NetworkTag::OPEN, NetworkTag)
    }

    pub fn nick(&self) -> Nick {
        Nick::new(&self.name).expect("a fit name")
    }

    pub fn now(&self, clock: u64) -> Now {
        Now {
            time: Time((clock - self.born).saturating_add_signed(-self.lag)),
            wall: WallTime(YEAR_2023 + clock as i64 + self.skew),
        }
    }

    /// When its program's clock will show this.
    pub fn at(&self, time: Time) -> u64 {
        (self.born + time.0).saturating_add_signed(self.lag)
    }

    /// A new process. What a clean end left is used up.
    pub fn boot(&mut self, clock: u64, seed: [u8; 32]) {
        self.run += 1;
        (self.born, self.lag) = (clock, 0);
        (self.frozen, self.deaf, self.wake_at) = (false, false, None);
        self.held.clear();
        let setup = NodeConfig {
            identity: Identity::from_seed(&self.seed),
            network: self.network(),
            psk: self.psk,
            beacon_key: self.psk,
            nick: self.nick(),
            port: self.port,
            seed,
            transient: self.passing,
            beacons_enabled: self.beacons,
            known_peers: self.known.clone(),
            receipts: self.receipts.clone(),
            resume: self.resume.take(),
        };
        self.node = Some(Node::new(setup, self.now(clock)));
    }

    /// The rooms that its program is in.
    pub fn rooms(&self) -> Vec<Room> {
        let node = self.node.as_ref();
        node.map_or(Vec::new(), |node| node.joined_rooms().to_vec())
    }

    /// Notices of the present run.
    pub fn shown(&self) -> impl Iterator<Item = &Notice> {
        self.notices
            .iter()
            .filter(|(_, run, _)| *run == self.run)
            .map(|(_, _, notice)| notice)
    }

    /// The lines of others that the present run showed, in order.
    pub fn heard(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for notice in self.shown() {
            if let Notice::Chat(chat) = notice
                && !chat.is_own
            {
                chat.batch.for_each_line(|line| lines.push(line.to_owned()));
            }
        }
        lines
    }

    /// How often this peer was shown to come.
    pub fn joined(&self, id: PeerId) -> usize {
        let joined = |n: &&Notice| matches!(n, Notice::Joined { peer, .. } if peer.id == id);
        self.shown().filter(joined).count()
    }

    /// How often this peer was shown to go.
    pub fn left(&self, id: PeerId) -> usize {
        let left = |n: &&Notice| matches!(n, Notice::Left { peer, .. } if peer.id == id);
        self.shown().filter(left).count()
    }

    pub fn twins(&self) -> usize {
        let twin = |n: &&Notice| matches!(n, Notice::DuplicateIdentity { .. });
        self.shown().filter(twin).count()
    }

    /// Errors of this code shown by the present run.
    pub fn errors(&self, code: &str) -> usize {
        let error = |n: &&Notice| matches!(n, Notice::Error { code: c, .. } if c.as_str() == code);
        self.shown().filter(error).count()
    }

    pub fn gaps(&self) -> usize {
        let gap = |n: &&Notice| matches!(n, Notice::Gap { .. });
        self.shown().filter(gap).count()
    }
}

pub fn lines(texts: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for text in texts {
        lines.push(text.as_bytes()).expect("a fit line");
    }
    lines
}

pub fn numbered(prefix: &str, from: u64, to: u64) -> Vec<String> {
    (from..=to).map(|n| format!("{prefix} {n}")).collect()
}
