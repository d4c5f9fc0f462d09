//! Two nodes in one process: alice says a line in #general, bob receives it, and alice learns that
//! bob stores it. `cargo run --example two_nodes` prints what both users see.
mod in_memory;
#[cfg(test)]
mod tests;

use in_memory::lan::Lan;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::{Command, Lines, Notice, Room, Target};

const SECOND_MS: u64 = 1_000;

fn main() {
    run().iter().for_each(|line| println!("{line}"));
}

/// Returns what the users see, in order.
fn run() -> Vec<String> {
    let mut lan = Lan::default();
    let alice = lan.start("alice");
    lan.start("bob");
    // Both join #general, and their beacons lead to a link.
    lan.run_for(SECOND_MS);

    lan.command(alice, say("hello, bob"));
    lan.run_for(SECOND_MS);

    let notices = lan.take_notices();
    notices
        .iter()
        .filter_map(|(user, notice)| Some(format!("{user} sees: {}", describe(notice)?)))
        .collect()
}

/// The command to publish a line in #general.
fn say(text: &str) -> Command {
    let mut lines = Lines::default();
    lines.push(text.as_bytes()).expect("a short line");
    Command::Publish {
        target: Target::Room(Room::general()),
        lines,
        form: LineForm::Text,
        request: None,
    }
}

/// What a program could show for a notice.
fn describe(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Joined { room, peer, .. } => Some(format!("{} joined {room}", peer.nick)),
        Notice::Chat(chat) => {
            let mut lines = Vec::new();
            chat.batch.for_each_line(|line| lines.push(line.to_owned()));
            Some(format!("{}: {}", chat.batch.username, lines.join(" / ")))
        }
        Notice::Delivered { sequence, peer, .. } => {
            Some(format!("line {sequence} is stored by {}", peer.nick))
        }
        _ => None,
    }
}
