//! Hosts on one network and one virtual clock, which jumps from event to event.
use p2pchat::{Command, Input, Notice, Room, Time};

use super::host::Host;
use super::network::{HostIndex, Network};

/// All hosts, the network between them, and the time.
#[derive(Default)]
pub struct Lan {
    now: Time,
    pub hosts: Vec<Host>,
    pub network: Network,
    notices: Vec<(HostIndex, Notice)>,
}

impl Lan {
    /// Adds a host and begins its first run. It joins #general.
    pub fn start(&mut self, name: &str) -> HostIndex {
        let host = self.network.add_host();
        self.hosts.push(Host::new(host, name, self.now));
        self.begin_run(host);
        host
    }

    /// Ends the run of a host cleanly.
    pub fn stop(&mut self, host: HostIndex) {
        self.command(host, Command::Leave);
        self.deliver_all();
    }

    /// Begins the next run of a stopped host.
    pub fn restart(&mut self, host: HostIndex) {
        self.network.close_all(host);
        self.hosts[host].restart(self.now);
        self.begin_run(host);
    }

    /// Opens the folders of the room and of direct messages, then reports the interfaces.
    fn begin_run(&mut self, host: HostIndex) {
        for input in self.hosts[host].first_inputs() {
            self.handle(host, input);
        }
    }

    /// Joins a room, and makes it the current room.
    pub fn join(&mut self, host: HostIndex, room: Room) {
        for input in self.hosts[host].open_folder((&room).into(), self.now) {
            self.handle(host, input);
        }
        self.command(host, Command::Join(room));
    }

    /// Executes a command of a host's user.
    pub fn command(&mut self, host: HostIndex, command: Command) {
        self.handle(host, Input::Command(command));
    }

    fn handle(&mut self, host: HostIndex, input: Input<'_>) {
        self.hosts[host].handle(self.now, input, &mut self.network);
        let notices = self.hosts[host].take_notices();
        self.notices.extend(notices.map(|notice| (host, notice)));
    }

    /// Lets time pass: delivers what is on its way, and fires the timers that become due.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.deliver_all();
            let timeouts = self.hosts.iter().map(Host::next_timeout).enumerate();
            let timeouts = timeouts.filter_map(|(host, at)| Some((at?, host)));
            let Some((at, host)) = timeouts.min().filter(|(at, _)| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.handle(host, Input::Timeout);
        }
        self.now = end;
    }

    fn deliver_all(&mut self) {
        while let Some((host, arrival)) = self.network.next_arrival() {
            arrival.with_input(|input| self.handle(host, input));
        }
    }

    /// Takes the notices of all hosts since the last call, in order. Each comes with the name of
    /// its host.
    pub fn take_notices(&mut self) -> Vec<(String, Notice)> {
        let notices = std::mem::take(&mut self.notices).into_iter();
        notices
            .map(|(host, notice)| (self.hosts[host].name().to_string(), notice))
            .collect()
    }
}
