//! Reads the rules of nftables, iptables or ufw, and looks for one that drops what p2pchat needs.
//!
//! A rule is understood if all its conditions are. What follows a rule that is not understood may
//! be decided by it, so a packet is only called blocked if that is certain.
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::base::interface::Interface;
use crate::shell::net::interfaces::{addresses_v4, broadcast_address};
use crate::ui::doctor_check::Check;

/// Where the tools of an administrator are, if the search path of a user does not say so.
const ADMIN_PATHS: &str = ":/usr/sbin:/sbin";
/// The tables of iptables-legacy that this network namespace has.
const LEGACY_TABLES: &str = "/proc/net/ip_tables_names";

/// A packet that must pass.
#[derive(Clone, Debug)]
struct Packet<'a> {
    protocol: &'static str,
    port: u16,
    interface: &'a str,
    /// `None`: the packet is one of IPv6.
    destination: Option<Ipv4Addr>,
    /// The type that `pkttype` matches.
    kind: &'static str,
    is_outgoing: bool,
    /// What the packet is, in words.
    about: &'static str,
}

/// Whether a rule applies to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    Unknown,
}

/// A base chain, or a built-in one of iptables.
struct Chain {
    /// How `nft insert rule` or `iptables` names the chain.
    name: String,
    family: String,
    is_output: bool,
    drops_by_default: bool,
    rules: Vec<String>,
}

/// Looks for a rule that blocks beacons or connections. `udp_port`: of the multicast group.
pub fn check_firewall(
    interfaces: &[Interface],
    group: Option<(Ipv4Addr, u16)>,
    tcp_port: u16,
) -> Check {
    if let Some(status) = run("ufw", &["status", "verbose"]) {
        let check = check_ufw(&status, group.map(|(_, port)| port), tcp_port);
        if let Some(check) = check {
            return check;
        }
    }
    let packets = packets(interfaces, group, tcp_port);
    let mut read: Vec<&str> = Vec::new();
    for (tool, chains) in read_chains() {
        if let Some(finding) = find_block(tool, &chains, &packets) {
            return finding;
        }
        read.push(tool);
    }
    let content = match read.is_empty() {
        true => "its rules were not read: there is neither nft nor iptables, or only root may; \
                 as root: nft list ruleset"
            .to_owned(),
        false => format!("{}: no rule surely blocks p2pchat", read.join(", ")),
    };
    Check::ok("firewall", content)
}

/// The chains that each tool shows. nft shows the rules of iptables as well, but not those of
/// iptables-legacy, which the kernel keeps apart.
fn read_chains() -> Vec<(&'static str, Vec<Chain>)> {
    let mut all = Vec::new();
    let save = |tool: &str| run(tool, &["-t", "filter"]);
    match (run("nft", &["list", "ruleset"]), save("iptables-save")) {
        (Some(rules), _) => all.push(("nft", nft_chains(&rules))),
        (None, Some(rules)) => all.push(("iptables", iptables_chains(&rules))),
        (None, None) => {}
    }
    // To ask for a table that is not there would create it.
    let tables = fs::read_to_string(LEGACY_TABLES).unwrap_or_default();
    if tables.lines().any(|table| table == "filter") {
        let rules = save("iptables-legacy-save").map(|rules| ("iptables-legacy", rules));
        let rules = rules.or_else(|| Some(("iptables", save("iptables-save")?)));
        all.extend(rules.map(|(tool, rules)| (tool, iptables_chains(&rules))));
    }
    all
}

/// What a tool prints. `None`: it is missing, fails, or prints an error.
fn run(tool: &str, arguments: &[&str]) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(tool)
        .args(arguments)
        .env("PATH", path + ADMIN_PATHS)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let printed = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8_lossy(&printed).into_owned())
}

/// The packets that must pass over each interface.
fn packets(
    interfaces: &[Interface],
    group: Option<(Ipv4Addr, u16)>,
    tcp_port: u16,
) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    for interface in interfaces.iter().filter(|it| !it.is_loopback) {
        let (own, name) = (addresses_v4(interface).next(), interface.name.as_str());
        let incoming = Packet {
            protocol: "tcp",
            port: tcp_port,
            interface: name,
            destination: own.map(|(ip, _)| ip),
            kind: "host",
            is_outgoing: false,
            about: "connections",
        };
        if let Some((group, port)) = group {
            let broadcast = own.and_then(|(ip, prefix)| broadcast_address(ip, prefix));
            let v4 = [
                own.map(|_| (group, "multicast", "beacons by multicast")),
                broadcast.map(|to| (to, "broadcast", "beacons by broadcast")),
            ];
            for (to, kind, about) in v4.into_iter().flatten() {
                for is_outgoing in [false, true] {
                    packets.push(Packet {
                        protocol: "udp",
                        port,
                        destination: Some(to),
                        kind,
                        is_outgoing,
                        about,
                        ..incoming.clone()
                    });
                }
            }
        }
        packets.push(incoming);
    }
    packets
}

/// What ufw says. `None`: ufw is off, or it cannot be told.
fn check_ufw(status: &str, udp_port: Option<u16>, tcp_port: u16) -> Option<Check> {
    let denies = status.lines().any(|line| {
        line.starts_with("Default:")
            && (line.contains("deny (incoming)") || line.contains("reject (incoming)"))
    });
    if !status.starts_with("Status: active") || !denies {
        return None;
    }
    let is_open = |protocol: &str, port: u16| {
        status.lines().any(|line| {
            let to = line.split_ascii_whitespace().next().unwrap_or_default();
            let (ports, of) = to.split_once('/').unwrap_or((to, protocol));
            let mut ports = ports.split(',').map(|it| it.replace(':', "-"));
            let is_for = |ports: String| has_port(&[&ports], port) == Match::Yes;
            let is_meant = to == "Anywhere" || of == protocol && ports.any(is_for);
            is_meant && (line.contains(" ALLOW") || line.contains(" LIMIT"))
        })
    };
    let udp = udp_port.filter(|port| !is_open("udp", *port));
    let tcp = Some(tcp_port).filter(|port| !is_open("tcp", *port));
    let udp = udp.map(|port| format!("{port}/udp"));
    let tcp = tcp.map(|port| format!("{port}/tcp"));
    let closed: Vec<String> = [udp, tcp].into_iter().flatten().collect();
    if closed.is_empty() {
        return Some(Check::ok("firewall", "ufw lets beacons and connections in"));
    }
    let mend: Vec<String> = closed.iter().map(|it| format!("ufw allow {it}")).collect();
    let content = format!("ufw does not let {} in", closed.join(" and "));
    Some(Check::finding("firewall", content, mend.join(" && ")))
}

/// The finding that a packet is blocked.
fn find_block(tool: &str, chains: &[Chain], packets: &[Packet<'_>]) -> Option<Check> {
    for packet in packets {
        for chain in chains {
            if let Some(rule) = chain.blocks(packet) {
                let Packet { protocol, port, .. } = packet;
                let direction = if packet.is_outgoing { "out" } else { "in" };
                let content = format!(
                    "{tool} does not let {} {direction} ({protocol} port {port}, {}): {rule} in {}",
                    packet.about, packet.interface, chain.name
                );
                let mend = match tool {
                    "nft" => format!(
                        "nft insert rule {} {protocol} dport {port} accept",
                        chain.name
                    ),
                    _ => format!(
                        "{tool} -I {} -p {protocol} --dport {port} -j ACCEPT",
                        chain.name
                    ),
                };
                return Some(Check::finding("firewall", content, mend));
            }
        }
    }
    None
}

impl Chain {
    /// The rule that surely drops the packet.
    fn blocks(&self, packet: &Packet<'_>) -> Option<String> {
        let families: &[&str] = match packet.destination {
            Some(_) => &["ip", "inet"],
            None => &["ip6", "inet"],
        };
        if self.is_output != packet.is_outgoing || !families.contains(&self.family.as_str()) {
            return None;
        }
        for rule in &self.rules {
            let (matches, verdict) = match_rule(rule, packet);
            match (matches, verdict) {
                (Match::No, _) => {}
                (Match::Yes, "drop" | "reject") => return Some(format!("`{rule}`")),
                // Without a verdict, a rule only counts or logs.
                (_, "") | (Match::Unknown, "drop" | "reject") => {}
                _ => return None,
            }
        }
        self.drops_by_default
            .then(|| "what no rule accepts is dropped".to_owned())
    }
}

/// The base chains of the output of `nft list ruleset`.
fn nft_chains(text: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let (mut family, mut table) = (String::new(), String::new());
    let mut chain: Option<Chain> = None;
    let mut depth = 0;
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["table", of, name, "{"] if depth == 0 => {
                (family, table, depth) = (of.to_owned(), name.to_owned(), 1);
            }
            ["chain", name, "{"] if depth == 1 => {
                depth = 2;
                chain = Some(Chain {
                    name: format!("{family} {table} {name}"),
                    family: family.clone(),
                    is_output: false,
                    drops_by_default: false,
                    rules: Vec::new(),
                });
            }
            ["}"] => {
                depth = (depth - 1).max(0);
                chains.extend(chain.take_if(|_| depth == 1));
            }
            [.., "{"] => depth += 1,
            ["type", "filter", "hook", hook, ..] if depth == 2 => match (hook, &mut chain) {
                ("input" | "output", Some(chain)) => {
                    chain.is_output = hook == "output";
                    chain.drops_by_default = line.contains("policy drop;");
                }
                // A chain that packets of this host do not pass.
                _ => chain = None,
            },
            ["type" | "policy" | "comment", ..] | [] => {}
            _ if depth == 2 => {
                if let Some(chain) = &mut chain {
                    chain.rules.push(line.to_owned());
                }
            }
            _ => {}
        }
    }
    // A chain without a hook gets its packets from rules that jump to it.
    let hooks = text.lines().map(str::trim).collect::<Vec<_>>();
    chains.retain(|chain| is_base_chain(&hooks, chain));
    chains
}

fn is_base_chain(lines: &[&str], chain: &Chain) -> bool {
    let mut words = chain.name.split(' ');
    let (family, table, name) = (words.next(), words.next(), words.next());
    let (Some(family), Some(table), Some(name)) = (family, table, name) else {
        return false;
    };
    let table = format!("table {family} {table} {{");
    let mut in_table = lines.iter().skip_while(|line| **line != table);
    let chain = format!("chain {name} {{");
    let found = in_table.position(|line| *line == chain).is_some();
    found
        && in_table
            .next()
            .is_some_and(|line| line.starts_with("type filter hook "))
}

/// The built-in chains of the output of `iptables-save`.
fn iptables_chains(text: &str) -> Vec<Chain> {
    ["INPUT", "OUTPUT"]
        .map(|name| Chain {
            name: name.to_owned(),
            family: "ip".to_owned(),
            is_output: name == "OUTPUT",
            drops_by_default: text
                .lines()
                .any(|it| it.starts_with(&format!(":{name} DROP"))),
            rules: text
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("-A {name} ")))
                .map(str::to_owned)
                .collect(),
        })
        .into()
}

/// Whether the rule applies to the packet, and its verdict.
fn match_rule<'a>(rule: &'a str, packet: &Packet<'_>) -> (Match, &'a str) {
    let rule = rule.split(" comment \"").next().unwrap_or_default();
    let words: Vec<&str> = rule.split_ascii_whitespace().collect();
    let mut rest = &words[..];
    let mut matches = Match::Yes;
    while !rest.is_empty() {
        let (condition, used) = match rest {
            ["accept" | "drop" | "return", ..] => return (matches, rest[0]),
            ["reject", ..] => return (matches, "reject"),
            ["-j", target, ..] => {
                return (
                    matches,
                    match *target {
                        "ACCEPT" => "accept",
                        "DROP" => "drop",
                        "REJECT" => "reject",
                        "LOG" | "NFLOG" => "",
                        _ => "jump",
                    },
                );
            }
            ["jump" | "goto" | "queue", ..] => return (matches, "jump"),
            ["counter", "packets", _, "bytes", _, tail @ ..] => (Match::Yes, tail),
            ["counter", tail @ ..] => (Match::Yes, tail),
            ["udp" | "tcp", "dport", tail @ ..] if rest[0] != packet.protocol => {
                (Match::No, value(tail).1)
            }
            ["udp" | "tcp", "dport", tail @ ..] => {
                let (values, tail) = value(tail);
                (has_port(&values, packet.port), tail)
            }
            ["udp" | "tcp", "sport", tail @ ..] if rest[0] != packet.protocol => {
                (Match::No, value(tail).1)
            }
            ["meta", "l4proto", tail @ ..] | ["ip", "protocol", tail @ ..] => {
                let (values, tail) = value(tail);
                let number = if packet.protocol == "udp" { "17" } else { "6" };
                (is_one_of(&values, &[packet.protocol, number]), tail)
            }
            ["-p", protocol, tail @ ..] => (is_one_of(&[protocol], &[packet.protocol]), tail),
            ["-m", _, tail @ ..] => (Match::Yes, tail),
            ["--dport", port, tail @ ..] => {
                (has_port(&[&port.replace(':', "-")], packet.port), tail)
            }
            ["iif" | "iifname", tail @ ..] if !packet.is_outgoing => {
                let (values, tail) = value(tail);
                (is_interface(&values, packet.interface), tail)
            }
            ["oif" | "oifname", tail @ ..] if packet.is_outgoing => {
                let (values, tail) = value(tail);
                (is_interface(&values, packet.interface), tail)
            }
            ["-i" | "-o", name, tail @ ..] => (is_interface(&[name], packet.interface), tail),
            ["ct", "state", tail @ ..] => {
                let (values, tail) = value(tail);
                let states: Vec<&str> = values.iter().flat_map(|it| it.split(',')).collect();
                (is_one_of(&states, &["new"]), tail)
            }
            ["--ctstate" | "--state", states, tail @ ..] => {
                let states: Vec<&str> = states.split(',').collect();
                (is_one_of(&states, &["NEW"]), tail)
            }
            ["ip", "daddr", tail @ ..] => {
                let (values, tail) = value(tail);
                (has_address(&values, packet.destination), tail)
            }
            ["-d", address, tail @ ..] => (has_address(&[address], packet.destination), tail),
            ["ip6", _, tail @ ..] if packet.destination.is_some() => (Match::No, value(tail).1),
            ["meta", "pkttype", tail @ ..] | ["pkttype", tail @ ..] => {
                let (values, tail) = value(tail);
                (is_one_of(&values, &[packet.kind]), tail)
            }
            ["!", _, _, tail @ ..] | [_, tail @ ..] => (Match::Unknown, tail),
            [] => break,
        };
        matches = match (matches, condition) {
            (Match::No, _) | (_, Match::No) => Match::No,
            (Match::Unknown, _) | (_, Match::Unknown) => Match::Unknown,
            _ => Match::Yes,
        };
        rest = used;
    }
    (matches, "")
}

/// The value or the set of values at the beginning, and the words behind. `!=` is a value that
/// nobody understands.
fn value<'a, 'b>(words: &'b [&'a str]) -> (Vec<&'a str>, &'b [&'a str]) {
    match words {
        ["{", rest @ ..] => {
            let end = rest
                .iter()
                .position(|word| *word == "}")
                .unwrap_or(rest.len());
            let (values, tail) = rest.split_at(end);
            let values = values.iter().map(|it| it.trim_end_matches(','));
            (values.collect(), tail.get(1..).unwrap_or_default())
        }
        ["!=", tail @ ..] => (vec!["@"], value(tail).1),
        [one, tail @ ..] => (vec![one.trim_matches('"')], tail),
        [] => (Vec::new(), &[]),
    }
}

fn is_one_of(values: &[&str], wanted: &[&str]) -> Match {
    match values {
        _ if values.iter().any(|it| it.starts_with('@') || *it == "vmap") => Match::Unknown,
        _ if values.iter().any(|it| wanted.contains(it)) => Match::Yes,
        _ => Match::No,
    }
}

fn is_interface(values: &[&str], name: &str) -> Match {
    match values.iter().any(|it| it.ends_with(['*', '+'])) {
        true => Match::Unknown,
        false => is_one_of(
            &values
                .iter()
                .map(|it| it.trim_matches('"'))
                .collect::<Vec<_>>(),
            &[name],
        ),
    }
}

fn has_port(values: &[&str], port: u16) -> Match {
    let has = |value: &&str| {
        let (low, high) = value.split_once('-').unwrap_or((value, value));
        Some((low.parse::<u16>().ok()?..=high.parse::<u16>().ok()?).contains(&port))
    };
    one_match(values.iter().map(has))
}

fn has_address(values: &[&str], address: Option<Ipv4Addr>) -> Match {
    let has = |value: &&str| {
        let (network, bits) = value.split_once('/').unwrap_or((value, "32"));
        let (network, bits) = (network.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
        Some((network.to_bits() ^ address?.to_bits()) & mask == 0)
    };
    one_match(values.iter().map(has))
}

fn one_match(mut values: impl Iterator<Item = Option<bool>> + Clone) -> Match {
    match () {
        () if values.clone().any(|value| value == Some(true)) => Match::Yes,
        () if values.any(|value| value.is_none()) => Match::Unknown,
        () => Match::No,
    }
}

#[cfg(test)]
mod tests {
    use super::check_ufw;

    /// What ufw 0.36.2 prints.
    fn status(rules: &str) -> String {
        format!(
            "Status: active\nLogging: on (low)\nDefault: deny (incoming), allow (outgoing), disabled \
             (routed)\nNew profiles: skip\n\nTo                         Action      From\n\
             --                         ------      ----\n{rules}\n"
        )
    }

    #[test]
    fn ports_that_ufw_closes_are_named() {
        let udp = "9999/udp                   ALLOW IN    Anywhere";
        for (rules, mend) in [
            ("", Some("ufw allow 9999/udp && ufw allow 9999/tcp")),
            (udp, Some("ufw allow 9999/tcp")),
            (
                "9999/udp                   DENY IN     Anywhere\n",
                Some("ufw allow 9999/udp && ufw allow 9999/tcp"),
            ),
            (
                "80,9000:10000/tcp          ALLOW IN    10.0.0.0/8",
                Some("ufw allow 9999/udp"),
            ),
            ("9999                       ALLOW IN    Anywhere", None),
            ("Anywhere                   ALLOW IN    10.0.0.0/8", None),
        ] {
            let check = check_ufw(&status(rules), Some(9999), 9999).expect("a check");
            assert_eq!(check.mend.as_deref(), mend, "{rules}");
        }
        let open = status("").replace("deny (incoming)", "allow (incoming)");
        assert!(check_ufw(&open, Some(9999), 9999).is_none());
        assert!(check_ufw("Status: inactive\n", Some(9999), 9999).is_none());
    }
}
