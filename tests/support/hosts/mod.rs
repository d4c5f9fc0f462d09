//! Helpers for tests with the real program on one or more hosts: network namespaces, the
//! bridges between them, and the programs that run in them.
//!
//! The machine's own network stays untouched. Dropping a value removes its namespace or
//! process, also in a panic; the next run removes what a killed run left.
//! Without the right to create namespaces the constructors return `None` and write NOT RUN to
//! the real stderr. With `P2PCHAT_TESTS=all` they panic instead; any other failure always
//! panics.
#![allow(dead_code, reason = "each test program uses some of the helpers")]

pub mod program;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sched::{CloneFlags, setns};

use program::Program;

const PREFIX: &str = "p2pchat-test";

/// Waits until the condition holds; polls it every 2 ms.
///
/// # Panics
/// The condition is still false after `limit`; the message names `what`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command, whose words are separated by spaces, and returns its stdout.
///
/// # Panics
/// The command fails.
pub fn run(command: &str) -> String {
    let (success, output) = attempt(command);
    assert!(success, "{command}: {output}");
    output
}

fn attempt(command: &str) -> (bool, String) {
    let mut words = command.split_ascii_whitespace();
    let name = words.next().expect("a command");
    match Command::new(name).args(words).output() {
        Ok(output) if output.status.success() => {
            (true, String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => (false, String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => (false, error.to_string()),
    }
}

/// Whether this process may create network namespaces. Checked once; installs missing tools
/// from Debian's packages.
fn can_create_namespaces() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let root = nix::unistd::geteuid().is_root();
        if !root || !attempt("unshare --net true").0 {
            assert!(
                std::env::var_os("P2PCHAT_TESTS").is_none_or(|which| which != "all"),
                "no right to make network namespaces, and P2PCHAT_TESTS=all"
            );
            return false;
        }
        for (tool, package) in [("ip", "iproute2"), ("nft", "nftables")] {
            if !attempt(&format!("{tool} -V")).0 {
                attempt("apt-get -qq update");
                run(&format!(
                    "apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends {package}"
                ));
            }
        }
        delete_orphaned_namespaces();
        true
    })
}

fn print_not_run() {
    // The test harness captures `eprintln` of a test that passes.
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(
        std::io::stderr(),
        "\nNOT RUN: {test}: NO RIGHT TO MAKE NETWORK NAMESPACES (NEEDS ROOT)"
    );
}

/// Deletes the namespaces of test runs whose process has ended.
fn delete_orphaned_namespaces() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
        let pid = parts.nth(1).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            attempt(&format!("ip netns delete {name}"));
        }
    }
}

/// A network namespace with loopback up and no other interface; deleted when this is dropped.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// `None` (and NOT RUN on stderr) without the right to create one.
    pub fn new() -> Option<Namespace> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !can_create_namespaces() {
            print_not_run();
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let pid = std::process::id();
        let name = format!("{PREFIX}-{pid}-{number}-{:x}", now.subsec_nanos());
        run(&format!("ip netns add {name}"));
        let namespace = Namespace { name };
        namespace.ip("link set lo up");
        // Without duplicate address detection, link-local addresses are usable at once and not
        // a second later.
        namespace.inside(|| {
            for file in ["accept_dad", "dad_transmits"] {
                let path = format!("/proc/sys/net/ipv6/conf/default/{file}");
                fs::write(path, "0").expect("a sysctl of the namespace");
            }
        });
        Some(namespace)
    }

    /// The name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` with these arguments in the namespace, and returns its stdout.
    pub fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.name))
    }

    /// Runs these nft commands in the namespace.
    pub fn nft(&self, commands: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft");
        let mut stdin = nft.stdin.take().expect("a pipe");
        stdin.write_all(commands.as_bytes()).expect("nft reads");
        drop(stdin);
        assert!(nft.wait().expect("nft exits").success(), "nft: {commands}");
    }

    /// Calls the function on a thread in the namespace. The sockets it creates stay in the
    /// namespace when the thread has ended.
    pub fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("permission to enter the namespace");
                function()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        attempt(&format!("ip netns delete {}", self.name));
    }
}

/// A host: a network namespace, and a folder for the state of its programs.
pub struct Host {
    pub namespace: Namespace,
    folder: PathBuf,
    options: Vec<String>,
}

impl Host {
    fn new(options: &[&str]) -> Option<Host> {
        let namespace = Namespace::new()?;
        let folder = std::env::temp_dir().join(namespace.name());
        fs::create_dir(&folder).expect("a folder for state");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Some(Host {
            namespace,
            folder,
            options,
        })
    }

    /// The directory for the state of this user's programs (`$P2PCHAT_DIR`), the same for every
    /// run.
    pub fn folder(&self, user: &str) -> PathBuf {
        self.folder.join(user)
    }

    /// Starts the program as this user, with piped stdin, stdout and stderr. `$P2PCHAT_DIR` is
    /// left out when the arguments hold `--ephemeral` or `--dir`.
    pub fn spawn(&self, user: &str, arguments: &[&str]) -> Program {
        Program::spawn(user, self.program(user, arguments))
    }

    /// [`Host::spawn`], with stdout written to this file.
    pub fn spawn_into(&self, user: &str, arguments: &[&str], out: File) -> Program {
        Program::spawn_into(user, self.program(user, arguments), out.into())
    }

    fn program(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_p2pchat"));
        command.args(&self.options).args(arguments);
        command.env("P2PCHAT_USERNAME", user);
        if !arguments
            .iter()
            .any(|a| *a == "--ephemeral" || a.starts_with("--dir"))
        {
            command.env("P2PCHAT_DIR", self.folder(user));
        }
        command
    }

    /// The stdout of `history` with these options for this user, beside a running program or
    /// without one.
    ///
    /// # Panics
    /// `history` fails, or writes to stderr.
    pub fn history(&self, user: &str, options: &[&str]) -> String {
        let mut command = self.program(user, &["history"]);
        let output = command.args(options).output().expect("a program");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && err.is_empty(),
            "history of {user}: {} {err}",
            output.status
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// [`Host::spawn`], and waits for `ready as` on stderr.
    pub fn start(&self, user: &str, arguments: &[&str]) -> Program {
        let program = self.spawn(user, arguments);
        program.wait_ready();
        program
    }

    /// A command on this host, without the variables of the machine's user that p2pchat reads.
    /// `ip netns exec` replaces itself, so the child's process id is the program's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace.name(), program]);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("P2PCHAT_") || name.starts_with("XDG_") || name == "USER" {
                command.env_remove(name);
            }
        }
        command.env("HOME", &self.folder);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A host with loopback only, on which programs run with `--interface lo`.
pub struct Loopback {
    pub host: Host,
}

impl Loopback {
    /// `None` (and NOT RUN on stderr) without the right to create namespaces.
    pub fn new() -> Option<Loopback> {
        let host = Host::new(&["--interface", "lo"])?;
        Some(Loopback { host })
    }

    /// [`Host::spawn`].
    pub fn spawn(&self, user: &str, arguments: &[&str]) -> Program {
        self.host.spawn(user, arguments)
    }

    /// [`Host::start`].
    pub fn start(&self, user: &str, arguments: &[&str]) -> Program {
        self.host.start(user, arguments)
    }
}

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
        let switch = &self.switch;
        if !attempt(&format!("ip -n {} link show br{segment}", switch.name())).0 {
            switch.ip(&format!(
                "link add br{segment} type bridge forward_delay 0 mcast_snooping 0"
            ));
            switch.ip(&format!("link set br{segment} up"));
        }
        let (port, name) = (port(host, segment), switch.name());
        let namespace = &self.hosts[host].namespace;
        namespace.ip(&format!(
            "link add eth{segment} type veth peer name {port} netns {name}"
        ));
        switch.ip(&format!("link set {port} master br{segment} up"));
        let address = Lan::address(host, segment);
        namespace.ip(&format!("address add {address}/24 brd + dev eth{segment}"));
        namespace.ip(&format!("link set eth{segment} up"));
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

    /// Restores the cable, and waits until the interface is up.
    pub fn heal(&self, host: usize, segment: usize) {
        let port = port(host, segment);
        self.switch.ip(&format!("link set {port} up"));
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
