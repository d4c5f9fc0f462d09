//! What a service manager is told (sd_notify(3)): one datagram each, to the socket that it names in
//! the environment.
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::base::time::Time;

/// How many signs of life are sent in the time after which the service manager would restart us.
const PINGS_PER_TIMEOUT: u64 = 2;

/// The service manager that started this program, if one did that wants to be told.
#[derive(Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// Time between two signs of life, in milliseconds. `None`: nobody waits for them.
    ping_ms: Option<u64>,
    next_ping_at: Option<Time>,
    is_ready: bool,
}

impl ServiceManager {
    /// The service manager that the environment names. `pid`: the number of this process, which
    /// may not be the one whose signs of life are awaited.
    pub fn from_environment(env: impl Fn(&str) -> Option<OsString>, pid: u32) -> ServiceManager {
        if !cfg!(feature = "systemd") {
            return ServiceManager::default();
        }
        let number = |name| env(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|other| other == u64::from(pid));
        let timeout_ms = number("WATCHDOG_USEC").map(|us| us / 1000);
        let ping_ms = timeout_ms.map(|ms| (ms / PINGS_PER_TIMEOUT).max(1));
        ServiceManager {
            socket: env("NOTIFY_SOCKET").and_then(|path| connect(path.as_bytes())),
            ping_ms: ping_ms.filter(|_| is_for_us),
            ..ServiceManager::default()
        }
    }

    /// Says once that the program serves. `status`: a sentence for people, without line ends.
    pub fn notify_ready(&mut self, status: &str) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.notify(&format!("READY=1\nSTATUS={status}"));
        }
    }

    /// Says that the program ends.
    pub fn notify_stopping(&self) {
        self.notify("STOPPING=1");
    }

    /// Sends a sign of life if one is due. To be called in each turn of the event loop.
    pub fn ping(&mut self, now: Time) {
        if self.socket.is_none() || self.next_ping_at.is_some_and(|at| now < at) {
            return;
        }
        if let Some(ping_ms) = self.ping_ms {
            self.notify("WATCHDOG=1");
            self.next_ping_at = Some(now + ping_ms);
        }
    }

    /// When the next sign of life is due.
    pub fn deadline(&self) -> Option<Time> {
        self.next_ping_at
    }

    /// Nobody waits for an answer. What the socket does not take at once is lost, as it would be
    /// without a reader.
    fn notify(&self, state: &str) {
        if cfg!(feature = "systemd")
            && let Some(socket) = &self.socket
        {
            let _ = socket.send(state.as_bytes());
        }
    }
}

/// A socket that sends to this path, or to this name in the abstract namespace after a `@`.
fn connect(path: &[u8]) -> Option<UnixDatagram> {
    let address = match path.split_first()? {
        (b'@', name) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    Some(socket)
}
