//! Network namespaces, created and deleted with `ip netns`.
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sched::{CloneFlags, setns};

use super::command::{attempt, run};

/// How the name of every namespace of a test begins.
const PREFIX: &str = "p2pchat-test";

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

/// Says on the real stderr that the current test did not run, and why.
pub fn print_not_run(why: &str) {
    // The test harness captures `eprintln` of a test that passes.
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {why}");
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
            print_not_run("NO RIGHT TO MAKE NETWORK NAMESPACES (NEEDS ROOT)");
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
