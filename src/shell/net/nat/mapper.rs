//! Keeps the port mapping of `--nat`, in a helper thread.
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::shell::net::nat::announcements::Announcements;
use crate::shell::net::nat::gateway::default_gateway;
use crate::shell::net::nat::mapping::{Mapping, NoMapping};
use crate::shell::net::nat::session::GatewaySession;
use crate::shell::os::thread;

/// Longest time between two renewals. A gateway that restarts forgets the mapping, and a renewal
/// makes it anew. Unless the gateway announces the restart, the mapping may be lost for this time.
const RENEW_MAX: Duration = Duration::from_secs(600);
/// Shortest time between two renewals, whatever lifetime a gateway grants.
const RENEW_MIN: Duration = Duration::from_secs(60);
/// Time from a failure to the next try, if nothing changes meanwhile.
const RETRY: Duration = Duration::from_secs(60);
/// Time from a change of the interfaces to the next try. Changes come in bursts.
const SETTLE: Duration = Duration::from_secs(1);

/// What the thread and the event loop share.
#[derive(Default)]
struct Shared {
    external: Option<SocketAddr>,
    trouble: Option<String>,
    /// What the user is told next.
    news: Option<MappingNews>,
    is_stopped: bool,
}

/// A change that the user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingNews {
    /// The port is mapped: a sentence for --debug.
    Mapped(String),
    /// The port is not mapped: a warning.
    Failed(String),
}

/// The port mapping of this run.
pub struct PortMapper {
    shared: Arc<Mutex<Shared>>,
    /// Wakes the thread.
    changes: Sender<()>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl PortMapper {
    /// Starts to map this TCP port. `allowed_names`: the interfaces to use; empty: all. `wake`
    /// wakes the event loop. `nonce` is random.
    pub fn start(
        port: u16,
        allowed_names: Vec<String>,
        nonce: [u8; 12],
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> PortMapper {
        let (changes, changed) = bounded(1);
        let (end, ended) = bounded(0);
        let shared = Arc::<Mutex<Shared>>::default();
        let thread = MapperThread {
            port,
            allowed_names,
            nonce,
            wake,
            shared: Arc::clone(&shared),
            changes: changes.clone(),
            changed,
            session: None,
            announcements: None,
            last: None,
            told: None,
            _end: end,
        };
        if let Err(error) = thread::spawn_helper("nat", Box::new(move || thread.run())) {
            let sentence = format!("--nat: its thread cannot be started: {error}");
            lock(&shared).news = Some(MappingNews::Failed(sentence));
        }
        PortMapper {
            shared,
            changes,
            ended,
        }
    }

    /// Where hosts of other networks reach our port. `None`: nowhere, as far as known.
    pub fn external(&self) -> Option<SocketAddr> {
        lock(&self.shared).external
    }

    /// Why the port is not mapped. `None`: it is, or nothing is known yet.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.shared).trouble.clone()
    }

    /// Takes what the user is to be told.
    pub fn take_news(&self) -> Option<MappingNews> {
        lock(&self.shared).news.take()
    }

    /// Maps the port again soon, as the interfaces have changed.
    pub fn handle_interfaces(&self) {
        // If the channel is full, the thread will wake anyway.
        let _ = self.changes.try_send(());
    }

    /// Lets the thread delete the mapping and end, as the program ends.
    pub fn stop(&self) {
        lock(&self.shared).is_stopped = true;
        let _ = self.changes.try_send(());
    }

    /// Waits until the thread has ended, at most for this time.
    pub fn wait_stopped(&self, timeout: Duration) {
        let _ = self.ended.recv_timeout(timeout);
    }
}

impl Drop for PortMapper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct MapperThread {
    port: u16,
    allowed_names: Vec<String>,
    nonce: [u8; 12],
    wake: Arc<dyn Fn() + Send + Sync>,
    shared: Arc<Mutex<Shared>>,
    /// Wakes this thread, for what its gateway announces.
    changes: Sender<()>,
    changed: Receiver<()>,
    session: Option<GatewaySession>,
    /// What the gateway of the session announces. `None`: it cannot be heard.
    announcements: Option<Announcements>,
    /// The last mapping, and when the gateway granted it.
    last: Option<(Mapping, Instant)>,
    told: Option<MappingNews>,
    /// Closes the channel when the thread ends.
    _end: Sender<()>,
}

impl MapperThread {
    fn run(mut self) {
        while !self.is_stopped() {
            let wait = self.refresh();
            if self.changed.recv_timeout(wait).is_ok() && !self.is_stopped() {
                let _ = self.changed.recv_timeout(SETTLE);
            }
        }
        if let Some(session) = &mut self.session {
            session.delete();
        }
    }

    fn is_stopped(&self) -> bool {
        lock(&self.shared).is_stopped
    }

    /// Maps the port. Returns the time to the next try.
    fn refresh(&mut self) -> Duration {
        let mapped = match default_gateway(&self.allowed_names) {
            Some(gateway) => self.map(gateway),
            None => Err("there is no default gateway".to_owned()),
        };
        match mapped {
            Ok(mapping) => {
                let had = self.last.replace((mapping, Instant::now()));
                let restarted = had.is_some_and(|(had, at)| has_restarted(&had, at, &mapping));
                if restarted {
                    self.told = None;
                }
                let sentence = format!(
                    "--nat: port {} is reachable as {} ({})",
                    self.port, mapping.external, mapping.protocol
                );
                self.tell(Some(mapping.external), MappingNews::Mapped(sentence));
                let half = Duration::from_secs(u64::from(mapping.lifetime_s) / 2);
                half.clamp(RENEW_MIN, RENEW_MAX)
            }
            Err(sentence) => {
                self.last = None;
                if !self.is_stopped() {
                    self.tell(None, MappingNews::Failed(format!("--nat: {sentence}")));
                }
                RETRY
            }
        }
    }

    fn map(&mut self, gateway: Ipv4Addr) -> Result<Mapping, String> {
        if self.session.as_ref().is_none_or(|it| !it.is_to(gateway)) {
            if let Some(mut left) = self.session.take() {
                left.delete();
            }
            let opened = GatewaySession::open(gateway, self.port, self.nonce);
            let opened = opened.map_err(|error| format!("no socket to {gateway}: {error}"))?;
            self.session = Some(opened);
            self.announcements = Announcements::listen(gateway, self.changes.clone()).ok();
        }
        let Some(session) = &mut self.session else {
            return Err("no socket".to_owned());
        };
        let is_stopped = || lock(&self.shared).is_stopped;
        session.map(&is_stopped).map_err(|error| match error {
            NoMapping::Silent | NoMapping::Stopped => format!(
                "the gateway {gateway} maps no port by PCP, NAT-PMP or UPnP: map the port by hand, or \
                 use a --peer that both sides reach"
            ),
            NoMapping::Refused(protocol, code) => {
                format!("the gateway {gateway} refuses to map the port ({protocol}, code {code})")
            }
            NoMapping::Useless => format!("the gateway {gateway} has no usable external address"),
            NoMapping::Nested(ip) => format!(
                "the gateway {gateway} is itself behind a NAT, with the address {ip}, so hosts outside \
                 do not reach the port"
            ),
            NoMapping::Public => "this host has a public address, so nothing is mapped".to_owned(),
        })
    }

    /// Tells the user, unless the same was told last.
    fn tell(&mut self, external: Option<SocketAddr>, news: MappingNews) {
        let mut shared = lock(&self.shared);
        shared.external = external;
        shared.trouble = match &news {
            MappingNews::Mapped(_) => None,
            MappingNews::Failed(sentence) => Some(sentence.clone()),
        };
        if self.told.as_ref() != Some(&news) {
            shared.news = Some(news.clone());
            self.told = Some(news);
            drop(shared);
            (self.wake)();
        }
    }
}

/// Whether the gateway has lost its mappings since: its clock runs from a later time (RFC 6887,
/// 8.5, which allows a deviation of 1/16).
fn has_restarted(had: &Mapping, at: Instant, now: &Mapping) -> bool {
    // UPnP has no such clock.
    if had.epoch_s == 0 && now.epoch_s == 0 {
        return false;
    }
    let passed_s = at.elapsed().as_secs();
    u64::from(now.epoch_s) + 2 + passed_s / 16 < u64::from(had.epoch_s) + passed_s
}
