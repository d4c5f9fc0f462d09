//! Hosts on which programs run: one on a LAN, or one with loopback only.
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use super::namespace::Namespace;
use super::program::Program;

/// A host: a network namespace, and a folder for the state of its programs.
pub struct Host {
    pub namespace: Namespace,
    folder: PathBuf,
    options: Vec<String>,
}

impl Host {
    /// A host whose programs get these options first.
    pub fn new(options: &[&str]) -> Option<Host> {
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

    /// Adds the card `d0` with this address, on a cable that leads nowhere.
    pub fn add_card(&self, address: &str) {
        let net = &self.namespace;
        net.ip("link add d0 type veth peer name d1");
        net.ip(&format!("address add {address} dev d0"));
        net.ip("link set d0 up");
        net.ip("link set d1 up");
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

    /// The program as this user, to be started.
    pub fn program(&self, user: &str, arguments: &[&str]) -> Command {
        self.program_at(env!("CARGO_BIN_EXE_p2pchat"), user, arguments)
    }

    /// [`Host::program`], for another build of the program.
    pub fn program_at(&self, path: &str, user: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(path);
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
            let is_read = ["P2PCHAT_", "XDG_", "USER", "LOGNAME"];
            if is_read.iter().any(|prefix| name.starts_with(prefix)) {
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
