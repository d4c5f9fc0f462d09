//! When the list of interfaces is refreshed.
use std::fs;

use mio::{Poll, Token};
use p2pchat::base::time::Time;
use p2pchat::shell::net::interface_watch::InterfaceWatch;
use p2pchat::shell::net::multicast::Multicast;

use crate::folders::TempDir;
use crate::hosts::host::Loopback;

/// A burst of reports does not hold up the program: 128 of them are read at a time, and the others
/// with the next refresh, 50 ms later.
#[test]
fn a_refresh_reads_a_bounded_number_of_reports() {
    let Some(lo) = Loopback::new() else { return };
    let poll = Poll::new().expect("a poll");
    let mut multicast = Multicast::new(None, 10..20);
    let namespace = &lo.host.namespace;
    let watch = namespace
        .inside(|| InterfaceWatch::new(poll.registry(), Token(0), vec!["none".into()], Time(0)));
    let mut watch = watch.expect("netlink");
    let folder = TempDir::new();
    let changes = folder.0.join("changes");
    let add = |n| format!("address add 10.9.0.{n}/32 dev lo\n");
    fs::write(&changes, (1..=200).map(add).collect::<String>()).expect("a file");
    namespace.ip(&format!("-batch {}", changes.display()));
    let now = Time(1_000);
    watch.handle_netlink_event(now);
    let mut next_refresh = || {
        let refresh = || watch.refresh(now, poll.registry(), &mut multicast);
        namespace.inside(refresh);
        watch.deadline().ms_since(now)
    };
    assert_eq!([next_refresh(), next_refresh()], [50, 300_000]);
}
