//! Applies reloaded options after SIGHUP: the name, the rooms and the static peers. All other
//! options keep their values until the program starts again.
use crate::base::event::Command;
use crate::base::name::Room;
use crate::shell::config::options::Options;
use crate::wire::code::Endpoint;

/// Compares the options before a reload with the options after it. Returns the commands that apply
/// the changes, and the static peers that were added. A room that the user joined with /join stays
/// joined.
pub fn diff_options(old: &Options, new: &Options) -> (Vec<Command>, Vec<Endpoint>) {
    let mut commands = Vec::new();
    if old.username != new.username {
        commands.push(Command::Nick(new.username.clone()));
    }
    let added = |room: &&Room| !old.rooms.contains(room);
    commands.extend(new.rooms.iter().filter(added).cloned().map(Command::Join));
    let removed = old.rooms.iter().filter(|room| !new.rooms.contains(room));
    commands.extend(removed.cloned().map(|room| Command::Part(Some(room))));
    if old.rooms != new.rooms {
        // Lines go to the room joined last, so the first room is joined again.
        commands.extend(new.rooms.first().cloned().map(Command::Join));
    }
    let added_peers = new
        .static_peers
        .iter()
        .filter(|endpoint| !old.static_peers.contains(endpoint));
    (commands, added_peers.cloned().collect())
}
