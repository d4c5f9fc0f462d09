//! What a script, or the swarm, does to cables, boxes, programs and directories.
use p2pchat::base::event::Input;

use crate::support::lan::{Event, Lan, TCP_TIMEOUT_MS};
use crate::support::peer::PeerIndex;

impl Lan {
    /// Nothing passes between these two any more, and nobody is told.
    pub fn cut(&mut self, a: PeerIndex, b: PeerIndex) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Nothing passes from the first to the second any more.
    pub fn cut_one_way(&mut self, from: PeerIndex, to: PeerIndex) {
        let way = (self.peers[from].host, self.peers[to].host);
        self.network.cut_paths.insert(way);
        self.interrupt_connections();
    }

    /// These two never have a path to each other.
    pub fn remove_path(&mut self, a: PeerIndex, b: PeerIndex) {
        let (a, b) = (self.peers[a].host, self.peers[b].host);
        self.network.missing_paths.extend([(a, b), (b, a)]);
        self.interrupt_connections();
    }

    pub fn isolate(&mut self, who: PeerIndex) {
        for other in 0..self.peers.len() {
            if self.peers[other].host != self.peers[who].host {
                self.cut(who, other);
            }
        }
    }

    /// Nothing passes between the hosts up to this one and the others any more.
    pub fn partition_hosts(&mut self, first: usize) {
        for a in 0..first {
            for b in first..self.hosts.len() {
                self.network.cut_paths.extend([(a, b), (b, a)]);
            }
        }
        self.interrupt_connections();
    }

    fn interrupt_connections(&mut self) {
        for number in self.network.connections.keys().copied().collect::<Vec<_>>() {
            if !(self.can_deliver(number, 0) && self.can_deliver(number, 1)) {
                let cuts = self.network.connections.get_mut(&number).map(|conn| {
                    conn.cut_count += 1;
                    conn.cut_count
                });
                self.schedule(TCP_TIMEOUT_MS, Event::TimeOut(number, cuts.unwrap_or(0)));
            }
        }
    }

    pub fn heal(&mut self) {
        self.network.cut_paths.clear();
        self.resume_connections();
    }

    /// Connections whose path is whole again go on, if their kernels have not given them up.
    fn resume_connections(&mut self) {
        for number in self.network.connections.keys().copied().collect::<Vec<_>>() {
            if !(self.can_deliver(number, 0) && self.can_deliver(number, 1)) {
                continue;
            }
            let both = self.network.connections.get_mut(&number).filter(|conn| {
                let dead =
                    |end: &Option<crate::support::network::Endpoint>| end.is_some_and(|e| !e.open);
                !conn.ends.iter().any(dead) || conn.halves.iter().any(|pipe| pipe.fin)
            });
            if let Some(conn) = both {
                conn.cut_count += 1;
                (0..2).for_each(|side| self.schedule_delivery(number, side));
            }
        }
    }

    /// All cables of the host are pulled, or plugged in.
    pub fn set_plugged(&mut self, who: PeerIndex, plugged: bool) {
        let host = self.peers[who].host;
        self.hosts[host].plugged = plugged;
        let interfaces = self.hosts[host].interfaces(host);
        for other in 0..self.peers.len() {
            if self.peers[other].host == host {
                let input = Input::InterfacesChanged(interfaces.clone());
                self.schedule(0, Event::Input(other, self.peers[other].run, input));
            }
        }
        match plugged {
            true => self.resume_connections(),
            false => self.interrupt_connections(),
        }
    }

    /// Handles nothing any more, while its kernel goes on.
    pub fn freeze(&mut self, who: PeerIndex) {
        self.peers[who].frozen = true;
    }

    /// Stands still for so long, as behind a disk that is slow to write.
    pub fn freeze_for(&mut self, who: PeerIndex, ms: u64) {
        self.freeze(who);
        self.schedule(ms, Event::Thaw(who, self.peers[who].run));
    }

    /// Goes on where it was frozen, or listens to its streams again.
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

    /// The box sleeps: none of its programs runs, and nothing reaches it.
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

    /// The box goes on. `ran`: its clocks counted the time; otherwise it was paused together with them, as a virtual machine is.
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
                    self.peers[other].wall_skew_ms -=
                        if self.wall_clocks_right { 0 } else { slept };
                }
                self.thaw(other);
            }
        }
        self.resume_connections();
    }

    /// Its clock leaps ahead, as when all were asleep together.
    pub fn advance_clock(&mut self, who: PeerIndex, ms: u64) {
        self.peers[who].clock_lag_ms -= ms as i64;
        self.feed(who, Input::Timeout);
    }

    /// Both ends are told, and what was under way is lost.
    pub fn reset_connection(&mut self, number: u64) {
        let cuts = self
            .network
            .connections
            .get(&number)
            .map_or(0, |conn| conn.cut_count);
        self.time_out(number, cuts);
    }

    /// Copies the directory; a running program has taken the mark of a clean end away.
    pub fn back_up(&mut self, who: PeerIndex) {
        let person = &mut self.peers[who];
        let resume = person.resume_state.clone();
        person.backup = Some((person.disk.clone(), resume));
    }

    /// The copy takes the directory's place. Nothing runs in it.
    pub fn restore(&mut self, who: PeerIndex) {
        assert!(!self.is_running(who), "a program runs there");
        let person = &mut self.peers[who];
        if let Some((disk, resume)) = person.backup.clone() {
            let (full, flaky, slow) = (
                person.disk.full,
                person.disk.failed_saves_per_mille,
                person.disk.read_delay_max_ms,
            );
            (person.disk, person.resume_state) = (disk, resume);
            (
                person.disk.full,
                person.disk.failed_saves_per_mille,
                person.disk.read_delay_max_ms,
            ) = (full, flaky, slow);
            self.invariants.record_restore(who, &self.peers[who].disk);
        }
    }

    /// A box of its own with a copy of the directory: from now on two programs may use one identity.
    pub fn clone_peer(&mut self, who: PeerIndex) -> PeerIndex {
        let twin = self.add_peer(&self.peers[who].name.clone());
        self.invariants.allows_duplicate_identity = true;
        let (seed, id, port) = (
            self.peers[who].identity_seed,
            self.peers[who].id,
            self.peers[who].port,
        );
        let (psk, beacons, skew) = (
            self.peers[who].psk,
            self.peers[who].beacons_enabled,
            self.peers[who].wall_skew_ms,
        );
        let (rooms, known) = (
            self.peers[who].startup_rooms.clone(),
            self.peers[who].known_peers.clone(),
        );
        let copy = (
            self.peers[who].disk.clone(),
            self.peers[who].resume_state.clone(),
        );
        let person = &mut self.peers[twin];
        (person.identity_seed, person.id, person.port) = (seed, id, port);
        (person.psk, person.beacons_enabled, person.wall_skew_ms) = (psk, beacons, skew);
        (person.startup_rooms, person.known_peers) = (rooms, known);
        (person.disk, person.resume_state) = copy;
        self.invariants.record_restore(twin, &self.peers[twin].disk);
        self.invariants.observations[who].has_copy = true;
        self.invariants.observations[who].lost_lines = true;
        twin
    }

    /// Do packets get from this host to that one?
    pub fn has_path(&self, from: usize, to: usize) -> bool {
        let (x, y) = (&self.hosts[from], &self.hosts[to]);
        let meet = || x.networks.iter().any(|n| y.networks.contains(n));
        let awake = x.suspended_since_ms.is_none() && y.suspended_since_ms.is_none();
        let open = || {
            !self.network.cut_paths.contains(&(from, to))
                && !self.network.missing_paths.contains(&(from, to))
        };
        from == to || (awake && x.plugged && y.plugged && meet() && open())
    }

    /// Both ways.
    pub fn has_path_both_ways(&self, a: usize, b: usize) -> bool {
        self.has_path(a, b) && self.has_path(b, a)
    }

    /// Does what this side of the connection writes arrive?
    pub fn can_deliver(&self, number: u64, side: usize) -> bool {
        let Some(conn) = self.network.connections.get(&number) else {
            return false;
        };
        match (conn.ends[side], conn.ends[1 - side]) {
            (Some(a), Some(b)) => self.has_path(self.peers[a.who].host, self.peers[b.who].host),
            _ => true,
        }
    }
}
