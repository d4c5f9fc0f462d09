//! Finds peers through the DHT of BitTorrent (`--dht`): a peer by its id, and the members of a
//! closed network. Publishes the addresses of this program there.
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::identity::PeerId;
use crate::shell::net::finders::dht_node::{DhtNode, FoundItem};
use crate::shell::net::finders::reporter::Reporter;
use crate::shell::net::interfaces;
use crate::shell::net::own_code::connection_code;
use crate::shell::os::clock::Clock;
use crate::wire::code::ConnectionCode;
use crate::wire::dht::{DhtItems, ItemName, next_sequence};

/// How often the addresses are published: well within [`ITEM_LIFE`].
pub const PUBLISH_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long nodes of the DHT keep an item.
pub const ITEM_LIFE: Duration = Duration::from_secs(7_200);
/// How often our addresses are compared with the published ones.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Time to the next attempt if the DHT fails. Each further attempt doubles it, up to
/// [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest time between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(600);
/// How long what was found of a peer is used, unless the user names the peer again.
const FRESH_TIME: Duration = Duration::from_secs(60);
/// Number of slots that are read at the same time. Each query sends some 50 datagrams at once.
const SLOTS_AT_ONCE: usize = 4;
/// How far a sequence may be ahead of our clock, in seconds: clocks may be wrong by a day.
const SEQUENCE_AHEAD_MAX_S: i64 = 86_400;
/// Maximum number of peers whose codes are kept. Beyond it, the oldest is forgotten.
const CODES_MAX: usize = 64;

/// What the finder must know of the run.
pub struct DhtConfig {
    /// The items of our network.
    pub items: DhtItems,
    /// Our id.
    pub own: PeerId,
    /// Our TCP port.
    pub port: u16,
    /// The names of the interfaces to use. Empty: all.
    pub interfaces: Vec<String>,
    /// Where to find nodes of the DHT, as `HOST:PORT`. Empty: the public DHT.
    pub bootstrap: Vec<String>,
    /// Where hosts of other networks reach our port, if a gateway maps it.
    pub mapped: Box<dyn Fn() -> Option<SocketAddr> + Send + Sync>,
    /// Whether to publish our addresses. A program that leaves soon only looks for others.
    pub announces: bool,
    /// How often to publish them: [`PUBLISH_INTERVAL`].
    pub publish_interval: Duration,
    /// How often to look whether they have changed: [`CHECK_INTERVAL`].
    pub check_interval: Duration,
    /// How long what was found of a peer outranks older items: [`ITEM_LIFE`].
    pub item_life: Duration,
    /// A random number, by which a free slot is chosen.
    pub random: u64,
}

/// The newest code of a peer that was found.
#[derive(Clone)]
struct FoundCode {
    sequence: i64,
    code: ConnectionCode,
    found_at: Instant,
}

/// What is kept from one request to the next.
#[derive(Default)]
struct Memory {
    /// Nodes of the DHT that have answered.
    nodes: Vec<String>,
    /// The codes that were looked up, the latest last.
    codes: Vec<FoundCode>,
}

/// What is wrong with publishing, and with looking up.
#[derive(Default)]
struct Troubles {
    publishing: Option<String>,
    looking_up: Option<String>,
}

/// The finder. One thread publishes, and others look up, one at a time.
pub struct DhtFinder {
    config: DhtConfig,
    /// Locked for moments only.
    memory: Mutex<Memory>,
    /// Locked for moments only.
    troubles: Mutex<Troubles>,
    /// Locked while an id is looked up.
    look_up_turn: Mutex<()>,
    /// Set when the thread of the finder has started.
    reporter: OnceLock<Reporter>,
}

impl DhtFinder {
    /// A finder, whose thread calls [`DhtFinder::run`].
    pub fn new(config: DhtConfig) -> Arc<DhtFinder> {
        Arc::new(DhtFinder {
            config,
            memory: Mutex::default(),
            troubles: Mutex::default(),
            look_up_turn: Mutex::default(),
            reporter: OnceLock::new(),
        })
    }

    /// Publishes our addresses and finds members of a closed network, until the program ends. A
    /// program that leaves soon finds nobody so in the open network, and returns.
    pub fn run(&self, reporter: Reporter) {
        self.reporter.get_or_init(|| reporter);
        let slots = self.config.items.slots();
        if !self.config.announces && slots.is_empty() {
            return;
        }
        let (mut is_first, mut retry_after) = (true, RETRY_MIN);
        let mut clock = Clock::start();
        loop {
            let code = self.own_code();
            let interval = match self.run_round(&slots, code.as_ref(), is_first) {
                Ok(()) => {
                    (is_first, retry_after) = (false, RETRY_MIN);
                    self.set_trouble(|troubles| troubles.publishing = None);
                    self.config.publish_interval
                }
                Err(trouble) => {
                    self.set_trouble(|troubles| troubles.publishing = Some(trouble));
                    let interval = retry_after;
                    retry_after = (retry_after * 2).min(RETRY_MAX);
                    interval
                }
            };
            // The time of a suspended machine counts, too: the DHT has forgotten us then.
            let next_at = clock.now().time + millis(interval);
            while let wait_ms = next_at.ms_since(clock.now().time)
                && wait_ms > 0
                && self.own_code() == code
            {
                sleep(Duration::from_millis(wait_ms).min(self.config.check_interval));
            }
        }
    }

    /// The code to publish. `None`: nothing is to be published, or there is no address.
    fn own_code(&self) -> Option<ConnectionCode> {
        let config = &self.config;
        let (own, names) = (config.own, &config.interfaces);
        let code = connection_code(own, names, config.port, (config.mapped)());
        let code = code.ok().filter(|code| !code.addresses.is_empty());
        code.filter(|_| config.announces)
    }

    /// Reads the slots, and publishes our code. In the first round, reads the slots once more: who
    /// started at the same time has published by then, or reads later.
    fn run_round(
        &self,
        slots: &[ItemName],
        code: Option<&ConnectionCode>,
        is_first: bool,
    ) -> Result<(), String> {
        let node = self.start_node()?;
        if code.is_some() {
            node.wait_for_nodes()?;
        }
        let found = self.read_slots(&node, slots)?;
        if let Some(code) = code {
            let own = self.config.items.of_peer(self.config.own);
            let of_own = node.get(std::slice::from_ref(&own))?;
            // Another member may have spoiled our item, or our slot. The other one still works.
            let of_own = of_own.iter().map(|found| (&own, found));
            let places = of_own.chain(self.choose_slot(slots, &found));
            let puts: Vec<_> = places
                .map(|(name, found)| self.publish(&node, name, found, code))
                .collect();
            if puts.iter().any(Result::is_ok)
                && let Some(reporter) = self.reporter.get()
            {
                reporter.record_announced();
            }
            if is_first {
                self.read_slots(&node, slots)?;
            }
            puts.into_iter().collect::<Result<(), String>>()?;
        } else if self.config.announces {
            return Err("there is no address to publish".to_owned());
        }
        lock(&self.memory).nodes = node.remember();
        Ok(())
    }

    /// Changes the troubles, and reports them.
    fn set_trouble(&self, change: impl FnOnce(&mut Troubles)) {
        let mut troubles = lock(&self.troubles);
        change(&mut troubles);
        if let Some(reporter) = self.reporter.get() {
            let Troubles {
                publishing,
                looking_up,
            } = &*troubles;
            let looking_up = looking_up.as_ref().map(|it| format!("looking up: {it}"));
            let all: Vec<String> = publishing.iter().cloned().chain(looking_up).collect();
            reporter.set_trouble((!all.is_empty()).then(|| all.join("; ")));
        }
    }

    fn start_node(&self) -> Result<DhtNode, String> {
        let remembered = lock(&self.memory).nodes.clone();
        let names = &self.config.interfaces;
        let bind = match names.is_empty() {
            true => None,
            false => Some(first_address(names).ok_or("no used interface has an IPv4 address")?),
        };
        DhtNode::start(&self.config.bootstrap, &remembered, bind)
    }

    /// Reads all slots, and reports the members that are found.
    fn read_slots(&self, node: &DhtNode, slots: &[ItemName]) -> Result<Vec<FoundItem>, String> {
        let mut all = Vec::new();
        for names in slots.chunks(SLOTS_AT_ONCE) {
            let found = node.get(names)?;
            for code in names
                .iter()
                .zip(&found)
                .filter_map(|(name, it)| self.code(name, it))
            {
                if code.id != self.config.own
                    && let Some(reporter) = self.reporter.get()
                {
                    reporter.report(Some(code.id), code.addresses);
                }
            }
            all.extend(found);
        }
        Ok(all)
    }

    fn code(&self, name: &ItemName, found: &FoundItem) -> Option<ConnectionCode> {
        let (_, value) = found.newest.as_ref()?;
        self.config.items.decode(name, value)
    }

    /// The slot to publish in: our own, else any free one, else the one that was published longest
    /// ago. Among many members, each takes another's slot in turn. A slot whose sequence is far in
    /// the future comes last: it may not be possible to put a greater one.
    fn choose_slot<'a>(
        &self,
        slots: &'a [ItemName],
        found: &'a [FoundItem],
    ) -> Option<(&'a ItemName, &'a FoundItem)> {
        let first = usize::try_from(self.config.random % 256).unwrap_or(0);
        let slots = slots.iter().zip(found);
        let rotated = slots.clone().cycle().skip(first).take(slots.len());
        rotated.min_by_key(|(name, found)| {
            let is_own = self
                .code(name, found)
                .is_some_and(|code| code.id == self.config.own);
            let sequence = found.newest.as_ref().map(|(sequence, _)| *sequence);
            let is_spoiled = sequence > Some(unix_s().saturating_add(SEQUENCE_AHEAD_MAX_S));
            (is_spoiled, !is_own, sequence)
        })
    }

    fn publish(
        &self,
        node: &DhtNode,
        name: &ItemName,
        found: &FoundItem,
        code: &ConnectionCode,
    ) -> Result<(), String> {
        let items = &self.config.items;
        let sequence = next_sequence(found.newest.as_ref().map(|newest| newest.0), unix_s());
        let value = items.encode(name, sequence, code);
        let signature = items.sign(name, sequence, &value);
        node.put(name, found, sequence, &value, signature)
    }

    /// Looks up the addresses of a peer. What was found a short time ago is used again, unless
    /// `is_requested`. An older item than one that was found within [`ITEM_LIFE`] does not count.
    ///
    /// # Errors
    /// The DHT does not answer, or knows no address of this peer.
    pub fn look_up(&self, peer: PeerId, is_requested: bool) -> io::Result<Vec<SocketAddr>> {
        let _turn = lock(&self.look_up_turn);
        let known = lock(&self.memory).code_of(&peer);
        if let Some(known) = known.filter(|it| !is_requested && it.found_at.elapsed() < FRESH_TIME)
        {
            return Ok(known.code.addresses);
        }
        let name = self.config.items.of_peer(peer);
        let found = self.start_node().and_then(|node| {
            let found = node.get(std::slice::from_ref(&name))?;
            Ok((found, node.remember()))
        });
        self.set_trouble(|troubles| troubles.looking_up = found.as_ref().err().cloned());
        let (found, nodes) = found.map_err(io::Error::other)?;
        let mut memory = lock(&self.memory);
        memory.nodes = nodes;
        let newest = found.iter().find_map(|found| {
            let (sequence, _) = found.newest.as_ref()?;
            Some((*sequence, self.code(&name, found)?))
        });
        if let Some((sequence, code)) = newest {
            memory.record(sequence, code, self.config.item_life);
            self.reporter
                .get()
                .into_iter()
                .for_each(Reporter::record_found);
        }
        let addresses = memory.code_of(&peer).map(|known| known.code.addresses);
        addresses.ok_or_else(|| io::Error::other("the DHT knows no address of this peer yet"))
    }
}

impl Memory {
    fn code_of(&self, peer: &PeerId) -> Option<FoundCode> {
        let mut codes = self.codes.iter();
        codes.find(|known| known.code.id == *peer).cloned()
    }

    /// Keeps a code, unless one of the same peer with a greater sequence was found within `life`.
    /// After that, the peer's clock went back, or that item is lost.
    fn record(&mut self, sequence: i64, code: ConnectionCode, life: Duration) {
        let position = self.codes.iter().position(|it| it.code.id == code.id);
        let known = position.map(|index| self.codes.remove(index));
        let newest = match known {
            Some(known) if known.sequence > sequence && known.found_at.elapsed() < life => known,
            _ => FoundCode {
                sequence,
                code,
                found_at: Instant::now(),
            },
        };
        if self.codes.len() >= CODES_MAX {
            self.codes.remove(0);
        }
        self.codes.push(newest);
    }
}

/// The first IPv4 address of the interfaces with these names.
fn first_address(names: &[String]) -> Option<Ipv4Addr> {
    let usable = interfaces::list_usable(names).ok()?;
    let addresses = usable.list.iter().flat_map(|it| &it.addresses);
    let mut ipv4 = addresses.filter_map(|address| match address.ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    ipv4.next()
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Seconds since 1970, by the clock of the system.
fn unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| i64::try_from(it.as_secs()).unwrap_or(i64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
