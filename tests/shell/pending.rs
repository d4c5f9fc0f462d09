//! What a frontend passes on to the next program when the one with its session ends.
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::command::Command;
use p2pchat::base::identity::Identity;
use p2pchat::base::name::{Room, Target};
use p2pchat::shell::session::frontend::pending::PendingRequests;
use p2pchat::ui::command::UserCommand;
use p2pchat::ui::request::RequestKind;
use p2pchat::ui::session_event::StoredLines;

/// The next program awaits the lines of every incarnation, each from its first line on.
#[test]
fn the_lines_of_each_incarnation_are_awaited_again() {
    let mut pending = PendingRequests::new(1);
    let stored = |incarnation: u64, first: u64, sequence: u64| StoredLines {
        log: LogId {
            target: Target::Room(Room::new("#general").expect("a room")),
            author: Identity::from_seed(&[1; 32]).id(),
            incarnation,
        },
        first,
        sequence,
    };
    for lines in [stored(7, 3, 4), stored(7, 5, 9), stored(2, 1, 1)] {
        pending.record_stored(lines);
    }
    let mut awaited: Vec<(u64, u64, u64)> = Vec::new();
    for request in pending.resend() {
        let RequestKind::Command(UserCommand::Core(Command::AwaitDelivery {
            log,
            first,
            sequence,
        })) = *request.kind
        else {
            panic!("{request:?}");
        };
        awaited.push((log.incarnation, first, sequence));
    }
    awaited.sort_unstable();
    assert_eq!(awaited, [(2, 1, 1), (7, 3, 9)]);
}
