//! A kit for tests with the real program on several hosts: network namespaces joined by bridges, programs in them, and their output.
//!
//! Nothing of it touches the machine's own network. Namespaces and processes end with the value that holds them, also in a
//! panic; those of a test run that was killed are swept away by the next. Where the right to make namespaces is missing, the
//! constructors give `None` and say NOT RUN on the real stderr (with `P2PCHAT_TESTS=all` they panic); any other failure panics.
#![allow(dead_code, reason = "each test file uses its own part of the kit")]

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

/// Waits until the condition holds.
///
/// # Panics
/// It does not hold in time; `what` says what was waited for.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command and gives its stdout.
///
/// # Panics
/// It fails.
pub fn run(command: &str) -> String {
    let (done, output) = attempt(command);
    assert!(done, "{command}: {output}");
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

/// May this process make namespaces? Asked once; installs the tools from Debian's packages if they are missing.
fn available() -> bool {
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
        sweep();
        true
    })
}

fn not_run() {
    // Not `eprintln`, which a passing test would swallow.
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(
        std::io::stderr(),
        "\nNOT RUN: {test}: NO RIGHT TO MAKE NETWORK NAMESPACES (NEEDS ROOT)"
    );
}

/// Removes what a killed test run left behind: its process is no more.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
        let pid = parts.nth(1).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            attempt(&format!("ip netns delete {name}"));
        }
    }
}

/// A network of its own, with nothing but loopback, which is up.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// `None`, and said loudly, without the right to make one.
    pub fn new() -> Option<Namespace> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !available() {
            not_run();
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let noise = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let pid = std::process::id();
        let name = format!("{PREFIX}-{pid}-{number}-{:x}", noise.subsec_nanos());
        run(&format!("ip netns add {name}"));
        let namespace = Namespace { name };
        namespace.ip("link set lo up");
        // Link-local addresses shall be usable at once, not after a second of looking for doubles.
        namespace.inside(|| {
            for file in ["accept_dad", "dad_transmits"] {
                let path = format!("/proc/sys/net/ipv6/conf/default/{file}");
                fs::write(path, "0").expect("a sysctl of the namespace");
            }
        });
        Some(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` with these arguments, in here.
    pub fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.name))
    }

    /// nft commands, in here.
    pub fn nft(&self, commands: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft");
        let mut stdin = nft.stdin.take().expect("a pipe");
        stdin.write_all(commands.as_bytes()).expect("nft listens");
        drop(stdin);
        assert!(nft.wait().expect("nft ends").success(), "nft: {commands}");
    }

    /// Calls the function on a thread that lives in here: sockets that it makes belong here, also after it ended.
    pub fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("a way into the namespace");
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

/// A box: a network of its own, and a folder in which its programs keep their state.
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

    /// The folder in which the program of this user keeps its state (`$P2PCHAT_DIR`); the same in each run.
    pub fn folder(&self, user: &str) -> PathBuf {
        self.folder.join(user)
    }

    /// Starts the program as this user, with its three streams piped. With `--ephemeral` or `--dir` no folder is given to it.
    pub fn spawn(&self, user: &str, arguments: &[&str]) -> Program {
        Program::spawn(user, self.program(user, arguments))
    }

    /// [`Host::spawn`], with a stdout that goes into this file.
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

    /// What `history` with these options prints for this user, whether a program runs as him or not.
    ///
    /// # Panics
    /// It fails, or says something on stderr.
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

    /// [`Host::spawn`], and waits until it says that it is ready.
    pub fn start(&self, user: &str, arguments: &[&str]) -> Program {
        let program = self.spawn(user, arguments);
        program.wait_ready();
        program
    }

    /// Any command on this host, with an environment that says nothing about the machine's user. It becomes the child itself,
    /// so its process id is the child's.
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

/// One box with nothing but loopback, on which programs are started with `--interface lo`.
pub struct Loopback {
    pub host: Host,
}

impl Loopback {
    /// `None`, and said loudly, without the right to make namespaces.
    pub fn new() -> Option<Loopback> {
        let host = Host::new(&["--interface", "lo"])?;
        Some(Loopback { host })
    }

    pub fn spawn(&self, user: &str, arguments: &[&str]) -> Program {
        self.host.spawn(user, arguments)
    }

    pub fn start(&self, user: &str, arguments: &[&str]) -> Program {
        self.host.start(user, arguments)
    }
}

/// Hosts and the switches between them. Segment s is a switch of its own; host h (from 0) has there the interface `eth<s>` with
/// the address 10.(77 + s).0.(h + 1)/24 and a link-local IPv6 one.
pub struct Lan {
    pub hosts: Vec<Host>,
    switch: Namespace,
}

impl Lan {
    /// So many hosts, all on segment 0. `None`, and said loudly, without the right to make namespaces.
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

    /// Hosts without a cable; each gets one by [`Lan::attach`].
    pub fn unplugged(count: usize) -> Option<Lan> {
        let mut lan = Lan::new(0)?;
        for _ in 0..count {
            lan.hosts.push(Host::new(&[])?);
        }
        Some(lan)
    }

    pub fn address(host: usize, segment: usize) -> String {
        format!("10.{}.0.{}", 77 + segment, host + 1)
    }

    /// Gives the host an interface on this segment, and does not wait until it is usable.
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

    /// Takes the interface away, as when a card is pulled.
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

    /// Pulls the cable: both ends lose carrier.
    pub fn cut(&self, host: usize, segment: usize) {
        let port = port(host, segment);
        self.switch.ip(&format!("link set {port} down"));
    }

    /// Plugs the cable in again.
    pub fn heal(&self, host: usize, segment: usize) {
        let port = port(host, segment);
        self.switch.ip(&format!("link set {port} up"));
        self.wait_up(host, segment);
    }

    /// The switch passes nothing to and from this host any more, and nobody is told: as when a box beyond loses power.
    pub fn mute(&self, host: usize, segment: usize) {
        // At the port: rules for the bridge itself are passed over if they were there before it.
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

    /// The switch passes everything again.
    pub fn unmute(&self, host: usize, segment: usize) {
        let port = port(host, segment);
        self.switch.nft(&format!("delete table netdev mute_{port}"));
    }
}

fn port(host: usize, segment: usize) -> String {
    format!("h{host}s{segment}")
}
