//! What a script, or the swarm, does to cables, boxes, programs and directories.
use p2pchat::base::event::Input;

use crate::support::lan::{Event, KERNEL, Lan};
use crate::support::peer::Who;

impl Lan {
    /// Nothing passes between these two any more, and nobody is told.
    pub fn cut(&mut self, a: Who, b: Who) {
        self.cut_way(a, b);
        self.cut_way(b, a);
    }

    /// Nothing passes from the first to the second any more.
    pub fn cut_way(&mut self, from: Who, to: Who) {
        let way = (self.people[from].host, self.people[to].host);
        self.air.cuts.insert(way);
        self.cut_conns();
    }

    /// These two never have a path to each other.
    pub fn wall(&mut self, a: Who, b: Who) {
        let (a, b) = (self.people[a].host, self.people[b].host);
        self.air.walls.extend([(a, b), (b, a)]);
        self.cut_conns();
    }

    pub fn isolate(&mut self, who: Who) {
        for other in 0..self.people.len() {
            if self.people[other].host != self.people[who].host {
                self.cut(who, other);
            }
        }
    }

    /// Nothing passes between the hosts up to this one and the others any more.
    pub fn part_hosts(&mut self, first: usize) {
        for a in 0..first {
            for b in first..self.hosts.len() {
                self.air.cuts.extend([(a, b), (b, a)]);
            }
        }
        self.cut_conns();
    }

    fn cut_conns(&mut self) {
        for number in self.air.conns.keys().copied().collect::<Vec<_>>() {
            if !(self.carries(number, 0) && self.carries(number, 1)) {
                let cuts = self.air.conns.get_mut(&number).map(|conn| {
                    conn.cuts += 1;
                    conn.cuts
                });
                self.after(KERNEL, Event::Dead(number, cuts.unwrap_or(0)));
            }
        }
    }

    pub fn heal(&mut self) {
        self.air.cuts.clear();
        self.mend_conns();
    }

    /// Connections whose path is whole again go on, if their kernels have not given them up.
    fn mend_conns(&mut self) {
        for number in self.air.conns.keys().copied().collect::<Vec<_>>() {
            if !(self.carries(number, 0) && self.carries(number, 1)) {
                continue;
            }
            let both = self.air.conns.get_mut(&number).filter(|conn| {
                let dead =
                    |end: &Option<crate::support::network::End>| end.is_some_and(|e| !e.open);
                !conn.ends.iter().any(dead) || conn.pipes.iter().any(|pipe| pipe.fin)
            });
            if let Some(conn) = both {
                conn.cuts += 1;
                (0..2).for_each(|side| self.flow(number, side));
            }
        }
    }

    /// All cables of the host are pulled, or plugged in.
    pub fn plug(&mut self, who: Who, plugged: bool) {
        let host = self.people[who].host;
        self.hosts[host].plugged = plugged;
        let interfaces = self.hosts[host].interfaces(host);
        for other in 0..self.people.len() {
            if self.people[other].host == host {
                let input = Input::InterfacesChanged(interfaces.clone());
                self.after(0, Event::Input(other, self.people[other].run, input));
            }
        }
        match plugged {
            true => self.mend_conns(),
            false => self.cut_conns(),
        }
    }

    /// Handles nothing any more, while its kernel goes on.
    pub fn freeze(&mut self, who: Who) {
        self.people[who].frozen = true;
    }

    /// Stands still for so long, as behind a disk that is slow to write.
    pub fn stall(&mut self, who: Who, ms: u64) {
        self.freeze(who);
        self.after(ms, Event::Thaw(who, self.people[who].run));
    }

    /// Goes on where it was frozen, or listens to its streams again.
    pub fn thaw(&mut self, who: Who) {
        if self.hosts[self.people[who].host].asleep.is_some() {
            return;
        }
        (self.people[who].frozen, self.people[who].deaf) = (false, false);
        for event in std::mem::take(&mut self.people[who].held) {
            self.after(0, event);
        }
    }

    /// The box sleeps: none of its programs runs, and nothing reaches it.
    pub fn suspend(&mut self, who: Who) {
        let host = self.people[who].host;
        if self.hosts[host].asleep.is_none() {
            self.hosts[host].asleep = Some(self.clock);
            for other in 0..self.people.len() {
                self.people[other].frozen |= self.people[other].host == host;
            }
            self.cut_conns();
        }
    }

    /// The box goes on. `ran`: its clocks counted the time; otherwise it was paused together with them, as a virtual machine is.
    pub fn resume(&mut self, who: Who, ran: bool) {
        let host = self.people[who].host;
        let Some(since) = self.hosts[host].asleep.take() else {
            return;
        };
        for other in 0..self.people.len() {
            if self.people[other].host == host {
                let slept = (self.clock - since.max(self.people[other].born)) as i64;
                if !ran {
                    self.people[other].lag += slept;
                    self.people[other].skew -= if self.right { 0 } else { slept };
                }
                self.thaw(other);
            }
        }
        self.mend_conns();
    }

    /// Its clock leaps ahead, as when all were asleep together.
    pub fn leap(&mut self, who: Who, ms: u64) {
        self.people[who].lag -= ms as i64;
        self.feed(who, Input::Timeout);
    }

    /// Both ends are told, and what was under way is lost.
    pub fn reset(&mut self, number: u64) {
        let cuts = self.air.conns.get(&number).map_or(0, |conn| conn.cuts);
        self.dead(number, cuts);
    }

    /// Copies the directory; a running program has taken the mark of a clean end away.
    pub fn back_up(&mut self, who: Who) {
        let person = &mut self.people[who];
        let resume = person.resume.clone();
        person.backup = Some((person.disk.clone(), resume));
    }

    /// The copy takes the directory's place. Nothing runs in it.
    pub fn restore(&mut self, who: Who) {
        assert!(!self.is_up(who), "a program runs there");
        let person = &mut self.people[who];
        if let Some((disk, resume)) = person.backup.clone() {
            let (full, flaky, slow) = (person.disk.full, person.disk.flaky, person.disk.slow);
            (person.disk, person.resume) = (disk, resume);
            (person.disk.full, person.disk.flaky, person.disk.slow) = (full, flaky, slow);
            self.checks.restored(who, &self.people[who].disk);
        }
    }

    /// A box of its own with a copy of the directory: from now on two programs may use one identity.
    pub fn twin(&mut self, who: Who) -> Who {
        let twin = self.person(&self.people[who].name.clone());
        self.checks.twins = true;
        let (seed, id, port) = (
            self.people[who].seed,
            self.people[who].id,
            self.people[who].port,
        );
        let (psk, beacons, skew) = (
            self.people[who].psk,
            self.people[who].beacons,
            self.people[who].skew,
        );
        let (rooms, known) = (
            self.people[who].rooms.clone(),
            self.people[who].known.clone(),
        );
        let copy = (
            self.people[who].disk.clone(),
            self.people[who].resume.clone(),
        );
        let person = &mut self.people[twin];
        (person.seed, person.id, person.port) = (seed, id, port);
        (person.psk, person.beacons, person.skew) = (psk, beacons, skew);
        (person.rooms, person.known) = (rooms, known);
        (person.disk, person.resume) = copy;
        self.checks.restored(twin, &self.people[twin].disk);
        self.checks.ledgers[who].copied = true;
        self.checks.ledgers[who].lost_power = true;
        twin
    }

    /// Do packets get from this host to that one?
    pub fn way(&self, from: usize, to: usize) -> bool {
        let (x, y) = (&self.hosts[from], &self.hosts[to]);
        let meet = || x.networks.iter().any(|n| y.networks.contains(n));
        let awake = x.asleep.is_none() && y.asleep.is_none();
        let open = || !self.air.cuts.contains(&(from, to)) && !self.air.walls.contains(&(from, to));
        from == to || (awake && x.plugged && y.plugged && meet() && open())
    }

    /// Both ways.
    pub fn reach(&self, a: usize, b: usize) -> bool {
        self.way(a, b) && self.way(b, a)
    }

    /// Does what this side of the connection writes arrive?
    pub fn carries(&self, number: u64, side: usize) -> bool {
        let Some(conn) = self.air.conns.get(&number) else {
            return false;
        };
        match (conn.ends[side], conn.ends[1 - side]) {
            (Some(a), Some(b)) => self.way(self.people[a.who].host, self.people[b.who].host),
            _ => true,
        }
    }
}
