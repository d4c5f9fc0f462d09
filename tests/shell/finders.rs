//! Finders run in threads of their own: what they find, how they fare, and what a flood costs.
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};
use p2pchat::base::interface::FoundVia;
use p2pchat::base::time::Time;
use p2pchat::shell::net::finders::finders::Finders;
use p2pchat::shell::net::finders::reporter::{Finding, Reporter};

/// Finders that wake nobody.
fn finders() -> Finders {
    Finders::new(Arc::new(|| {}))
}

/// Starts a finder that passes its reporter to the test.
fn start(finders: &mut Finders, via: FoundVia) -> Reporter {
    let (sender, receiver) = bounded(1);
    let work = move |reporter: Reporter| sender.send(reporter).expect("the test waits");
    finders.add(via, Box::new(work));
    finders.start_due(Time(0), 0);
    receive(&receiver)
}

fn receive<T>(receiver: &Receiver<T>) -> T {
    let timeout = Duration::from_secs(10);
    receiver.recv_timeout(timeout).expect("the finder runs")
}

type Stats = (
    Vec<(Cow<'static, str>, u64)>,
    Vec<(Cow<'static, str>, String)>,
);

/// The counters of the finders, and their troubles.
fn stats(finders: &Finders) -> Stats {
    let (mut counters, mut troubles) = (Vec::new(), Vec::new());
    finders.add_stats(&mut counters, &mut troubles);
    (counters, troubles)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 7], port))
}

/// A finder that waits for the need starts a second after the run if fewer than 8 peers are linked.
/// Otherwise it is checked again every 30 s.
#[test]
fn a_finder_for_need_starts_when_peers_are_lacking() {
    let mut finders = finders();
    let (sender, started) = unbounded();
    let work = move |_: Reporter| sender.send(()).expect("the test waits");
    finders.add_for_need(FoundVia::Mdns, Box::new(work));
    finders.start_due(Time(0), 0);
    assert_eq!(finders.deadline(), Some(Time(1_000)));
    finders.start_due(Time(999), 0);
    finders.start_due(Time(1_000), 8);
    assert_eq!(finders.deadline(), Some(Time(31_000)));
    finders.start_due(Time(30_999), 7);
    assert!(started.try_recv().is_err());
    finders.start_due(Time(31_000), 7);
    receive(&started);
    assert_eq!(finders.deadline(), None);
}

/// A finding wakes the loop, and comes as it was reported.
#[test]
fn a_finding_wakes_the_loop() {
    let (sender, woken) = unbounded();
    let mut finders = Finders::new(Arc::new(move || sender.send(()).expect("the test waits")));
    let mdns = start(&mut finders, FoundVia::Mdns);
    assert!(!finders.take_news(Time(0)), "nothing is reported yet");
    mdns.report(None, vec![address(9999)]);
    receive(&woken);
    assert!(finders.take_news(Time(0)));
    assert!(!finders.take_news(Time(0)), "all is taken");
    let finding = Finding {
        service: None,
        via: FoundVia::Mdns,
        peer: None,
        addresses: vec![address(9999)],
    };
    assert_eq!(finders.take_findings(), [finding]);
    assert_eq!(finders.take_findings(), []);
}

/// A finder that finds more than the loop takes is not blocked. The surplus is dropped and counted.
#[test]
fn a_flood_of_findings_is_bounded() {
    let mut finders = finders();
    let dht = start(&mut finders, FoundVia::Dht);
    (0..1_000).for_each(|port| dht.report(None, vec![address(port)]));
    assert_eq!(finders.take_findings().len(), 64);
    let (counters, _) = stats(&finders);
    let count = |name: &str| counters.iter().find(|(it, _)| it == name).map(|it| it.1);
    assert_eq!(count("dht_found"), Some(64));
    assert_eq!(count("dht_dropped"), Some(936));
    assert_eq!(count("dht_announced"), Some(0));
}

/// A finder that hangs delays neither the start nor the end, nor another finder.
#[test]
fn a_finder_that_hangs_costs_only_its_silence() {
    let mut finders = finders();
    let (_held, never) = bounded::<()>(0);
    let hang = move |_: Reporter| assert!(never.recv().is_err());
    finders.add(FoundVia::Grenache, Box::new(hang));
    let begin = Instant::now();
    let mdns = start(&mut finders, FoundVia::Mdns);
    mdns.report(None, vec![address(1)]);
    assert_eq!(finders.take_findings().len(), 1);
    finders.withdraw();
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// With --debug, each finder has a line when its status has changed, one in 5 s.
#[test]
fn a_status_line_follows_a_change() {
    let mut finders = finders();
    let scan = start(&mut finders, FoundVia::Scan);
    let mdns = start(&mut finders, FoundVia::Mdns);
    assert_eq!(finders.take_status_line(Time(1_000)), None);
    scan.record_announced();
    mdns.set_trouble(Some("port 5353 is taken".to_owned()));
    let scan_line = "scan: announced 1, found 0, dropped 0";
    let mdns_line = "mdns: announced 0, found 0, dropped 0; port 5353 is taken";
    for line in [scan_line, mdns_line] {
        let taken = finders.take_status_line(Time(1_000));
        assert_eq!(taken.as_deref(), Some(line));
    }
    assert_eq!(finders.take_status_line(Time(1_000)), None);
    assert_eq!(finders.deadline(), None);
    let trouble = ("mdns".into(), "port 5353 is taken".to_owned());
    assert_eq!(stats(&finders).1, [trouble]);
    for _ in 0..100 {
        scan.record_announced();
    }
    mdns.set_trouble(None);
    assert_eq!(finders.take_status_line(Time(2_000)), None);
    assert_eq!(finders.deadline(), Some(Time(6_000)));
    assert!(finders.take_news(Time(2_000)));
    assert!(!finders.take_news(Time(5_999)));
    assert!(finders.take_news(Time(6_000)), "a line had to wait");
    let taken = finders.take_status_line(Time(6_000));
    let line = "scan: announced 101, found 0, dropped 0";
    assert_eq!(taken.as_deref(), Some(line));
    assert!(finders.take_status_line(Time(6_000)).is_some());
    assert_eq!(finders.take_status_line(Time(60_000)), None);
    assert_eq!(stats(&finders).1, []);
}

/// A line that had to wait wakes the loop once, even if --debug has ended meanwhile and nobody takes
/// the line.
#[test]
fn a_status_line_that_nobody_takes_wakes_the_loop_once() {
    let mut finders = finders();
    let scan = start(&mut finders, FoundVia::Scan);
    scan.record_announced();
    assert!(finders.take_status_line(Time(1_000)).is_some());
    scan.record_announced();
    assert_eq!(finders.take_status_line(Time(2_000)), None);
    assert!(finders.take_news(Time(2_000)));
    assert_eq!(finders.deadline(), Some(Time(6_000)));
    assert!(finders.take_news(Time(6_000)));
    assert_eq!(finders.deadline(), None);
    assert!(!finders.take_news(Time(6_001)));
}

/// A long trouble is cut, as a foreign server may have written it.
#[test]
fn a_long_trouble_is_cut() {
    let mut finders = finders();
    let grape = start(&mut finders, FoundVia::Grenache);
    grape.set_trouble(Some("é".repeat(100_000)));
    let (_, trouble) = &stats(&finders).1[0];
    assert_eq!(trouble.chars().count(), 200);
}

/// What was announced is withdrawn at the end, once.
#[test]
fn an_announcement_is_withdrawn_once() {
    let mut finders = finders();
    let mdns = start(&mut finders, FoundVia::Mdns);
    let (sender, withdrawn) = unbounded();
    for _ in 0..2 {
        let sender = sender.clone();
        mdns.set_withdrawal(Box::new(move || sender.send(()).expect("the test waits")));
    }
    finders.withdraw();
    finders.withdraw();
    assert_eq!(withdrawn.len(), 1);
}
