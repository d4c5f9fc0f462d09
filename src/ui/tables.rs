//! Answers to commands, as tables.
use crate::base::event::PeerInfo;
use crate::base::name::Room;

fn format_address(view: &PeerInfo) -> String {
    match (&view.via, view.address) {
        (Some(via), _) => format!("via {via}"),
        (None, address) => address.map_or("-".into(), |a| a.to_string()),
    }
}

fn format_rtt(view: &PeerInfo) -> String {
    view.rtt.map_or("-".into(), |rtt| rtt.to_string())
}

fn format_shared_rooms(view: &PeerInfo) -> String {
    if view.rooms.is_empty() {
        return "-".into();
    }
    let names: Vec<&str> = view.rooms.iter().map(Room::as_str).collect();
    names.join(",")
}

/// The rows of `peers`: name~abcd, id, address, found, state, round trip in ms, rooms; separated by TAB; `-` where there is nothing.
pub fn format_peer_rows(views: &[PeerInfo]) -> String {
    let mut out = String::new();
    for view in views {
        let row = [
            view.peer.to_string(),
            view.peer.id.to_string(),
            format_address(view),
            view.found_via.as_str().into(),
            view.state.as_str().into(),
            format_rtt(view),
            format_shared_rooms(view),
        ];
        out.push_str(&row.join("\t"));
        out.push('\n');
    }
    out
}

/// The answer to /users: a table for people.
pub fn format_users(views: &[PeerInfo]) -> String {
    if views.is_empty() {
        return "nobody else is here\n".into();
    }
    let width = views
        .iter()
        .map(|view| view.peer.to_string().chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for view in views {
        let name = view.peer.to_string();
        let (state, address, rooms) = (
            view.state.as_str(),
            format_address(view),
            format_shared_rooms(view),
        );
        let trip = view.rtt.map_or(String::new(), |rtt| format!("  {rtt} ms"));
        out.push_str(&format!(
            "{name:width$}  {state:6}  {rooms}  {address}{trip}\n"
        ));
    }
    out
}

/// The answer to /stats: a count and its name a line.
pub fn format_stats(stats: &[(&'static str, u64)]) -> String {
    let line = |(name, count): &(&str, u64)| format!("{count:>9}  {}\n", name.replace('_', " "));
    stats.iter().map(line).collect()
}

/// The answer to /rooms: one a line, the one spoken in marked.
pub fn format_room_list(rooms: &[Room]) -> String {
    if rooms.is_empty() {
        return "you are in no room: /join one\n".into();
    }
    let line = |(i, room): (usize, &Room)| {
        let mark = if i == 0 { "  (spoken in)" } else { "" };
        format!("{room}{mark}\n")
    };
    rooms.iter().enumerate().map(line).collect()
}
