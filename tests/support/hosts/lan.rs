//! A LAN of hosts, whose cables can be cut and whose ports can be muted.
use std::time::Duration;

use super::command::attempt;
use super::host::Host;
use super::namespace::Namespace;
use super::wait::wait_until;

/// Hosts and the switches between them. Each segment is one switch (a bridge). On segment s,
/// host h (from 0) has the interface `eth<s>` with the address 10.(77 + s).0.(h + 1)/24 and a
/// link-local IPv6 address.
pub struct Lan {
    pub hosts: Vec<Host>,
    switch: Namespace,
}

impl Lan {
    /// `count` hosts on segment 0. `None` (and NOT RUN on stderr) without the right to create
    /// namespaces.
    pub fn new(count: usize) -> Option<Lan> {
        let switch = Namespace::new()?;
        let hosts = (0..count).map(|_| Host::new(&[])).collect::<Option<_>>()?;
        let lan = Lan { hosts, switch };
        for host in 0..count {
            lan.attach(host, 0);
        }
        for host in 0..count {
            lan.wait_up(host, 0);
        }
        Some(lan)
    }

    /// `count` hosts without an interface; [`Lan::attach`] adds one.
    pub fn unplugged(count: usize) -> Option<Lan> {
        let mut lan = Lan::new(0)?;
        for _ in 0..count {
            lan.hosts.push(Host::new(&[])?);
        }
        Some(lan)
    }

    /// The IPv4 address of this host on this segment.
    pub fn address(host: usize, segment: usize) -> String {
        format!("10.{}.0.{}", 77 + segment, host + 1)
    }

    /// Adds an interface on this segment to the host. The interface may not be usable yet: see
    /// [`Lan::wait_up`].
    pub fn attach(&self, host: usize, segment: usize) {
        self.add_card(host, segment, segment, &Lan::address(host, segment));
    }

    /// Adds a second interface on segment 0: `eth1`, with the address 10.77.0.(h + 101)/24.
    pub fn attach_second(&self, host: usize) {
        self.add_card(host, 1, 0, &format!("10.77.0.{}", host + 101));
    }

    fn add_card(&self, host: usize, card: usize, segment: usize, address: &str) {
        let switch = &self.switch;
        if !attempt(&format!("ip -n {} link show br{segment}", switch.name())).0 {
            switch.ip(&format!(
                "link add br{segment} type bridge forward_delay 0 mcast_snooping 0"
            ));
            switch.ip(&format!("link set br{segment} up"));
        }
        let (port, name) = (port(host, card), switch.name());
        let namespace = &self.hosts[host].namespace;
        namespace.ip(&format!(
            "link add eth{card} type veth peer name {port} netns {name}"
        ));
        switch.ip(&format!("link set {port} master br{segment} up"));
        namespace.ip(&format!("address add {address}/24 brd + dev eth{card}"));
        namespace.ip(&format!("link set eth{card} up"));
    }

    /// Leaves the interface without any IPv6 address, which connects the hosts in most cases.
    pub fn disable_ipv6(&self, host: usize, segment: usize) {
        let namespace = &self.hosts[host].namespace;
        namespace.ip(&format!("link set dev eth{segment} addrgenmode none"));
        namespace.ip(&format!("-6 address flush dev eth{segment}"));
    }

    /// Replaces all addresses of the interface with this IPv4 address.
    pub fn readdress(&self, host: usize, segment: usize, address: &str) {
        self.disable_ipv6(host, segment);
        let namespace = &self.hosts[host].namespace;
        namespace.ip(&format!("address flush dev eth{segment}"));
        namespace.ip(&format!("address add {address} brd + dev eth{segment}"));
    }

    /// Deletes the interface, like removing a network card.
    pub fn detach(&self, host: usize, segment: usize) {
        let namespace = &self.hosts[host].namespace;
        namespace.ip(&format!("link delete eth{segment}"));
    }

    /// Waits until the interface has carrier and a usable IPv6 address.
    pub fn wait_up(&self, host: usize, segment: usize) {
        let namespace = &self.hosts[host].namespace;
        wait_until("an interface comes up", Duration::from_secs(10), || {
            let link = namespace.ip(&format!("-o link show eth{segment}"));
            let addresses = namespace.ip(&format!("-o -6 address show eth{segment} scope link"));
            link.contains("LOWER_UP")
                && link.contains("state UP")
                && addresses.contains("fe80")
                && !addresses.contains("tentative")
        });
    }

    /// Cuts the cable: both ends lose carrier.
    pub fn cut(&self, host: usize, segment: usize) {
        let port = port(host, segment);
        self.switch.ip(&format!("link set {port} down"));
    }

    /// Restores the cable. The interface may not be usable yet: see [`Lan::wait_up`].
    pub fn plug(&self, host: usize, segment: usize) {
        let port = port(host, segment);
        self.switch.ip(&format!("link set {port} up"));
    }

    /// Restores the cable, and waits until the interface is up.
    pub fn heal(&self, host: usize, segment: usize) {
        self.plug(host, segment);
        self.wait_up(host, segment);
    }

    /// Drops all frames from and to this host at the switch while the interface keeps its
    /// carrier, like a power loss behind the switch.
    pub fn mute(&self, host: usize, segment: usize) {
        // At the port: rules for the bridge do not apply to ports that were added after them.
        let port = port(host, segment);
        let drop = |hook| {
            format!(
                "chain {hook} {{ type filter hook {hook} device {port} priority 0; policy drop; }}\n"
            )
        };
        let chains = drop("ingress") + &drop("egress");
        self.switch
            .nft(&format!("table netdev mute_{port} {{\n{chains}}}"));
    }

    /// Drops the frames from and to this host that are longer than `bytes`, without an error.
    pub fn lose_large(&self, host: usize, segment: usize, bytes: usize) {
        let port = port(host, segment);
        let drop = |hook| {
            format!(
                "chain {hook} {{ type filter hook {hook} device {port} priority 0;
                meta length > {bytes} drop; }}\n"
            )
        };
        let chains = drop("ingress") + &drop("egress");
        self.switch
            .nft(&format!("table netdev small_{port} {{\n{chains}}}"));
    }

    /// Forwards the frames of this host again.
    pub fn unmute(&self, host: usize, segment: usize) {
        let port = port(host, segment);
        self.switch.nft(&format!("delete table netdev mute_{port}"));
    }
}

/// The name of the switch port to which this host is connected.
fn port(host: usize, segment: usize) -> String {
    format!("h{host}s{segment}")
}
