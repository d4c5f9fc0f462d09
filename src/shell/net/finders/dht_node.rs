//! A node of the DHT of BitTorrent, by `mainline`. It is a client: it stores nothing for others.
//! Its thread wakes 20 times a second, so a node exists only while there is something to request.
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use mainline::async_dht::AsyncDht;
use mainline::{Dht, MutableItem};

use crate::shell::net::finders::dht_panic;
use crate::wire::dht::ItemName;

/// How long a node of the DHT has to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);
/// Longest time of one request to the DHT, in which many nodes are asked. Whoever answers with ever
/// more nodes cannot prolong it.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of nodes that shall store an item. `mainline` panics if they are more than 255;
/// normally they are about 20.
const STORING_NODES_MAX: usize = 200;
/// How long the nodes that [`DhtNode::get`] has found are used to put an item. After 5 minutes
/// `mainline` would look for others by itself, and take any number of them.
const FOUND_NODES_LIFE: Duration = Duration::from_secs(120);
/// Number of nodes that are remembered for the next time, beside those to bootstrap from.
const REMEMBERED_NODES_MAX: usize = 8;

/// What the DHT knows of an item.
#[derive(Debug)]
pub struct FoundItem {
    /// The sequence and the value of the newest item.
    pub newest: Option<(i64, Vec<u8>)>,
    /// Number of nodes that answered, and would store it.
    pub nodes: usize,
    /// Whether `mainline` keeps these nodes, and puts the item there.
    are_kept: bool,
    found_at: Instant,
}

/// A running node. It ends when this is dropped.
pub struct DhtNode {
    dht: AsyncDht,
}

/// One answer to a request.
enum Answer {
    /// Whether any node was known before the requests.
    IsKnown(bool),
    Item(Option<MutableItem>),
    Nodes(usize),
}

impl DhtNode {
    /// Starts a node on a free UDP port. `bootstrap`: where to find other nodes; if empty, where
    /// `mainline` finds them by default. `remembered`: see [`DhtNode::remember`]. `bind`: the own
    /// address to use.
    ///
    /// # Errors
    /// There can be no socket, or no thread.
    pub fn start(
        bootstrap: &[String],
        remembered: &[String],
        bind: Option<Ipv4Addr>,
    ) -> Result<DhtNode, String> {
        dht_panic::contain();
        if dht_panic::has_failed() {
            return Err("the DHT has failed, and is off until the next start".to_owned());
        }
        let bind = bind.unwrap_or(Ipv4Addr::UNSPECIFIED);
        // If its own socket fails, `mainline` may panic.
        let checked = UdpSocket::bind((bind, 0)).map_err(|error| error.to_string());
        drop(checked?);
        let mut builder = Dht::builder();
        builder
            .port(0)
            .bind_address(bind)
            .request_timeout(REQUEST_TIMEOUT);
        match bootstrap {
            [] => builder.bootstrap(&mainline::DEFAULT_BOOTSTRAP_NODES),
            given => builder.bootstrap(given),
        };
        builder.extra_bootstrap(remembered);
        let dht = builder.build().map_err(|error| error.to_string())?;
        Ok(DhtNode {
            dht: dht.as_async(),
        })
    }

    /// Waits until some nodes of the DHT are known. Only then can anything be put.
    ///
    /// # Errors
    /// No node answers.
    pub fn wait_for_nodes(&self) -> Result<(), String> {
        let dht = &self.dht;
        let are_known = wait(async move {
            // False also if a node answers that knows no other one.
            dht.bootstrapped().await;
            !dht.to_bootstrap().await.is_empty()
        });
        match are_known {
            Some(true) => Ok(()),
            Some(false) => Err("no node of the DHT answers".to_owned()),
            None => Err("the answers of the DHT do not end".to_owned()),
        }
    }

    /// Gets some items at the same time: what is known of each, in their order.
    ///
    /// # Errors
    /// No node answers, or the answers do not end.
    pub fn get(&self, names: &[ItemName]) -> Result<Vec<FoundItem>, String> {
        let dht = &self.dht;
        let mut requests: Vec<Pin<Box<dyn Future<Output = Answer> + '_>>> = Vec::new();
        // `mainline` keeps the nodes that answer only if it knew one before. Nothing comes between
        // this request and the others.
        requests.push(Box::pin(async move {
            Answer::IsKnown(!dht.to_bootstrap().await.is_empty())
        }));
        for ItemName { key, salt, .. } in names {
            let salt = salt.as_ref().map(|salt| &salt[..]);
            let target = MutableItem::target_from_key(&key.0, salt);
            // Both wait for the same query.
            requests.push(Box::pin(async move {
                Answer::Item(dht.get_mutable_most_recent(&key.0, salt).await)
            }));
            requests.push(Box::pin(async move {
                Answer::Nodes(dht.get_closest_nodes(target).await.len())
            }));
        }
        let answers = wait(join_all(requests)).ok_or("the answers of the DHT do not end")?;
        let (mut found, mut newest, mut are_kept) = (Vec::new(), None, false);
        for answer in answers {
            match answer {
                Answer::IsKnown(is_known) => are_kept = is_known,
                Answer::Item(item) => newest = item.map(|it| (it.seq(), it.value().to_vec())),
                Answer::Nodes(nodes) => found.push(FoundItem {
                    newest: newest.take(),
                    nodes,
                    are_kept,
                    found_at: Instant::now(),
                }),
            }
        }
        match found.iter().all(|it| it.nodes == 0 && it.newest.is_none()) {
            true => Err("no node of the DHT answers".to_owned()),
            false => Ok(found),
        }
    }

    /// Puts an item where [`DhtNode::get`] has just found its nodes: `found`.
    ///
    /// # Errors
    /// No node stores it.
    pub fn put(
        &self,
        name: &ItemName,
        found: &FoundItem,
        sequence: i64,
        value: &[u8],
        signature: [u8; 64],
    ) -> Result<(), String> {
        match found.nodes {
            0 => return Err("no node of the DHT answers".to_owned()),
            1..=STORING_NODES_MAX => {}
            _ => return Err("too many nodes of the DHT crowd around our item".to_owned()),
        }
        if !found.are_kept || found.found_at.elapsed() > FOUND_NODES_LIFE {
            return Err("too few nodes of the DHT are known yet".to_owned());
        }
        let salt = name.salt.as_ref().map(|salt| &salt[..]);
        let key = name.key.0;
        let item = MutableItem::new_signed_unchecked(key, signature, value, sequence, salt);
        match wait(self.dht.put_mutable(item, None)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(format!("the DHT does not store our item: {error}")),
            None => Err("the answers of the DHT do not end".to_owned()),
        }
    }

    /// The addresses of some nodes that have answered, for [`DhtNode::start`].
    pub fn remember(&self) -> Vec<String> {
        let mut nodes = wait(self.dht.to_bootstrap()).unwrap_or_default();
        nodes.truncate(REMEMBERED_NODES_MAX);
        nodes
    }
}

/// Waits for all of these futures.
fn join_all<T>(
    mut waiting: Vec<Pin<Box<dyn Future<Output = T> + '_>>>,
) -> impl Future<Output = Vec<T>> {
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    poll_fn(move |context| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => Poll::Ready(done.drain(..).flatten().collect()),
            false => Poll::Pending,
        }
    })
}

/// Wakes the thread that waits for a future.
struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Unparker>) {
        self.0.unpark();
    }
}

/// Waits for a future, at most [`OPERATION_TIMEOUT`].
fn wait<T>(future: impl Future<Output = T>) -> Option<T> {
    let deadline = Instant::now() + OPERATION_TIMEOUT;
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unparker(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
