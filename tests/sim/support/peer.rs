//! Peers and hosts: a peer is a directory (identity, history) on a host, and the program that
//! runs in it, if one does.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::{KnownPeer, Output};
use p2pchat::base::guests::lsnp::LsnpConfig;
use p2pchat::base::guests::service::Service;
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::interface::{Interface, InterfaceAddress};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::time::{Now, Time, WallTime};
use p2pchat::node::config::{NodeConfig, ResumeState};
use p2pchat::node::node::Node;

use crate::support::disk::Disk;
use crate::support::lan::Event;

/// A peer's index in `Lan::peers`.
pub type PeerIndex = usize;

/// Wall time when the simulation begins (November 2023), in milliseconds since 1970.
pub const WALL_START_MS: i64 = 1_800_000_000_000;
/// The wall time 2040-01-01, in milliseconds since 1970.
pub const YEAR_2040_MS: i64 = 2_208_988_800_000;

/// A host with one interface for each network that it is on.
pub struct Host {
    /// Numbers of the networks it is on.
    pub networks: Vec<u8>,
    /// Whether its cables are plugged in.
    pub plugged: bool,
    /// How often it was booted before.
    pub boots: u64,
    /// When it was suspended; none while it is awake.
    pub suspended_since_ms: Option<u64>,
}

impl Host {
    /// The address of a host in a network: 10.network.host.
    pub fn address(host: usize, network: u8) -> IpAddr {
        let number = host as u16 + 1;
        IpAddr::V4(Ipv4Addr::from([
            10,
            network,
            (number >> 8) as u8,
            number as u8,
        ]))
    }

    /// Its interfaces; none while unplugged.
    pub fn interfaces(&self, host: usize) -> Vec<Interface> {
        let networks = self.networks.iter().filter(|_| self.plugged);
        networks
            .map(|network| Interface {
                index: u32::from(*network) + 1,
                name: format!("eth{network}"),
                addresses: vec![InterfaceAddress {
                    ip: Host::address(host, *network),
                    prefix_bits: 16,
                }],
                on_link_routes: Vec::new(),
                is_loopback: false,
            })
            .collect()
    }
}

/// Whether a run waits for the delivery of its lines.
#[derive(Clone, Copy)]
pub enum Wait {
    None,
    /// It waits until so many peers hold the lines, or all, if none is required.
    For {
        required_peers: Option<u64>,
    },
    /// The lines were delivered.
    Settled,
}

/// A directory, its host, and the program that runs in it.
pub struct SimPeer {
    pub name: String,
    pub host: usize,
    /// Determines its key.
    pub identity_seed: [u8; 32],
    pub id: PeerId,
    pub port: u16,
    /// The secret of a closed network.
    pub psk: Option<[u8; 32]>,
    pub beacons_enabled: bool,
    /// Whether it speaks the protocol of p2pchat in Go.
    pub speaks_go: bool,
    /// Whether it uses Grapes.
    pub uses_grapes: bool,
    /// The services that it set, from the first time to the last.
    pub services: Vec<Vec<Service>>,
    /// How it speaks LSNP.
    pub lsnp: Option<LsnpConfig>,
    /// The datagrams of LSNP that it sent, each with its recipient, or none if it was for all.
    pub lsnp_sent: Vec<(Option<SocketAddrV4>, Vec<u8>)>,
    /// Whether its system refuses to send datagrams of LSNP.
    pub lsnp_fails: bool,
    /// It announces itself as transient, as `send` does.
    pub transient: bool,
    /// It announces itself as ephemeral, as a program with `--ephemeral` does.
    pub is_ephemeral: bool,
    /// The rooms joined at every start.
    pub startup_rooms: Vec<Room>,
    pub disk: Disk,
    /// Left by a clean end.
    pub resume_state: Option<ResumeState>,
    pub known_peers: Vec<KnownPeer>,
    pub receipts: String,
    pub addresses: String,
    /// The text that the node saved last as its profile.
    pub profile: String,
    pub node: Option<Node>,
    /// Number of the current or last run, from 1.
    pub run: u64,
    /// When the current run began.
    pub started_at_ms: u64,
    /// How far its monotonic clock is behind the simulation's; negative if it leapt ahead.
    pub clock_lag_ms: i64,
    /// How far its wall clock is ahead of the right time.
    pub wall_skew_ms: i64,
    /// A copy of its store and resume state, made by `Lan::back_up`.
    pub backup: Option<(Disk, Option<ResumeState>)>,
    /// The program handles nothing; its events wait in `deferred`.
    pub frozen: bool,
    /// The program reads none of its streams, while the paths work.
    pub stopped_reading: bool,
    pub deferred: Vec<Event>,
    pub accepted_streams: u64,
    /// When the node's next timer is scheduled.
    pub wake_at_ms: Option<u64>,
    /// The current second, and the wake-ups counted in it.
    pub wakeups: (u64, u64),
    /// Inputs that were no datagrams.
    pub turns: u64,
    /// Time, run and notice, in order.
    pub notices: Vec<(u64, u64, Notice)>,
    pub beacons_sent: u64,
    pub bytes_sent: u64,
    /// Reads that its nodes requested from the disk.
    pub loads: u64,
    /// The most logs that one of these reads requested.
    pub most_logs_of_a_load: u64,
    /// Inputs that its nodes handled.
    pub inputs: u64,
    /// Direct lines whose recipient is not found yet, by the number of the search.
    pub unaddressed: BTreeMap<u64, Lines>,
    /// Number of lines for single guests of which it is not known yet whether they arrive.
    pub unsent_to_guests: u64,
    /// How often it has searched for a recipient.
    pub searches: u64,
    /// Whether the run waits for the delivery of its lines.
    pub wait: Wait,
    /// The program is killed after so many further outputs.
    pub dies_after_outputs: Option<u64>,
    /// Broken on purpose: only these outputs are executed.
    pub executes: fn(&Output) -> bool,
}

impl SimPeer {
    /// A peer that has never run.
    pub fn new(name: &str, host: usize, seed: [u8; 32]) -> SimPeer {
        SimPeer {
            name: name.into(),
            host,
            identity_seed: seed,
            id: Identity::from_seed(&seed).id(),
            port: 9999,
            psk: None,
            beacons_enabled: true,
            lsnp: None,
            speaks_go: false,
            uses_grapes: false,
            services: Vec::new(),
            lsnp_sent: Vec::new(),
            lsnp_fails: false,
            transient: false,
            is_ephemeral: false,
            startup_rooms: vec![Room::general()],
            disk: Disk::new(Identity::from_seed(&seed).id()),
            resume_state: None,
            known_peers: Vec::new(),
            receipts: String::new(),
            addresses: String::new(),
            profile: String::new(),
            node: None,
            run: 0,
            started_at_ms: 0,
            clock_lag_ms: 0,
            wall_skew_ms: 0,
            backup: None,
            frozen: false,
            stopped_reading: false,
            deferred: Vec::new(),
            accepted_streams: 0,
            wake_at_ms: None,
            wakeups: (0, 0),
            turns: 0,
            notices: Vec::new(),
            beacons_sent: 0,
            bytes_sent: 0,
            loads: 0,
            most_logs_of_a_load: 0,
            inputs: 0,
            unaddressed: BTreeMap::new(),
            unsent_to_guests: 0,
            searches: 0,
            wait: Wait::None,
            dies_after_outputs: None,
            executes: |_| true,
        }
    }

    /// The tag of its network.
    pub fn network_tag(&self) -> NetworkTag {
        self.psk.map_or(NetworkTag::OPEN, NetworkTag)
    }

    /// Its name.
    pub fn nick(&self) -> Nick {
        Nick::new(&self.name).expect("a valid name")
    }

    /// Its program's clocks at this time of the simulation.
    pub fn now(&self, clock: u64) -> Now {
        Now {
            time: Time((clock - self.started_at_ms).saturating_add_signed(-self.clock_lag_ms)),
            wall: WallTime(WALL_START_MS + clock as i64 + self.wall_skew_ms),
        }
    }

    /// The simulation's time at which the program's clock shows `time`.
    pub fn sim_time_of(&self, time: Time) -> u64 {
        (self.started_at_ms + time.0).saturating_add_signed(self.clock_lag_ms)
    }

    /// Starts a new process, which uses up the resume state of a clean end.
    pub fn start_process(&mut self, clock: u64, seed: [u8; 32]) {
        self.run += 1;
        self.wait = Wait::None;
        self.unaddressed.clear();
        self.unsent_to_guests = 0;
        (self.started_at_ms, self.clock_lag_ms) = (clock, 0);
        (self.frozen, self.stopped_reading, self.wake_at_ms) = (false, false, None);
        self.deferred.clear();
        let setup = NodeConfig {
            identity: Identity::from_seed(&self.identity_seed),
            network: self.network_tag(),
            psk: self.psk,
            beacon_key: self.psk,
            nick: self.nick(),
            port: self.port,
            seed,
            transient: self.transient,
            is_ephemeral: self.is_ephemeral,
            lsnp: self.lsnp.clone(),
            speaks_go: self.speaks_go,
            timing: p2pchat::base::timing::Timing::default(),
            uses_grapes: self.uses_grapes,
            beacons_enabled: self.beacons_enabled,
            known_peers: self.known_peers.clone(),
            receipts: self.receipts.clone(),
            addresses: self.addresses.clone(),
            profile: self.profile.clone(),
            resume: self.resume_state.take(),
        };
        self.node = Some(Node::new(setup, self.now(clock)));
    }

    /// The rooms that its program has joined.
    pub fn joined_rooms(&self) -> Vec<Room> {
        let node = self.node.as_ref();
        node.map_or(Vec::new(), |node| node.joined_rooms().to_vec())
    }

    /// Notices of the present run.
    pub fn notices_of_run(&self) -> impl Iterator<Item = &Notice> {
        self.notices
            .iter()
            .filter(|(_, run, _)| *run == self.run)
            .map(|(_, _, notice)| notice)
    }

    /// The lines of others that the present run showed, in order.
    pub fn received(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for notice in self.notices_of_run() {
            if let Notice::Chat(chat) = notice
                && !chat.is_own
            {
                chat.batch.for_each_line(|line| lines.push(line.to_owned()));
            }
        }
        lines
    }

    /// How often the present run reported this peer as joined.
    pub fn joined_count(&self, id: PeerId) -> usize {
        let joined = |n: &&Notice| matches!(n, Notice::Joined { peer, .. } if peer.id == id);
        self.notices_of_run().filter(joined).count()
    }

    /// How often the present run reported this peer as left.
    pub fn left_count(&self, id: PeerId) -> usize {
        let left = |n: &&Notice| matches!(n, Notice::Left { peer, .. } if peer.id == id);
        self.notices_of_run().filter(left).count()
    }

    /// How often the present run reported a duplicate identity.
    pub fn duplicate_identity_count(&self) -> usize {
        let duplicate = |n: &&Notice| matches!(n, Notice::DuplicateIdentity { .. });
        self.notices_of_run().filter(duplicate).count()
    }

    /// Errors with this code that the present run reported.
    pub fn error_count(&self, code: &str) -> usize {
        let error = |n: &&Notice| matches!(n, Notice::Error { code: c, .. } if c.as_str() == code);
        self.notices_of_run().filter(error).count()
    }

    /// Acknowledgements that the present run reported.
    pub fn delivered_count(&self) -> usize {
        let delivered = |n: &&Notice| matches!(n, Notice::Delivered { .. });
        self.notices_of_run().filter(delivered).count()
    }

    /// The highest direct line to `recipient` that the present run reported as acknowledged by
    /// it.
    pub fn acked_sequence(&self, recipient: PeerId) -> u64 {
        let acked = self.notices_of_run().filter_map(|notice| match notice {
            Notice::Delivered {
                log,
                sequence,
                peer,
            } if log.target == Target::Peer(recipient) => {
                assert_eq!(peer.id, recipient, "a receipt by another peer");
                Some(*sequence)
            }
            _ => None,
        });
        acked.max().unwrap_or(0)
    }

    /// Direct lines that this peer carries for others.
    pub fn carried_line_count(&self) -> u64 {
        let ranges = self.disk.ranges_in(&FolderName::carried());
        ranges.iter().map(|range| range.high + 1 - range.low).sum()
    }

    /// Whether enough peers have held what the present run said, since [`Lan::finish`].
    ///
    /// [`Lan::finish`]: crate::support::lan::Lan::finish
    pub fn is_settled(&self) -> bool {
        matches!(self.wait, Wait::Settled)
    }

    /// Asks the node, as a host does after each turn, whether the wait for delivery is over.
    /// Returns when to ask again, on the program's clock.
    pub fn check_delivery(&mut self) -> Option<Time> {
        let (Some(node), Wait::For { required_peers }) = (&self.node, self.wait) else {
            return None;
        };
        let delivery = node.delivery(required_peers);
        let is_answered = self.unaddressed.is_empty() && self.unsent_to_guests == 0;
        if delivery.is_settled && is_answered {
            self.wait = Wait::Settled;
        }
        delivery.recheck_at
    }

    /// Gaps that the present run reported.
    pub fn gap_count(&self) -> usize {
        let gap = |n: &&Notice| matches!(n, Notice::Gap { .. });
        self.notices_of_run().filter(gap).count()
    }
}

/// Lines as a command takes them.
pub fn lines(texts: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for text in texts {
        lines.push(text.as_bytes()).expect("a valid line");
    }
    lines
}

/// The lines `prefix from` to `prefix to`.
pub fn numbered_lines(prefix: &str, from: u64, to: u64) -> Vec<String> {
    (from..=to).map(|n| format!("{prefix} {n}")).collect()
}
