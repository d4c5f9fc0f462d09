//! The DHT: addresses are published again and again, and nodes that lie, crowd or dawdle cost no more
//! than their own answers.
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mainline::{MutableItem, Testnet};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use p2pchat::base::identity::{Identity, PeerId};
use p2pchat::base::interface::FoundVia;
use p2pchat::base::time::Time;
use p2pchat::shell::net::finders::dht::{DhtConfig, DhtFinder, ITEM_LIFE};
use p2pchat::shell::net::finders::dht_node::DhtNode;
use p2pchat::shell::net::finders::finders::Finders;
use p2pchat::wire::code::ConnectionCode;
use p2pchat::wire::dht::{DhtItems, ItemName};

use super::hosts::host::Host;
use super::hosts::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

/// How the peer with this seed uses the DHT, in the open network.
fn config(seed: u8, bootstrap: &[String]) -> DhtConfig {
    DhtConfig {
        items: DhtItems::new(&identity(seed), None),
        own: identity(seed).id(),
        port: 9999,
        interfaces: Vec::new(),
        bootstrap: bootstrap.to_vec(),
        mapped: Box::new(|| None),
        announces: true,
        publish_interval: Duration::from_millis(500),
        check_interval: Duration::from_millis(100),
        item_life: ITEM_LIFE,
        random: seed.into(),
    }
}

/// Its finder.
fn finder(seed: u8, bootstrap: &[String]) -> Arc<DhtFinder> {
    DhtFinder::new(config(seed, bootstrap))
}

/// A request to a node of the DHT, as far as the tests must know it.
struct Request {
    transaction: Vec<u8>,
    is_get: bool,
    /// What a `get` asks for.
    target: Option<Vec<u8>>,
    /// The salt of an item that a `put` brings.
    salt: Option<Vec<u8>>,
}

impl Request {
    fn parse(bytes: &[u8]) -> Option<Request> {
        let position = |text: &[u8]| bytes.windows(text.len()).position(|it| it == text);
        let transaction = position(b"1:t4:")? + 5;
        let bytes_after = |text: &[u8], length: usize| {
            let start = position(text)? + text.len();
            Some(bytes.get(start..start + length)?.to_vec())
        };
        Some(Request {
            transaction: bytes.get(transaction..transaction + 4)?.to_vec(),
            is_get: position(b"1:q3:get").is_some(),
            target: bytes_after(b"6:target20:", 20),
            salt: bytes_after(b"4:salt16:", 16),
        })
    }

    /// A response with these bencoded fields.
    fn respond(&self, fields: &[u8]) -> Vec<u8> {
        let parts = [b"d1:rd", fields, b"e1:t4:", &self.transaction, b"1:y1:re"];
        parts.concat()
    }
}

/// What a node answers, and after how long. Its argument is the number of the node.
type Behaviour = Box<dyn Fn(usize, &Request) -> (Duration, Vec<u8>) + Send>;

/// Nodes of the DHT that do what a test wants, each at an address of its own: see [`node_address`].
struct FakeNodes {
    stop: mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
    first: SocketAddr,
}

const PORT: u16 = 6_881;

fn node_address(number: usize) -> SocketAddr {
    let [high, low] = u16::try_from(number + 1).expect("few nodes").to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 7, high, low), PORT))
}

impl FakeNodes {
    fn start(count: usize, behaviour: Behaviour) -> FakeNodes {
        let (stop, stopped) = mpsc::channel();
        let sockets = (0..count).map(|number| UdpSocket::bind(node_address(number)));
        let mut sockets: Vec<UdpSocket> = sockets.map(|it| it.expect("a socket")).collect();
        let thread = thread::spawn(move || {
            let mut poll = Poll::new().expect("a poll");
            let mut events = Events::with_capacity(64);
            for (number, socket) in sockets.iter_mut().enumerate() {
                let registered =
                    poll.registry()
                        .register(socket, Token(number), Interest::READABLE);
                registered.expect("a socket to poll");
            }
            let mut waiting: Vec<(Instant, usize, Vec<u8>, SocketAddr)> = Vec::new();
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let _ = poll.poll(&mut events, Some(Duration::from_millis(5)));
                for event in &events {
                    let number = event.token().0;
                    let mut buffer = [0; 2_048];
                    while let Ok((length, from)) = sockets[number].recv_from(&mut buffer) {
                        if let Some(request) = Request::parse(&buffer[..length]) {
                            let (delay, answer) = behaviour(number, &request);
                            waiting.push((Instant::now() + delay, number, answer, from));
                        }
                    }
                }
                let now = Instant::now();
                for (_, number, answer, to) in waiting.iter().filter(|it| it.0 <= now) {
                    let _ = sockets[*number].send_to(answer, *to);
                }
                waiting.retain(|it| it.0 > now);
            }
        });
        FakeNodes {
            stop,
            thread: Some(thread),
            first: node_address(0),
        }
    }

    fn bootstrap(&self) -> Vec<String> {
        vec![self.first.to_string()]
    }
}

impl Drop for FakeNodes {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bencodes a string of bytes.
fn bencode(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

/// The fields of a response with a node's id alone.
fn id_field(id: &[u8; 20]) -> Vec<u8> {
    [b"2:id".to_vec(), bencode(id)].concat()
}

/// The fields of a response with an item.
fn item_fields(key: PeerId, sequence: i64, value: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    let fields: [(&str, Vec<u8>); 6] = [
        ("2:id", bencode(&[7; 20])),
        ("1:k", bencode(&key.0)),
        ("3:seq", format!("i{sequence}e").into_bytes()),
        ("3:sig", bencode(signature)),
        ("5:token", bencode(b"abcd")),
        ("1:v", bencode(value)),
    ];
    let fields = fields
        .iter()
        .map(|(name, value)| [name.as_bytes(), value].concat());
    fields.collect::<Vec<_>>().concat()
}

/// Crowding nodes around the item of alice. Each lists the next ones, which are nearer to it.
fn crowd(count: usize, listed: usize, delay: Duration) -> FakeNodes {
    FakeNodes::start(count, crowd_behaviour(count, listed, delay))
}

fn crowd_behaviour(count: usize, listed: usize, delay: Duration) -> Behaviour {
    let target = *MutableItem::target_from_key(&identity(1).id().0, None).as_bytes();
    let id = move |number: usize| {
        let mut id = target;
        let [high, low] = u16::try_from(count - number)
            .expect("few nodes")
            .to_be_bytes();
        (id[18], id[19]) = (id[18] ^ high, id[19] ^ low);
        id
    };
    let behaviour = move |number: usize, request: &Request| {
        let mut fields = id_field(&id(number));
        if request.is_get {
            let next = number + 1..(number + 1 + listed).min(count);
            let nodes = next.flat_map(|number| {
                let SocketAddr::V4(address) = node_address(number) else {
                    return Vec::new();
                };
                let (ip, port) = (address.ip().octets(), PORT.to_be_bytes());
                [&id(number)[..], &ip, &port].concat()
            });
            fields.extend([b"5:nodes".to_vec(), bencode(&nodes.collect::<Vec<_>>())].concat());
            fields.extend(b"5:token4:abcd");
        }
        (delay, request.respond(&fields))
    };
    Box::new(behaviour)
}

/// Addresses are published at each interval, with a growing sequence, also while two of the five
/// nodes die. Who looks an id up gets them.
#[test]
fn addresses_are_published_again_when_two_of_five_nodes_die() {
    let Some(host) = Host::new(&[]) else { return };
    host.add_card("10.0.0.1/24");
    host.namespace.inside(|| {
        let mut testnet = Testnet::builder(5).build().expect("five nodes");
        let bootstrap = testnet.bootstrap.clone();
        let mut finders = Finders::new(Arc::new(|| {}));
        let alices = finder(1, &bootstrap);
        finders.add(
            FoundVia::Dht,
            Box::new(move |reporter| alices.run(reporter)),
        );
        finders.start_due(Time(0), 0);
        let name = DhtItems::new(&identity(1), None).of_peer(identity(1).id());
        let node = DhtNode::start(&bootstrap[2..], &[], None).expect("a node");
        let mut sequences = Vec::new();
        let mut wait_newer = |count: usize| {
            wait_until("an item with a greater sequence", TIMEOUT, || {
                let found = node.get(std::slice::from_ref(&name)).expect("answers");
                let newest = found[0].newest.as_ref().map(|newest| newest.0);
                if sequences.last() < newest.as_ref() {
                    sequences.extend(newest);
                }
                sequences.len() >= count
            });
        };
        wait_newer(2);
        testnet.nodes.drain(..2);
        wait_newer(4);
        let bobs = finder(2, &bootstrap);
        let addresses = bobs.look_up(identity(1).id(), true).expect("addresses");
        assert!(addresses.contains(&"10.0.0.1:9999".parse().expect("an address")));
        assert!(bobs.look_up(identity(3).id(), true).is_err());
    });
}

/// An old item is not taken over a newer one, whenever a node brings it, until nodes have forgotten
/// the newer one: the clock of the peer may have gone back.
#[test]
fn an_old_sequence_is_not_taken_over_a_newer() {
    let Some(host) = Host::new(&[]) else { return };
    host.namespace.inside(|| {
        let sequence = Arc::new(Mutex::new(5));
        let served = Arc::clone(&sequence);
        let items = DhtItems::new(&identity(1), None);
        let name = items.of_peer(identity(1).id());
        let nodes = FakeNodes::start(
            1,
            Box::new(move |_, request| {
                let sequence = *served.lock().expect("no panic");
                let address =
                    SocketAddr::from(([10, 0, 0, 7], u16::try_from(sequence).expect("small")));
                let code = ConnectionCode::new(identity(1).id(), &[address]);
                let value = items.encode(&name, sequence, &code);
                let signature = items.sign(&name, sequence, &value);
                let fields = item_fields(name.key, sequence, &value, &signature);
                (Duration::ZERO, request.respond(&fields))
            }),
        );
        let bobs = finder(2, &nodes.bootstrap());
        let look_up = |served: i64, is_requested| {
            *sequence.lock().expect("no panic") = served;
            let addresses = bobs.look_up(identity(1).id(), is_requested);
            addresses.expect("addresses")[0].port()
        };
        assert_eq!(look_up(5, true), 5);
        assert_eq!(look_up(4, true), 5);
        // What was found a short time ago is used again.
        assert_eq!(look_up(6, false), 5);
        assert_eq!(look_up(6, true), 6);
        let mut config = config(3, &nodes.bootstrap());
        config.item_life = Duration::ZERO;
        let carols = DhtFinder::new(config);
        for served in [5, 4] {
            *sequence.lock().expect("no panic") = served;
            let addresses = carols.look_up(identity(1).id(), true).expect("addresses");
            assert_eq!(i64::from(addresses[0].port()), served);
        }
    });
}

/// Whatever a node answers, a look-up ends soon, without an address.
#[test]
fn hostile_answers_end_a_look_up_in_time() {
    let Some(host) = Host::new(&[]) else { return };
    host.namespace.inside(|| {
        let alice = identity(1).id();
        let sign = |value: &[u8], sequence| {
            let items = DhtItems::new(&identity(1), None);
            let signature = items.sign(&items.of_peer(alice), sequence, value);
            item_fields(alice, sequence, value, &signature)
        };
        let nested = |begin: &[u8], letter: u8| {
            let mut bytes = begin.to_vec();
            bytes.resize(2_000, letter);
            bytes
        };
        let loopback = format!("{alice}@127.0.0.1:22");
        let bobs = format!("{}@10.0.0.7:9999", identity(2).id());
        let fields: Vec<Vec<u8>> = vec![
            Vec::new(),
            nested(b"2:id", b'l'),
            nested(b"2:id20:aaaaaaaaaaaaaaaaaaaa1:v", b'd'),
            b"2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes25:aaaaaaaaaaaaaaaaaaaaaaaaa".to_vec(),
            [
                b"2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes".to_vec(),
                bencode(&[0; 26 * 60]),
            ]
            .concat(),
            b"2:id99999999999999999999:".to_vec(),
            b"2:id18446744073709551615:a".to_vec(),
            item_fields(alice, i64::MIN, b"signed by nobody", &[0; 64]),
            sign(&[0xff; 900], 1),
            sign(b"", i64::MAX),
            sign(loopback.as_bytes(), 2),
            sign(bobs.as_bytes(), 3),
        ];
        let answers: Vec<Vec<u8>> = vec![
            nested(b"d1:q4:ping1:y1:q1:t4:aaaa1:a", b'l'),
            nested(b"l", b'l'),
            b"d1:eli203e4:oopse1:t4:aaaa1:y1:ee".to_vec(),
            vec![0; 65_000],
            Vec::new(),
        ];
        for number in 0..fields.len() + answers.len() {
            let (fields, answers) = (fields.clone(), answers.clone());
            let nodes = FakeNodes::start(
                1,
                Box::new(move |_, request| {
                    let answer = match fields.get(number) {
                        Some(fields) => request.respond(fields),
                        None => answers[number - fields.len()].clone(),
                    };
                    (Duration::ZERO, answer)
                }),
            );
            let begin = Instant::now();
            let found = finder(3, &nodes.bootstrap()).look_up(alice, true);
            assert!(found.is_err(), "{number}: {found:?}");
            assert!(begin.elapsed() < Duration::from_secs(12), "{number}");
        }
    });
}

/// More nodes than any honest DHT has there crowd around an item. It is not put then: `mainline`
/// would panic.
#[test]
fn a_crowd_around_an_item_is_refused() {
    let Some(host) = Host::new(&[]) else { return };
    host.namespace.inside(|| {
        let nodes = crowd(300, 20, Duration::ZERO);
        let items = DhtItems::new(&identity(1), None);
        let name = items.of_peer(identity(1).id());
        let node = DhtNode::start(&nodes.bootstrap(), &[], None).expect("a node");
        let found = node.get(std::slice::from_ref(&name)).expect("answers");
        assert!(found[0].nodes > 255, "{found:?}");
        let signature = items.sign(&name, 1, b"value");
        let put = node.put(&name, &found[0], 1, b"value", signature);
        let why = put.expect_err("refused");
        assert!(why.contains("too many nodes"), "{why}");
    });
}

/// A node that lists no other one at first, and then a crowd. What it listed at first is not kept, so
/// `mainline` would look again to put an item, and panic.
#[test]
fn a_crowd_that_hides_at_first_is_refused() {
    let Some(host) = Host::new(&[]) else { return };
    host.namespace.inside(|| {
        let gets = AtomicUsize::new(0);
        let crowd = crowd_behaviour(300, 20, Duration::ZERO);
        let behaviour = move |number: usize, request: &Request| {
            let is_first = request.is_get && gets.fetch_add(1, Ordering::Relaxed) == 0;
            if is_first {
                let fields = [&id_field(&[7; 20])[..], b"5:token4:abcd"].concat();
                return (Duration::ZERO, request.respond(&fields));
            }
            // Nobody is known before the first answer.
            match request.is_get {
                true => crowd(number, request),
                false => (TIMEOUT, Vec::new()),
            }
        };
        let nodes = FakeNodes::start(300, Box::new(behaviour));
        let items = DhtItems::new(&identity(1), None);
        let name = items.of_peer(identity(1).id());
        let node = DhtNode::start(&nodes.bootstrap(), &[], None).expect("a node");
        let found = node.get(std::slice::from_ref(&name)).expect("answers");
        assert_eq!(found[0].nodes, 1, "{found:?}");
        let signature = items.sign(&name, 1, b"value");
        let put = node.put(&name, &found[0], 1, b"value", signature);
        let why = put.expect_err("refused");
        assert!(why.contains("too few nodes"), "{why}");
        assert!(node.get(std::slice::from_ref(&name)).is_ok());
    });
}

/// While alice's addresses are published, and slow nodes delay that, ids are looked up. What is wrong
/// with the one is not taken for well by the other.
#[test]
fn a_look_up_does_not_wait_for_publishing() {
    let Some(host) = Host::new(&[]) else { return };
    host.add_card("10.0.0.1/24");
    host.namespace.inside(|| {
        let bob = identity(2);
        let items = DhtItems::new(&bob, None);
        let name = items.of_peer(bob.id());
        let of_bob = *MutableItem::target_from_key(&bob.id().0, None).as_bytes();
        let address = SocketAddr::from(([10, 0, 0, 7], 9999));
        let code = ConnectionCode::new(bob.id(), &[address]);
        let value = items.encode(&name, 5, &code);
        let signature = items.sign(&name, 5, &value);
        let slow = crowd_behaviour(300, 1, Duration::from_millis(250));
        let behaviour = move |number: usize, request: &Request| match &request.target {
            Some(target) if request.is_get && *target == of_bob => {
                let fields = item_fields(name.key, 5, &value, &signature);
                (Duration::ZERO, request.respond(&fields))
            }
            Some(_) if request.is_get => slow(number, request),
            _ => (Duration::ZERO, request.respond(&id_field(&[7; 20]))),
        };
        let nodes = FakeNodes::start(300, Box::new(behaviour));
        let finder = finder(1, &nodes.bootstrap());
        let in_thread = Arc::clone(&finder);
        let mut finders = Finders::new(Arc::new(|| {}));
        let work = move |reporter| in_thread.run(reporter);
        finders.add(FoundVia::Dht, Box::new(work));
        finders.start_due(Time(0), 0);
        let mut longest = Duration::ZERO;
        let troubles = || {
            let (mut counters, mut troubles) = (Vec::new(), Vec::new());
            finders.add_stats(&mut counters, &mut troubles);
            troubles.into_iter().map(|(_, it)| it).collect::<String>()
        };
        wait_until("publishing is given up", TIMEOUT, || {
            let begin = Instant::now();
            let found = finder.look_up(bob.id(), true).expect("addresses");
            assert_eq!(found, [address]);
            longest = longest.max(begin.elapsed());
            troubles() == "the answers of the DHT do not end"
        });
        assert!(longest < Duration::from_secs(5), "{longest:?}");
        finder.look_up(bob.id(), true).expect("addresses");
        assert_eq!(troubles(), "the answers of the DHT do not end");
    });
}

/// A panic of `mainline` in its own thread ends the finder, and not the program: the thread sleeps,
/// and no other node of the DHT is started. A process of its own has that panic, for it is not
/// the same afterwards.
#[test]
fn a_panic_of_the_library_ends_the_finder_alone() {
    const IS_CHILD: &str = "P2PCHAT_TEST_DHT_PANICS";
    const DONE: i32 = 7;
    if std::env::var_os(IS_CHILD).is_none() {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program);
        child.args([
            "--exact",
            "dht::a_panic_of_the_library_ends_the_finder_alone",
        ]);
        let status = child.env(IS_CHILD, "1").status().expect("a process");
        assert_eq!(status.code(), Some(DONE));
        return;
    }
    let start = || DhtNode::start(&["127.0.0.1:1".to_owned()], &[], Some(Ipv4Addr::LOCALHOST));
    assert!(start().is_ok());
    let thread = thread::Builder::new().name("Mainline Dht actor thread".to_owned());
    let thread = thread.spawn(|| panic!("too many nodes")).expect("a thread");
    wait_until("the DHT is off", TIMEOUT, || {
        start().is_err_and(|why| why.contains("is off until the next start"))
    });
    assert!(!thread.is_finished());
    assert!(thread::spawn(|| panic!("a bug")).join().is_err());
    std::process::exit(DONE);
}

/// A node that knows no other one is enough to publish, at the first attempt.
#[test]
fn one_node_is_enough() {
    let Some(host) = Host::new(&[]) else { return };
    host.add_card("10.0.0.1/24");
    host.namespace.inside(|| {
        let nodes = FakeNodes::start(
            1,
            Box::new(|_, request| {
                let mut fields = id_field(&[7; 20]);
                if request.is_get {
                    fields.extend(b"5:token4:abcd");
                }
                (Duration::from_millis(100), request.respond(&fields))
            }),
        );
        let alices = finder(1, &nodes.bootstrap());
        let mut finders = Finders::new(Arc::new(|| {}));
        let work = move |reporter| alices.run(reporter);
        finders.add(FoundVia::Dht, Box::new(work));
        finders.start_due(Time(0), 0);
        // The second attempt is 5 s later.
        wait_until("it is published", Duration::from_secs(4), || {
            let (mut counters, mut troubles) = (Vec::new(), Vec::new());
            finders.add_stats(&mut counters, &mut troubles);
            assert!(troubles.is_empty(), "{troubles:?}");
            let mut announced = counters.iter().filter(|it| it.0.ends_with("announced"));
            announced.any(|it| it.1 > 0)
        });
    });
}

/// Nodes that always know one more, each slowly, cannot hold up a look-up for long.
#[test]
fn answers_without_an_end_are_given_up() {
    let Some(host) = Host::new(&[]) else { return };
    host.namespace.inside(|| {
        let nodes = crowd(300, 1, Duration::from_millis(250));
        let begin = Instant::now();
        let found = finder(3, &nodes.bootstrap()).look_up(identity(1).id(), true);
        let why = found.expect_err("nothing").to_string();
        assert!(why.contains("do not end"), "{why}");
        assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());
    });
}

/// Each member of a closed network keeps a slot of its own, and an outsider finds none.
#[test]
fn members_take_different_slots() {
    let Some(host) = Host::new(&[]) else { return };
    host.add_card("10.0.0.1/24");
    host.namespace.inside(|| {
        let testnet = Testnet::builder(5).build().expect("five nodes");
        let key = [9; 32];
        let mut finders = Finders::new(Arc::new(|| {}));
        for seed in 1..=3 {
            let mut config = config(seed, &testnet.bootstrap);
            config.items = DhtItems::new(&identity(seed), Some(&key));
            let member = DhtFinder::new(config);
            let work = move |reporter| member.run(reporter);
            finders.add(FoundVia::Dht, Box::new(work));
        }
        finders.start_due(Time(0), 0);
        let items = DhtItems::new(&identity(1), Some(&key));
        let node = DhtNode::start(&testnet.bootstrap, &[], None).expect("a node");
        let read = || {
            let found = node.get(&items.slots()).expect("answers");
            let values = found.into_iter().map(|it| it.newest);
            let codes = items.slots().into_iter().zip(values).map(|(slot, newest)| {
                let (sequence, value) = newest?;
                Some((sequence, items.decode(&slot, &value)?.id))
            });
            codes.flatten().collect::<Vec<_>>()
        };
        let mut ids = vec![identity(1).id(), identity(2).id(), identity(3).id()];
        ids.sort();
        let mut slots = Vec::new();
        wait_until("a slot for each member", TIMEOUT, || {
            slots = read();
            let mut found: Vec<PeerId> = slots.iter().map(|slot| slot.1).collect();
            found.sort();
            found == ids
        });
        let newest = |slots: &[(i64, PeerId)], id| {
            let of_member = slots.iter().filter(|slot| slot.1 == id);
            of_member.map(|slot| slot.0).max()
        };
        wait_until("all are published again", TIMEOUT, || {
            let newer = read();
            let mut ids = ids.iter();
            ids.all(|id| newest(&slots, *id) < newest(&newer, *id))
        });
        let found = finders.take_findings();
        let is_member = |peer: PeerId| ids.contains(&peer);
        assert!(!found.is_empty() && found.iter().all(|it| it.peer.is_some_and(is_member)));
        for peer in ids {
            assert!(finder(4, &testnet.bootstrap).look_up(peer, true).is_err());
        }
    });
}

/// Once a gateway maps the port of alice, that is published as well, long before the next interval.
#[test]
fn a_port_mapping_is_published_at_once() {
    let Some(host) = Host::new(&[]) else { return };
    host.add_card("10.0.0.1/24");
    host.namespace.inside(|| {
        let testnet = Testnet::builder(5).build().expect("five nodes");
        let external = SocketAddr::from(([203, 0, 113, 5], 7));
        let mapped = Arc::new(Mutex::new(None));
        let mut config = config(1, &testnet.bootstrap);
        config.publish_interval = Duration::from_secs(3_600);
        let of_gateway = Arc::clone(&mapped);
        config.mapped = Box::new(move || *of_gateway.lock().expect("no panic"));
        let alices = DhtFinder::new(config);
        let mut finders = Finders::new(Arc::new(|| {}));
        let work = move |reporter| alices.run(reporter);
        finders.add(FoundVia::Dht, Box::new(work));
        finders.start_due(Time(0), 0);
        let bobs = finder(2, &testnet.bootstrap);
        let mut first = None;
        let mut wait_first = |is_wanted: &dyn Fn(SocketAddr) -> bool| {
            wait_until("the published address", TIMEOUT, || {
                let found = bobs.look_up(identity(1).id(), true).unwrap_or_default();
                first = found.first().copied();
                first.is_some_and(is_wanted)
            });
        };
        wait_first(&|address| address != external);
        *mapped.lock().expect("no panic") = Some(external);
        wait_first(&|address| address == external);
    });
}

/// Mallory, a former member, spoils alice's item and her slot with the greatest sequence there is:
/// nodes refuse a further one. Alice publishes in another slot.
#[test]
fn a_spoiled_item_and_slot_do_not_end_publishing() {
    let Some(host) = Host::new(&[]) else { return };
    host.add_card("10.0.0.1/24");
    host.namespace.inside(|| {
        let key = [9; 32];
        let items = DhtItems::new(&identity(2), Some(&key));
        let mut spoiled = vec![items.of_peer(identity(1).id())];
        spoiled.extend(items.slots().into_iter().skip(3).take(1));
        let code = ConnectionCode::new(identity(1).id(), &[SocketAddr::from(([10, 0, 0, 66], 9))]);
        let spoiled = spoiled.into_iter().map(|name| {
            let value = items.encode(&name, i64::MAX, &code);
            let signature = items.sign(&name, i64::MAX, &value);
            let salt = name.salt.map(|salt| salt.to_vec()).expect("a salt");
            let target = MutableItem::target_from_key(&name.key.0, Some(&salt));
            let fields = item_fields(name.key, i64::MAX, &value, &signature);
            (salt, target.as_bytes().to_vec(), fields)
        });
        let spoiled: Vec<_> = spoiled.collect();
        let (stored, storing) = mpsc::channel();
        let nodes = FakeNodes::start(
            1,
            Box::new(move |_, request| {
                let of_salt = |salt: &Vec<u8>| spoiled.iter().any(|it| it.0 == *salt);
                let item = spoiled
                    .iter()
                    .find(|it| Some(&it.1) == request.target.as_ref());
                let answer = match (&request.salt, item) {
                    (Some(salt), _) if of_salt(salt) => [
                        b"d1:eli302e3:olde1:t4:",
                        &request.transaction[..],
                        b"1:y1:ee",
                    ]
                    .concat(),
                    (Some(salt), _) => {
                        let _ = stored.send(salt.clone());
                        request.respond(&id_field(&[7; 20]))
                    }
                    (None, Some((.., fields))) => request.respond(fields),
                    (None, None) => {
                        request.respond(&[id_field(&[7; 20]), b"5:token4:abcd".to_vec()].concat())
                    }
                };
                (Duration::ZERO, answer)
            }),
        );
        let mut config = config(1, &nodes.bootstrap());
        config.items = DhtItems::new(&identity(1), Some(&key));
        let alices = DhtFinder::new(config);
        let mut finders = Finders::new(Arc::new(|| {}));
        let work = move |reporter| alices.run(reporter);
        finders.add(FoundVia::Dht, Box::new(work));
        finders.start_due(Time(0), 0);
        let salt = storing.recv_timeout(TIMEOUT).expect("another slot");
        let is_slot = |name: &ItemName| name.salt.is_some_and(|it| it[..] == salt[..]);
        assert!(items.slots().iter().any(is_slot));
    });
}
