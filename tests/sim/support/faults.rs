//! Faults that a story or the swarm causes: in cables, hosts, programs, clocks and directories.
use p2pchat::base::event::input::Input;

use crate::support::lan::{Event, Lan, RunEvent, TCP_TIMEOUT_MS};
use crate::support::network::Endpoint;
use crate::support::peer::PeerIndex;

impl Lan {
    /// Cuts the path between two hosts in both directions; no stream is closed.
    pub fn cut(&mut self, a: PeerIndex, b: PeerIndex) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts the path from the first host to the second; the other direction works.
    pub fn cut_one_way(&mut self, from: PeerIndex, to: PeerIndex) {
        let path = (self.peers[from].host, self.peers[to].host);
        self.network.cut_paths.insert(path);
        self.interrupt_connections();
    }

    /// Removes the path between two hosts for good: [`Lan::heal`] does not restore it.
    pub fn remove_path(&mut self, a: PeerIndex, b: PeerIndex) {
        let (a, b) = (self.peers[a].host, self.peers[b].host);
        self.network.missing_paths.extend([(a, b), (b, a)]);
        self.interrupt_connections();
    }

    /// Cuts the paths between this host and all others.
    pub fn isolate(&mut self, who: PeerIndex) {
        for other in 0..self.peers.len() {
            if self.peers[other].host != self.peers[who].host {
                self.cut(who, other);
            }
        }
    }

    /// Partitions the LAN: hosts below `first` on one side, the others on the other side.
    pub fn partition_hosts(&mut self, first: usize) {
        for a in 0..first {
            for b in first..self.hosts.len() {
                self.network.cut_paths.extend([(a, b), (b, a)]);
            }
        }
        self.interrupt_connections();
    }

    /// Schedules the timeout of every connection whose path is cut.
    fn interrupt_connections(&mut self) {
        for connection_id in self.network.connections.keys().copied().collect::<Vec<_>>() {
            if !(self.can_deliver(connection_id, 0) && self.can_deliver(connection_id, 1)) {
                let cuts = self
                    .network
                    .connections
                    .get_mut(&connection_id)
                    .map(|connection| {
                        connection.cut_count += 1;
                        connection.cut_count
                    });
                self.schedule(
                    TCP_TIMEOUT_MS,
                    Event::TimeOut {
                        connection_id,
                        cut_count: cuts.unwrap_or(0),
                    },
                );
            }
        }
    }

    /// Restores all cut paths.
    pub fn heal(&mut self) {
        self.network.cut_paths.clear();
        self.resume_connections();
    }

    /// Resumes connections whose path is whole again, unless a kernel has closed them.
    fn resume_connections(&mut self) {
        for connection_id in self.network.connections.keys().copied().collect::<Vec<_>>() {
            if !(self.can_deliver(connection_id, 0) && self.can_deliver(connection_id, 1)) {
                continue;
            }
            let resumable = self
                .network
                .connections
                .get_mut(&connection_id)
                .filter(|connection| {
                    let is_closed = |end: &Option<Endpoint>| end.is_some_and(|e| !e.open);
                    !connection.ends.iter().any(is_closed)
                        || connection.halves.iter().any(|half| half.fin)
                });
            if let Some(connection) = resumable {
                connection.cut_count += 1;
                (0..2).for_each(|side| self.schedule_delivery(connection_id, side));
            }
        }
    }

    /// Pulls all cables of the host, or plugs them in; its programs see the interfaces change.
    pub fn set_plugged(&mut self, who: PeerIndex, plugged: bool) {
        let host = self.peers[who].host;
        self.hosts[host].plugged = plugged;
        let interfaces = self.hosts[host].interfaces(host);
        for other in 0..self.peers.len() {
            if self.peers[other].host == host {
                let input = Input::InterfacesChanged(interfaces.clone());
                self.schedule_for_run(other, 0, RunEvent::Input(input));
            }
        }
        match plugged {
            true => self.resume_connections(),
            false => self.interrupt_connections(),
        }
    }

    /// Freezes the program: it handles nothing, while its kernel acknowledges packets.
    pub fn freeze(&mut self, who: PeerIndex) {
        self.peers[who].frozen = true;
    }

    /// Freezes the program for `ms` milliseconds, as a slow disk does.
    pub fn freeze_for(&mut self, who: PeerIndex, ms: u64) {
        self.freeze(who);
        self.schedule_for_run(who, ms, RunEvent::Thaw);
    }

    /// Ends [`Lan::freeze`] and `stopped_reading`; deferred events happen now.
    pub fn thaw(&mut self, who: PeerIndex) {
        if self.hosts[self.peers[who].host]
            .suspended_since_ms
            .is_some()
        {
            return;
        }
        (self.peers[who].frozen, self.peers[who].stopped_reading) = (false, false);
        for event in std::mem::take(&mut self.peers[who].deferred) {
            self.schedule(0, event);
        }
    }

    /// Suspends the host: its programs are frozen and no packet reaches it.
    pub fn suspend(&mut self, who: PeerIndex) {
        let host = self.peers[who].host;
        if self.hosts[host].suspended_since_ms.is_none() {
            self.hosts[host].suspended_since_ms = Some(self.now_ms);
            for other in 0..self.peers.len() {
                self.peers[other].frozen |= self.peers[other].host == host;
            }
            self.interrupt_connections();
        }
    }

    /// Resumes the host. `ran`: its clocks counted the sleep. Otherwise they stood still, as in a
    /// paused virtual machine.
    pub fn resume(&mut self, who: PeerIndex, ran: bool) {
        let host = self.peers[who].host;
        let Some(since) = self.hosts[host].suspended_since_ms.take() else {
            return;
        };
        for other in 0..self.peers.len() {
            if self.peers[other].host == host {
                let slept = (self.now_ms - since.max(self.peers[other].started_at_ms)) as i64;
                if !ran {
                    self.peers[other].clock_lag_ms += slept;
                    self.invariants.monotonic_clocks_are_wrong = true;
                    self.peers[other].wall_skew_ms -= if self.clocks_are_right { 0 } else { slept };
                }
                self.thaw(other);
            }
        }
        self.resume_connections();
    }

    /// Advances a peer's clock, as if all had slept together.
    pub fn advance_clock(&mut self, who: PeerIndex, ms: u64) {
        self.peers[who].clock_lag_ms -= ms as i64;
        self.invariants.monotonic_clocks_are_wrong = true;
        self.feed(who, Input::Timeout);
    }

    /// Resets a connection: both ends are closed, and bytes under way are lost.
    pub fn reset_connection(&mut self, connection_id: u64) {
        let cuts = self
            .network
            .connections
            .get(&connection_id)
            .map_or(0, |connection| connection.cut_count);
        self.time_out(connection_id, cuts);
    }

    /// Ends the link between two peers at one of them. The other one is not told.
    pub fn lose_link_at(&mut self, who: PeerIndex, other: PeerIndex) {
        let ends_at =
            |peer, end: &Option<Endpoint>| end.is_some_and(|it| it.who == peer && it.open);
        let mut connections = self.network.connections.values_mut();
        let lost = connections.find_map(|connection| {
            let ends = &mut connection.ends;
            let side = ends.iter().position(|end| ends_at(who, end))?;
            ends_at(other, &ends[1 - side]).then_some(())?;
            let end = ends[side].as_mut()?;
            end.open = false;
            Some(end.stream)
        });
        let stream = lost.expect("a connection");
        self.feed(who, Input::Closed { stream });
    }

    /// Copies the directory. While a program runs, the copy has no resume state: it looks like an
    /// unclean end.
    pub fn back_up(&mut self, who: PeerIndex) {
        self.correct_readers(who);
        let peer = &mut self.peers[who];
        let resume = peer.resume_state.clone();
        peer.backup = Some((peer.disk.clone(), resume));
    }

    /// Replaces the directory by its backup. No program may run in it.
    pub fn restore(&mut self, who: PeerIndex) {
        assert!(!self.is_running(who), "a program runs there");
        let peer = &mut self.peers[who];
        if let Some((disk, resume)) = peer.backup.clone() {
            peer.disk.replace_contents(disk);
            peer.resume_state = resume;
            self.invariants.record_restore(who, &self.peers[who].disk);
        }
    }

    /// Adds a host with a copy of the directory. From now on two programs may run with one key.
    pub fn clone_peer(&mut self, who: PeerIndex) -> PeerIndex {
        self.correct_readers(who);
        let clone = self.add_peer(&self.peers[who].name.clone());
        self.invariants.allows_duplicate_identity = true;
        let peers = self.peers.get_disjoint_mut([who, clone]);
        let [original, copy] = peers.expect("two peers");
        copy.identity_seed = original.identity_seed;
        copy.id = original.id;
        copy.port = original.port;
        copy.psk = original.psk;
        copy.beacons_enabled = original.beacons_enabled;
        copy.wall_skew_ms = original.wall_skew_ms;
        copy.startup_rooms = original.startup_rooms.clone();
        copy.known_peers = original.known_peers.clone();
        copy.disk = original.disk.clone();
        copy.resume_state = original.resume_state.clone();
        self.invariants
            .record_clone(who, clone, &self.peers[clone].disk);
        clone
    }

    /// Whether packets get from one host to another.
    pub fn has_path(&self, from: usize, to: usize) -> bool {
        let (x, y) = (&self.hosts[from], &self.hosts[to]);
        let share_network = || x.networks.iter().any(|n| y.networks.contains(n));
        let awake = x.suspended_since_ms.is_none() && y.suspended_since_ms.is_none();
        let is_open = || {
            !self.network.cut_paths.contains(&(from, to))
                && !self.network.missing_paths.contains(&(from, to))
        };
        from == to || (awake && x.plugged && y.plugged && share_network() && is_open())
    }

    /// Whether packets get from each of two hosts to the other.
    pub fn has_path_both_ways(&self, a: usize, b: usize) -> bool {
        self.has_path(a, b) && self.has_path(b, a)
    }

    /// Whether bytes that this side of a connection writes can arrive.
    pub fn can_deliver(&self, connection_id: u64, side: usize) -> bool {
        let Some(connection) = self.network.connections.get(&connection_id) else {
            return false;
        };
        match (connection.ends[side], connection.ends[1 - side]) {
            (Some(a), Some(b)) => self.has_path(self.peers[a.who].host, self.peers[b.who].host),
            _ => true,
        }
    }
}
