//! The members of rooms to which the last route was lost, or which a neighbour awaits.
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::{HOPS_MAX, Member};

/// Milliseconds for which new routes to a lost member are ignored (hold-down, as in Cisco's IGRP).
/// A neighbour may advertise such a route only because it has not learned of the loss.
const HOLD_DOWN_MS: u64 = 4_000;
/// Milliseconds for which a lost member is awaited. After the hold-downs, which end everywhere at
/// about the same time, a route to the member takes several updates to reach the last peer.
pub const AWAIT_MS: u64 = 2 * HOLD_DOWN_MS;
/// Maximum number of lost members at one time. Beyond it, a lost member is forgotten at once.
const LOST_MEMBERS_MAX: usize = 4096;
/// Number of lost members from which on a member that only neighbours await is forgotten at once.
const LOST_MEMBERS_NAMED_MAX: usize = 2048;

/// Why the last route to a member was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The member said goodbye to us.
    Left,
    /// The member's own link ended, or a neighbour says that the member is gone. Another neighbour
    /// that awaits the member may know better.
    Member,
    /// Another peer on the way was lost, or the member's own link although its program runs on. Or
    /// a neighbour says so. The member is awaited: it should still get new lines.
    Relay,
}

/// A member of a room to which the last route was lost, or which a neighbour awaits.
pub struct LostMember {
    /// The lost run of the member, and its name.
    run: u64,
    nick: Nick,
    /// Until when new routes to the run are ignored. `None`: they are believed again.
    held_until: Option<Time>,
    forgotten_at: Time,
    cause: Loss,
    /// Whether the neighbours were told that the member is awaited.
    is_told: bool,
}

impl LostMember {
    fn new(member: &Member, cause: Loss, now: Time, remaining_ms: u64) -> LostMember {
        let held_ms = remaining_ms.saturating_sub(AWAIT_MS - HOLD_DOWN_MS);
        LostMember {
            run: member.run,
            nick: Nick::new_or_placeholder(&member.username),
            held_until: (held_ms > 0).then_some(now + held_ms),
            forgotten_at: now + remaining_ms,
            cause,
            is_told: false,
        }
    }

    /// Until when new routes to the run are ignored. `None`: they are believed again.
    pub fn held_until(&self) -> Option<Time> {
        self.held_until
    }

    /// Tells a neighbour that we await this member, and for how long. A neighbour's wait thus ends
    /// when ours does, and peers can't keep telling each other.
    pub fn entry(&self, peer: &PeerId, now: Time) -> Member {
        Member {
            peer: *peer,
            username: self.nick.to_string(),
            run: self.run,
            hops: HOPS_MAX,
            via: None,
            await_ms: Some(self.forgotten_at.ms_since(now)),
        }
    }
}

/// The lost members of all rooms.
#[derive(Default)]
pub struct LostMembers(SortedMap<(Room, PeerId), LostMember>);

impl LostMembers {
    /// The member of this run, if it is lost.
    pub fn get(&self, room: &Room, member: &Member) -> Option<&LostMember> {
        let lost = self.0.get(&(room.clone(), member.peer));
        lost.filter(|lost| lost.run == member.run)
    }

    /// The members of a room that are awaited.
    pub fn awaited_in<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (&'a PeerId, &'a LostMember)> {
        let lost = self.0.iter();
        let awaited = lost.filter(move |((of, _), lost)| of == room && lost.cause == Loss::Relay);
        awaited.map(|((_, peer), lost)| (peer, lost))
    }

    /// The name of a lost member.
    pub fn nick(&self, peer: &PeerId) -> Option<Nick> {
        let mut lost = self.0.iter();
        let found = lost.find(|((_, member), _)| member == peer);
        found.map(|(_, lost)| lost.nick.clone())
    }

    /// Starts a hold-down for a member to which no route is left, unless its run is in hold-down.
    /// The member is forgotten after `remaining_ms`.
    pub fn add(&mut self, room: Room, member: &Member, cause: Loss, now: Time, remaining_ms: u64) {
        let key = (room, member.peer);
        let known = self.0.get(&key);
        let is_held = known.is_some_and(|it| it.run == member.run && it.held_until.is_some());
        let has_place = known.is_some() || self.0.len() < LOST_MEMBERS_MAX;
        if !is_held && has_place {
            let lost = LostMember::new(member, cause, now, remaining_ms);
            self.0.insert(key, lost);
        }
    }

    /// Awaits a member that a neighbour awaits, unless it is awaited already, or known to have
    /// left.
    pub fn add_awaited(&mut self, room: &Room, member: &Member, now: Time) {
        let remaining_ms = member.await_ms.unwrap_or(0).min(AWAIT_MS);
        let key = (room.clone(), member.peer);
        let known = self.0.get(&key);
        // Another run changes nothing for an awaited member: a peer can invent runs.
        let is_decided = known.is_some_and(|lost| match lost.cause {
            Loss::Relay => true,
            Loss::Left => lost.run == member.run,
            Loss::Member => false,
        });
        let has_place = known.is_some() || self.0.len() < LOST_MEMBERS_NAMED_MAX;
        if remaining_ms > 0 && !is_decided && has_place {
            let lost = LostMember::new(member, Loss::Relay, now, remaining_ms);
            self.0.insert(key, lost);
        }
    }

    /// Forgets a member of all rooms.
    pub fn remove(&mut self, peer: &PeerId) {
        self.0.retain(|(_, member), _| member != peer);
    }

    /// Forgets these members of all rooms.
    pub fn remove_all(&mut self, peers: &SortedSet<PeerId>) {
        self.0.retain(|(_, member), _| !peers.contains(member));
    }

    /// Records that a lost run has said goodbye.
    pub fn record_goodbye(&mut self, peer: &PeerId, run: u64) {
        for ((_, member), lost) in self.0.iter_mut() {
            if member == peer && lost.run == run {
                lost.cause = Loss::Left;
            }
        }
    }

    /// Ends the hold-downs whose time has passed, and forgets the members that are not awaited any
    /// longer. Returns the members whose hold-down ended.
    pub fn expire(&mut self, now: Time) -> Vec<(Room, PeerId)> {
        let mut released = Vec::new();
        self.0.retain(|key, lost| {
            if lost.held_until.take_if(|until| *until <= now).is_some() {
                released.push(key.clone());
            }
            lost.forgotten_at > now
        });
        released
    }

    /// The members of a room that are awaited and have no route. Adds to `told` those of which the
    /// neighbours were not told yet, and those whose route from us has `ended`.
    pub fn take_awaited(
        &mut self,
        room: &Room,
        routes: &SortedMap<PeerId, Member>,
        ended: &SortedSet<PeerId>,
        now: Time,
        told: &mut Vec<Member>,
    ) -> SortedSet<PeerId> {
        let mut awaited = SortedSet::new();
        for ((of, peer), lost) in self.0.iter_mut() {
            if of != room || lost.cause != Loss::Relay || routes.contains_key(peer) {
                continue;
            }
            awaited.insert(*peer);
            let is_told = std::mem::replace(&mut lost.is_told, true);
            if !is_told || ended.contains(peer) {
                told.push(lost.entry(peer, now));
            }
        }
        awaited
    }

    /// Adds the times at which each hold-down ends, and at which each lost member is forgotten.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        for lost in self.0.values() {
            let at = lost.held_until.unwrap_or(lost.forgotten_at);
            deadlines.add(Timer::HoldDown, at);
        }
    }
}
