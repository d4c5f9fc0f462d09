//! Applies reloaded options after SIGHUP: the name and the rooms. The event loop adds the static
//! peers. All other options keep their values until the program starts again.
use crate::base::event::command::Command;
use crate::base::name::Room;
use crate::shell::config::options::Options;

/// Compares the options before a reload with the options after it. Returns the commands that apply
/// the changes. A room that the user joined with /join stays joined.
pub fn diff_options(old: &Options, new: &Options) -> Vec<Command> {
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
    commands
}
