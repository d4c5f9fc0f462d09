//! Asks the program that runs in the directory how its finders fare.
use std::path::Path;

use crate::base::event::command::Command;
use crate::base::event::notice::Notice;
use crate::shell::ipc::attach;
use crate::ui::command::UserCommand;
use crate::ui::doctor_check::Check;
use crate::ui::session_event::EventKind;

/// The finders whose trouble is a finding, each with what mends it. Beacons have no trouble here:
/// each method of theirs has a check of its own.
const FINDERS: [(&str, &str); 6] = [
    ("multicast", ""),
    ("mdns", "p2pchat --no-mdns  # if UDP 9999 reaches all"),
    ("scan", "p2pchat --scan own"),
    (
        "grenache",
        "p2pchat --grape http://HOST:PORT  # of a Grape that runs",
    ),
    (
        "dht",
        "p2pchat --dht-bootstrap HOST:PORT  # of a node that answers",
    ),
    (
        "nat",
        "p2pchat  # without --nat; open the TCP port at the gateway by hand",
    ),
];

/// Says of each finder of the running program what it found, or what is wrong with it. Empty if
/// the program does not answer.
pub fn check_finders(directory: &Path) -> Vec<Check> {
    let request = UserCommand::Core(Command::Stats);
    let Ok(Some(Ok(events))) = attach::execute(directory, request) else {
        return Vec::new();
    };
    let stats = events.iter().find_map(|event| match event {
        EventKind::Notice(notice) => match &**notice {
            Notice::Stats { counters, troubles } => Some((counters, troubles)),
            _ => None,
        },
        _ => None,
    });
    let Some((counters, troubles)) = stats else {
        return Vec::new();
    };
    let check = |(finder, mend): (&str, &str)| {
        if let Some((_, trouble)) = troubles.iter().find(|(name, _)| name == finder) {
            return Some(Check::finding(
                "finder",
                format!("{finder}: {trouble}"),
                mend,
            ));
        }
        let counts = counters.iter().filter_map(|(name, count)| {
            let what = name.strip_prefix(finder)?.strip_prefix('_')?;
            Some(format!("{count} {what}"))
        });
        let counts: Vec<String> = counts.collect();
        let content = format!("{finder}: {}", counts.join(", "));
        (!counts.is_empty()).then(|| Check::ok("finder", content))
    };
    FINDERS.into_iter().filter_map(check).collect()
}
