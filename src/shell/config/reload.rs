//! What SIGHUP changes in a program that runs without a terminal: options as they stand now, against those it began with.
//!
//! Name, rooms and places to dial follow; whatever sockets and files were opened with needs a new start.
use crate::base::event::Command;
use crate::base::name::Room;
use crate::shell::config::options::Options;
use crate::wire::code::Endpoint;

/// The commands that make the one of the other, and the places not yet dialed. Rooms joined by hand stay joined.
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
        // Joining one moves the speaker there.
        commands.extend(new.rooms.first().cloned().map(Command::Join));
    }
    let places = new
        .static_peers
        .iter()
        .filter(|place| !old.static_peers.contains(place));
    (commands, places.cloned().collect())
}
