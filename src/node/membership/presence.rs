//! Shows which peers come and go. For each run of a peer, emits one `joined` and one `left` notice
//! in each shared room. A peer is present while it is linked or reachable through others.
//!
//! Nobody can flood the transcript with such notices: see
//! [`flap_damping`](crate::node::membership::flap_damping).
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::{FlapKind, Notice};
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::presence::away::{AwayText, HAS_PRESENCE};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::connection::liveness::{ClosedLink, LinkEnd};
use crate::node::context::Context;
use crate::node::membership::flap_damping::FlapWindow;
use crate::node::timer::{Deadlines, Timer};

/// How long a peer whose end nobody has shown us stays shown while it is unreachable, in
/// milliseconds. A neighbour may have lost its route while the peer runs on. Other routes to the
/// peer count after their hold-down of 4 s, and their updates take time as well.
const RETURN_TIMEOUT_MS: u64 = 6_000;
/// The same in a partial mesh, where links are pruned and an update takes a second at each hop.
const PARTIAL_MESH_RETURN_TIMEOUT_MS: u64 = 15_000;
/// How many times in a minute a peer is shown as joined or left, with a new name, or away. A change
/// in several rooms at once counts once.
const CHANGES_SHOWN_MAX: u64 = 20;
/// Maximum number of notices about joined, left and away peers in a minute, for all together. Each
/// program of a LAN can restart, but a crowd of made-up peers is not shown.
const NOTICES_MAX: u64 = 4096;

/// The run of a peer and the rooms in which it is. Without rooms, the peer is not present.
#[derive(Clone, Default, PartialEq, Eq)]
struct Whereabouts {
    run: u64,
    rooms: SortedSet<Room>,
}

/// A peer as it was last shown to the user. The entry outlasts the peer's presence, so that a
/// flapping peer is noticed.
struct PresentPeer {
    peer: Peer,
    shown: Whereabouts,
    /// When a peer that is shown in a room, and not reachable there, is shown as gone. `None`: the
    /// peer is reachable wherever it is shown, or its changes are not shown.
    return_deadline: Option<Time>,
    /// When our link to the peer ended because the peer's program or the path did. The routes to
    /// the peer then end soon, and the peer is shown as gone at once. `None` while it is linked.
    lost_at: Option<Time>,
    moves: FlapWindow<Whereabouts>,
    names: FlapWindow<Nick>,
    /// Why the peer is shown as away. `None`: it is not.
    away: Option<AwayText>,
    aways: FlapWindow<Option<AwayText>>,
    /// The changes that came over the peer's own link: only these are the peer's doing. The state
    /// is whether there are more than can be shown.
    own_changes: FlapWindow<bool>,
    /// The rooms in which the peer was while its changes were not shown.
    flap_rooms: SortedSet<Room>,
}

impl PresentPeer {
    fn new(peer: Peer) -> PresentPeer {
        PresentPeer {
            peer,
            shown: Whereabouts::default(),
            return_deadline: None,
            lost_at: None,
            moves: FlapWindow::new(CHANGES_SHOWN_MAX),
            names: FlapWindow::new(CHANGES_SHOWN_MAX),
            away: None,
            aways: FlapWindow::new(CHANGES_SHOWN_MAX),
            own_changes: FlapWindow::new(CHANGES_SHOWN_MAX),
            flap_rooms: SortedSet::new(),
        }
    }

    /// The run that is shown as present.
    fn shown_run(&self) -> Option<u64> {
        let is_shown = !self.shown.rooms.is_empty();
        is_shown.then_some(self.shown.run)
    }

    /// Whether the peer is expected to be reachable again in rooms where it is not now. Called
    /// whenever the location may have changed, and at the deadline.
    fn await_return(&mut self, ctx: &Context, location: Option<&Location>) -> bool {
        let is_absent = match location {
            Some(Location { at, .. }) => {
                let mut rooms = self.shown.rooms.iter();
                at.run == self.shown.run && rooms.any(|room| !at.rooms.contains(room))
            }
            None => self.shown_run().is_some(),
        };
        let (now, timeout_ms) = (ctx.now.time, return_timeout_ms(ctx));
        let is_linked = ctx.stream_by_peer.contains_key(&self.peer.id);
        self.lost_at = self.lost_at.filter(|_| !is_linked);
        let is_end_seen = self.lost_at.is_some_and(|at| at + timeout_ms > now);
        // A linked peer itself says in which rooms it is.
        if !is_absent || is_linked || is_end_seen {
            self.return_deadline = None;
        } else {
            self.return_deadline.get_or_insert(now + timeout_ms);
        }
        self.return_deadline = self.return_deadline.filter(|at| *at > now);
        self.return_deadline.is_some()
    }

    fn is_forgettable(&self, now: Time) -> bool {
        let is_over = self.moves.is_over(now) && self.names.is_over(now) && self.aways.is_over(now);
        self.shown_run().is_none() && is_over && self.own_changes.is_over(now)
    }
}

/// The name, run and rooms with which a peer is reachable now.
struct Location {
    nick: Nick,
    at: Whereabouts,
}

/// The peers that are shown as present.
pub struct Presence {
    peers: SortedMap<PeerId, PresentPeer>,
    /// The notices about all peers. The state is whether changes of any peer are not shown.
    notices: FlapWindow<bool>,
}

impl Default for Presence {
    fn default() -> Presence {
        Presence {
            peers: SortedMap::new(),
            notices: FlapWindow::new(NOTICES_MAX),
        }
    }
}

impl Presence {
    /// How many peers are shown as present in a room.
    pub fn count_in(&self, room: &Room) -> usize {
        let shown = self.peers.values().map(|present| &present.shown.rooms);
        shown.filter(|rooms| rooms.contains(room)).count()
    }

    /// Determines in which rooms a peer is now. Notifies the user of each room that the peer joined
    /// or left, and of a new name.
    pub fn update(&mut self, ctx: &mut Context, joined: &[Room], id: &PeerId) {
        if *id == ctx.own_id() {
            return;
        }
        let shown = self.peers.get_mut(id);
        let shown_run = shown.as_ref().and_then(|present| present.shown_run());
        let location = locate(ctx, joined, id, shown_run);
        let is_awaited = shown.is_some_and(|it| it.await_return(ctx, location.as_ref()));
        if location.is_none() && is_awaited || !self.can_show(ctx, id, location.as_ref()) {
            return;
        }
        let notices = match location {
            Some(location) => self.show(ctx, joined, id, location),
            None => self
                .peers
                .get_mut(id)
                .map_or(0, |present| hide(ctx, present)),
        };
        if notices > 0 {
            let now = ctx.now.time;
            self.notices.record_shown(now, notices);
            if let Some(present) = self.peers.get_mut(id) {
                present.moves.record_shown(now, 1);
            }
        }
    }

    /// Whether a change of this peer may be shown. If not, counts the change.
    fn can_show(&mut self, ctx: &mut Context, id: &PeerId, location: Option<&Location>) -> bool {
        let now = ctx.now.time;
        let nowhere = Whereabouts::default();
        let at = location.map_or(&nowhere, |location| &location.at);
        let present = self.peers.get_mut(id);
        // Without a move, the peer may still have a new name.
        if let Some(present) = present
            && !present.moves.can_show(now)
            && (present.shown != *at || present.moves.summary_at().is_some())
        {
            present.flap_rooms.extend(at.rooms.iter().cloned());
            present.moves.record_unshown(at.clone(), &present.shown);
            return false;
        }
        let shown = self
            .peers
            .get(id)
            .map_or(&nowhere, |present| &present.shown);
        // A linked peer is no invention of a neighbour, and there are few.
        let is_linked = ctx.stream_by_peer.contains_key(id);
        if is_linked || self.notices.can_show(now) || *shown == *at {
            return true;
        }
        if self.notices.summary_at().is_none() {
            ctx.notify(Notice::Error {
                code: ErrorCode::Presence,
                content: format!(
                    "more than {NOTICES_MAX} peers joined or left within a minute: the others are \
                     not shown now"
                ),
            });
        }
        self.notices.record_unshown(true, &false);
        false
    }

    /// Shows a peer at its present location. Returns the number of notices.
    fn show(&mut self, ctx: &mut Context, joined: &[Room], id: &PeerId, location: Location) -> u64 {
        let Location { nick, at } = location;
        let now = ctx.now.time;
        // Of the peers that left, only those of the last minute stay. `NOTICES_MAX` bounds them.
        if !self.peers.contains_key(id) {
            self.peers.retain(|_, present| !present.is_forgettable(now));
        }
        let present = self.peers.get_or_insert_with(*id, || {
            PresentPeer::new(Peer {
                id: *id,
                nick: nick.clone(),
            })
        });
        let mut notices = 0;
        if present.shown.run != at.run {
            notices += hide(ctx, present);
            present.shown.run = at.run;
        }
        let is_new = present.shown.rooms.is_empty();
        if is_new {
            present.peer.nick = nick.clone();
            present.away = None;
        }
        if present.return_deadline.is_none() {
            notices += notify_left(ctx, joined, present, &at.rooms);
        }
        notices += notify_joined(ctx, present, at.rooms);
        if is_new {
            notices += show_away(ctx, present);
        }
        self.rename(ctx, id, nick);
        notices
    }

    /// Notifies the user of a peer's new name, in each room where the peer is shown.
    pub fn rename(&mut self, ctx: &mut Context, peer: &PeerId, nick: Nick) {
        let Some(present) = self.peers.get_mut(peer) else {
            return;
        };
        if !present.names.can_show(ctx.now.time) {
            return present.names.record_unshown(nick, &present.peer.nick);
        }
        if present.peer.nick == nick {
            return;
        }
        present.names.record_shown(ctx.now.time, 1);
        let old = std::mem::replace(&mut present.peer.nick, nick);
        for room in &present.shown.rooms {
            ctx.notify(Notice::Renamed {
                room: room.clone(),
                peer: present.peer.clone(),
                old: old.clone(),
                at: ctx.now.wall,
            });
        }
    }

    /// Counts a change of name or presence that a linked peer itself has sent. Too many in a minute
    /// are a flood.
    pub fn record_own_change(&mut self, ctx: &Context, peer: &PeerId) {
        if let Some(present) = self.peers.get_mut(peer) {
            match present.own_changes.can_show(ctx.now.time) {
                true => present.own_changes.record_shown(ctx.now.time, 1),
                false => present.own_changes.record_unshown(true, &false),
            }
        }
    }

    /// Records that a linked peer says that its user is away or back, and notifies our user in each
    /// room where the peer is shown.
    pub fn set_away(&mut self, ctx: &mut Context, stream: StreamId, away: Option<AwayText>) {
        let link = ctx.links.get_mut(&stream).filter(|_| HAS_PRESENCE);
        let Some(link) = link else {
            return;
        };
        let is_changed = link.away != away;
        link.away = away;
        let peer = link.peer.id;
        if is_changed {
            self.record_own_change(ctx, &peer);
        }
        let present = self.peers.get_mut(&peer);
        let notices = present.map_or(0, |present| show_away(ctx, present));
        self.count_notices(ctx.now.time, notices);
    }

    fn count_notices(&mut self, now: Time, notices: u64) {
        if notices > 0 {
            self.notices.record_shown(now, notices);
        }
    }

    /// Records the end of a link. The caller must then call [`Presence::update`] for its peer,
    /// unless the link is replaced, and for those behind it. They stay shown for the time that a
    /// new link or other routes may need, unless we saw the end of the peer's program or path.
    pub fn link_down(&mut self, ctx: &Context, link: &ClosedLink) {
        let now = ctx.now.time;
        let Some(present) = self.peers.get_mut(&link.peer) else {
            return;
        };
        match link.end {
            LinkEnd::Replaced => present.return_deadline = Some(now + return_timeout_ms(ctx)),
            LinkEnd::Left => present.lost_at = Some(now),
            // In a partial mesh, a link may end without a goodbye that its peer has sent.
            LinkEnd::Lost if !ctx.topology.is_partial_mesh() => present.lost_at = Some(now),
            LinkEnd::Lost | LinkEnd::Unconfirmed | LinkEnd::Pruned => {}
        }
    }

    /// Summarizes the changes that were not shown in the last minute. Returns these peers, and the
    /// peers whose return is now overdue. The caller must call [`Presence::update`] for each of
    /// them.
    pub fn handle_timeout(&mut self, ctx: &mut Context) -> Vec<PeerId> {
        let now = ctx.now.time;
        let (mut changed, mut notices) = (Vec::new(), 0);
        for (id, present) in self.peers.iter_mut() {
            let is_overdue = present.return_deadline.is_some_and(|at| at <= now);
            let moves = present.moves.take_summary(now);
            let names = present.names.take_summary(now);
            let aways = present.aways.take_summary(now);
            if present.own_changes.take_summary(now).is_some() {
                ctx.misbehaviour.count(*id, |counts| &mut counts.floods);
            }
            if let Some(count) = aways {
                let rooms = &present.shown.rooms;
                notify_flaps(ctx, &present.peer, rooms, FlapKind::Away, count);
                notices += show_away(ctx, present);
            }
            if is_overdue || moves.is_some() || names.is_some() {
                changed.push(*id);
            }
            if let Some(count) = moves {
                let mut rooms = std::mem::take(&mut present.flap_rooms);
                rooms.extend(present.shown.rooms.iter().cloned());
                notify_flaps(ctx, &present.peer, &rooms, FlapKind::Membership, count);
            }
            if let Some(count) = names {
                let rooms = &present.shown.rooms;
                notify_flaps(ctx, &present.peer, rooms, FlapKind::Name, count);
            }
        }
        self.count_notices(now, notices);
        if self.notices.take_summary(now).is_some() {
            changed.extend(self.peers.keys().copied());
            changed.extend(ctx.reachable_peers().into_iter().map(|peer| peer.id));
        }
        changed
    }

    /// Adds the time at which the return of each unreachable peer is overdue, and of each summary.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        for present in self.peers.values() {
            deadlines.add_some(Timer::AwaitReturn, present.return_deadline);
            deadlines.add_some(Timer::SummarizeFlaps, present.moves.summary_at());
            deadlines.add_some(Timer::SummarizeFlaps, present.names.summary_at());
            deadlines.add_some(Timer::SummarizeFlaps, present.aways.summary_at());
            deadlines.add_some(Timer::SummarizeFlaps, present.own_changes.summary_at());
        }
        deadlines.add_some(Timer::SummarizeFlaps, self.notices.summary_at());
    }
}

/// How long an unreachable peer stays shown, in milliseconds.
fn return_timeout_ms(ctx: &Context) -> u64 {
    match ctx.topology.is_partial_mesh() {
        true => PARTIAL_MESH_RETURN_TIMEOUT_MS,
        false => RETURN_TIMEOUT_MS,
    }
}

/// Finds the rooms in which a peer is linked or reachable through others. Returns `None` if the
/// peer is neither. Ignores links to transient peers. If routes lead to several runs of the peer,
/// prefers `shown_run`, the run last shown.
fn locate(ctx: &Context, joined: &[Room], id: &PeerId, shown_run: Option<u64>) -> Option<Location> {
    let link = ctx.link_to(id).filter(|link| !link.transient);
    let mut location = link.map(|link| Location {
        nick: link.peer.nick.clone(),
        at: Whereabouts {
            run: link.run,
            rooms: link.shared_rooms.clone(),
        },
    });
    for room in joined {
        for neighbour in ctx.links.values() {
            let route = neighbour.routes.get(room).and_then(|routes| routes.get(id));
            let Some(route) = route.filter(|route| route.is_valid(ctx.now.time)) else {
                continue;
            };
            let Location { nick, at } = location.get_or_insert_with(|| Location {
                nick: route.nick.clone(),
                at: Whereabouts {
                    run: route.run,
                    rooms: SortedSet::new(),
                },
            });
            if !at.rooms.contains(room) {
                at.rooms.insert(room.clone());
            }
            // Prefer the shown run while any neighbour advertises it. A neighbour that still knows
            // only an older run must not bring that run back.
            if link.is_none() && Some(route.run) == shown_run {
                at.run = route.run;
                *nick = route.nick.clone();
            }
            if link.is_some() || shown_run.is_none() || Some(at.run) == shown_run {
                break;
            }
        }
    }
    location
}

/// Notifies the user that a peer left each room where it is shown. Returns the number of notices.
fn hide(ctx: &mut Context, present: &mut PresentPeer) -> u64 {
    present.return_deadline = None;
    let rooms = std::mem::take(&mut present.shown).rooms;
    let notices = rooms.len() as u64;
    for room in rooms {
        ctx.notify(Notice::Left {
            room,
            peer: present.peer.clone(),
            at: ctx.now.wall,
        });
    }
    notices
}

/// Notifies the user whether the peer is away, as its link says, in each room where it is shown.
/// Without a link, what is shown stays. Returns the number of notices.
fn show_away(ctx: &mut Context, present: &mut PresentPeer) -> u64 {
    let Some(link) = ctx.link_to(&present.peer.id) else {
        return 0;
    };
    let (now, away) = (ctx.now.time, link.away.clone());
    if !present.aways.can_show(now) {
        present.aways.record_unshown(away, &present.away);
        return 0;
    }
    if present.away == away {
        return 0;
    }
    present.aways.record_shown(now, 1);
    present.away = away;
    for room in &present.shown.rooms {
        ctx.notify(Notice::Presence {
            room: room.clone(),
            peer: present.peer.clone(),
            away: present.away.clone(),
            at: ctx.now.wall,
        });
    }
    present.shown.rooms.len() as u64
}

/// Tells the user in each room how often a peer made such changes.
fn notify_flaps(
    ctx: &mut Context,
    peer: &Peer,
    rooms: &SortedSet<Room>,
    kind: FlapKind,
    count: u64,
) {
    for room in rooms {
        ctx.notify(Notice::Flapped {
            room: room.clone(),
            peer: peer.clone(),
            kind,
            count,
            at: ctx.now.wall,
        });
    }
}

/// Notifies the user that a peer left each shown room that is not in `rooms`. Rooms that we left
/// ourselves are dropped without a notice. Returns the number of notices.
fn notify_left(
    ctx: &mut Context,
    joined: &[Room],
    present: &mut PresentPeer,
    rooms: &SortedSet<Room>,
) -> u64 {
    let mut notices = 0;
    let left = present
        .shown
        .rooms
        .iter()
        .filter(|room| !rooms.contains(room));
    for room in left.cloned().collect::<Vec<Room>>() {
        present.shown.rooms.remove(&room);
        // If we left the room ourselves, the peer is still in it.
        if joined.contains(&room) {
            notices += 1;
            ctx.notify(Notice::Left {
                room,
                peer: present.peer.clone(),
                at: ctx.now.wall,
            });
        }
    }
    notices
}

/// Notifies the user that a peer joined each of `rooms` that is not shown yet. Returns the number
/// of notices.
fn notify_joined(ctx: &mut Context, present: &mut PresentPeer, rooms: SortedSet<Room>) -> u64 {
    let mut notices = 0;
    for room in rooms {
        if present.shown.rooms.insert(room.clone()) {
            notices += 1;
            ctx.notify(Notice::Joined {
                room,
                peer: present.peer.clone(),
                at: ctx.now.wall,
            });
        }
    }
    notices
}
