//! The guests: people of foreign networks. What they claim is neither signed nor believed; it is
//! shown, and it decides where our user's lines go.
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::notice::Notice;
use crate::base::guests::guest::{GuestId, GuestInfo, GuestNetwork, guest_name};
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};
use crate::base::name::{Nick, PeerSelector, Room};
use crate::base::presence::profile::Profile;
use crate::base::table::SortedMap;
use crate::base::time::{Time, WallTime};

/// Maximum number of guests of a network, gone ones included. A gone one makes place for a new one,
/// unless it was just answered; otherwise the new one is ignored.
pub const GUESTS_MAX: usize = 256;
/// Maximum number of guests of a network at one address.
pub const GUESTS_PER_SOURCE_MAX: usize = 8;
/// Maximum number of guests whose picture is kept.
pub const GUEST_AVATARS_MAX: usize = 16;
/// How long lines wait for a first guest before they count as delivered without one, from our
/// first discovery, in milliseconds.
pub const GUEST_WAIT_MS: u64 = 1_500;
/// Maximum number of names of guests that our user looks for at a time.
const GUESTS_SOUGHT_MAX: usize = 8;
/// Milliseconds for which a name of a guest is looked for.
const GUEST_SOUGHT_MS: u64 = 60_000;
/// Maximum number of pieces of a log that are remembered as sent to guests, or as lost. Between
/// them are other lines.
const GUEST_SENT_PIECES_MAX: usize = 64;
/// Lowest port at which a guest may listen. At lower ones are the services of the system.
pub const GUEST_PORT_MIN: u16 = 1024;
/// How many messages of a guest are remembered, to notice one that comes twice.
const GUEST_RECENT_MESSAGES: usize = 8;

/// A person of a foreign network.
pub struct Guest {
    /// Our number for the guest.
    pub id: GuestId,
    /// The network.
    pub network: GuestNetwork,
    /// The address from which the guest's messages come.
    pub source: IpAddr,
    /// The name by which the network knows the guest.
    pub user: String,
    /// The name under which the guest is shown.
    pub nick: Nick,
    /// Where the guest listens.
    pub address: SocketAddr,
    /// Index of the interface on which the guest was heard.
    pub interface: u32,
    /// When the guest was last heard.
    pub last_heard: Time,
    /// Whether the guest said goodbye, or was silent for too long.
    pub is_gone: bool,
    /// Whether we told the guest where we are, since it came.
    pub is_answered: bool,
    /// Whether we told the guest our profile, since it came.
    pub has_our_profile: bool,
    /// From when on the guest may get a list.
    pub next_list_at: Time,
    /// From when on a profile of the guest may be answered with ours.
    pub next_profile_at: Time,
    /// When we last told the guest that we are here.
    pub reminded_at: Time,
    /// Until when a list from the guest is awaited.
    pub list_awaited_until: Option<Time>,
    /// What the guest says about itself.
    pub profile: Profile,
    recent: VecDeque<String>,
}

impl Guest {
    /// Whether a message with this id did not come before. Remembers the id. An empty id is new.
    pub fn is_new_message(&mut self, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        let is_new = !self.recent.iter().any(|recent| recent == id);
        if is_new {
            if self.recent.len() >= GUEST_RECENT_MESSAGES {
                self.recent.pop_front();
            }
            self.recent.push_back(id.to_owned());
        }
        is_new
    }

    /// The name under which the guest is shown: `guest/zed`.
    pub fn name(&self) -> String {
        guest_name(&self.nick)
    }

    /// Whether the guest is known by nothing but its address.
    pub fn is_unnamed(&self) -> bool {
        self.user == self.source.to_string()
    }

    /// The notice of something that the guest did.
    pub fn notice(&self, at: WallTime, event: GuestEvent) -> Notice {
        let nick = self.nick.clone();
        Notice::Guest(GuestNotice { nick, at, event })
    }
}

/// What identifies a guest, and where it listens.
pub struct GuestClaim<'a> {
    /// The network.
    pub network: GuestNetwork,
    /// The address from which the message came.
    pub source: IpAddr,
    /// The name by which the network knows the guest.
    pub user: &'a str,
    /// The name under which to show the guest.
    pub nick: Nick,
    /// Where the guest listens.
    pub address: SocketAddr,
    /// Index of the interface on which the message came.
    pub interface: u32,
}

/// All guests, and our own lines for them.
#[derive(Default)]
pub struct GuestTable {
    guests: Vec<Guest>,
    last_id: u64,
    /// The networks that this program speaks to.
    networks: Vec<GuestNetwork>,
    /// Own lines in rooms of guests that were just published.
    published: Vec<Arc<Batch>>,
    /// Our lines in rooms of guests that need not wait for guests any more, as they were sent to
    /// one, or are lost: the last pieces, in order.
    settled: SortedMap<LogId, Vec<RangeInclusive<u64>>>,
    /// Those of them that no guest took, and none will: all pieces, in order.
    lost: SortedMap<LogId, Vec<RangeInclusive<u64>>>,
    /// The names of guests that our user looks for, each with the time until when.
    sought: Vec<(String, Time)>,
    /// Until when the first guests are expected. `None`: no network was looked for yet.
    expected_until: Option<Time>,
    /// Until when a service of Grenache is dialed. `None`: none is.
    dialed_until: Option<Time>,
}

impl GuestTable {
    /// Begins to collect our user's lines for this network.
    pub fn open_network(&mut self, network: GuestNetwork) {
        self.networks.push(network);
    }

    /// All guests.
    pub fn iter(&self) -> impl Iterator<Item = &Guest> {
        self.guests.iter()
    }

    /// The guests of a network that are here.
    pub fn present(&self, network: GuestNetwork) -> impl Iterator<Item = &Guest> {
        let guests = self.guests.iter();
        guests.filter(move |guest| guest.network == network && !guest.is_gone)
    }

    /// As [`GuestTable::present`], mutable.
    pub fn present_mut(&mut self, network: GuestNetwork) -> impl Iterator<Item = &mut Guest> {
        let guests = self.guests.iter_mut();
        guests.filter(move |guest| guest.network == network && !guest.is_gone)
    }

    /// The guest with this number.
    pub fn get(&self, id: GuestId) -> Option<&Guest> {
        self.guests.iter().find(|guest| guest.id == id)
    }

    /// As [`GuestTable::get`], mutable.
    pub fn get_mut(&mut self, id: GuestId) -> Option<&mut Guest> {
        self.guests.iter_mut().find(|guest| guest.id == id)
    }

    /// The guest that this name and this source claim to be.
    pub fn find(&self, network: GuestNetwork, source: IpAddr, user: &str) -> Option<&Guest> {
        self.guests
            .iter()
            .find(|guest| guest.network == network && guest.source == source && guest.user == user)
    }

    /// Adds a guest. Returns `None` at the bounds.
    pub fn insert(&mut self, claim: GuestClaim<'_>, now: Time) -> Option<GuestId> {
        let of_network = |guest: &Guest| guest.network == claim.network;
        let of_source = |guest: &Guest| of_network(guest) && guest.source == claim.source;
        let count = |belongs: &dyn Fn(&Guest) -> bool| {
            let guests = self.guests.iter();
            guests.filter(|guest| belongs(guest)).count()
        };
        let is_source_full = count(&of_source) >= GUESTS_PER_SOURCE_MAX;
        if is_source_full || count(&of_network) >= GUESTS_MAX {
            let gone = self.guests.iter().enumerate();
            // Of one that was just answered it must be known that it gets no answer again so soon.
            let gone = gone.filter(|(_, guest)| {
                guest.is_gone && guest.next_list_at <= now && guest.next_profile_at <= now
            });
            let gone = gone.filter(|(_, guest)| match is_source_full {
                true => of_source(guest),
                false => of_network(guest),
            });
            let (oldest, _) = gone.min_by_key(|(_, guest)| guest.last_heard)?;
            self.guests.remove(oldest);
        }
        self.last_id += 1;
        let id = GuestId(self.last_id);
        self.guests.push(Guest {
            id,
            network: claim.network,
            source: claim.source,
            user: claim.user.to_owned(),
            nick: claim.nick,
            address: claim.address,
            interface: claim.interface,
            last_heard: now,
            is_gone: false,
            is_answered: false,
            has_our_profile: false,
            next_list_at: now,
            next_profile_at: now,
            reminded_at: now,
            list_awaited_until: None,
            profile: Profile::default(),
            recent: VecDeque::new(),
        });
        Some(id)
    }

    /// Replaces what a guest says about itself. Beyond [`GUEST_AVATARS_MAX`], drops the picture.
    pub fn set_profile(&mut self, id: GuestId, mut profile: Profile) {
        let others = self.guests.iter().filter(|guest| guest.id != id);
        if others.filter(|g| g.profile.avatar.is_some()).count() >= GUEST_AVATARS_MAX {
            profile.avatar = None;
        }
        if let Some(guest) = self.get_mut(id) {
            guest.profile = profile;
        }
    }

    /// The guests here that a selector means. Empty for the selector of a peer.
    pub fn select(&self, selector: &PeerSelector) -> Vec<&Guest> {
        let guests = self
            .guests
            .iter()
            .filter(|guest| !guest.is_gone && selector.matches_guest(&guest.nick, guest.address));
        guests.collect()
    }

    /// The rows of `/users`.
    pub fn list(&self) -> Vec<GuestInfo> {
        let row = |guest: &Guest| GuestInfo {
            nick: guest.nick.clone(),
            address: guest.address,
            found_via: guest.network.found_via(),
            is_gone: guest.is_gone,
            rooms: vec![guest.network.room()],
            profile: guest.profile.clone(),
        };
        self.guests.iter().map(row).collect()
    }

    /// The network whose guests are in this room, if this program speaks to it.
    pub fn network_of(&self, room: &Room) -> Option<GuestNetwork> {
        let mut networks = self.networks.iter().copied();
        networks.find(|network| network.room() == *room)
    }

    /// Records a batch of ours that was just published. Keeps those in rooms of guests. Guests
    /// already got the lines that replace those of a forked log.
    pub fn record_published(&mut self, batch: &Arc<Batch>) {
        let room = batch.log.target.room();
        if room.is_none_or(|room| self.network_of(room).is_none()) {
            return;
        }
        if batch.republishes.is_some() {
            for sequence in batch.sequence..=batch.last_sequence() {
                self.settle(&batch.log, sequence);
            }
        } else {
            self.published.push(Arc::clone(batch));
        }
    }

    /// Takes the recorded batches in the room of this network.
    pub fn take_published(&mut self, network: GuestNetwork) -> Vec<Arc<Batch>> {
        let mut taken = std::mem::take(&mut self.published);
        taken.retain(
            |batch| match batch.log.target.room() == Some(&network.room()) {
                true => true,
                false => {
                    self.published.push(Arc::clone(batch));
                    false
                }
            },
        );
        taken
    }

    /// Forgets batches that the store refused. They are published again.
    pub fn forget_published(&mut self, refused: &[Arc<Batch>]) {
        self.published
            .retain(|batch| !refused.iter().any(|it| Arc::ptr_eq(it, batch)));
    }

    /// Records that a line of ours was sent to at least one guest.
    pub fn record_sent(&mut self, log: &LogId, sequence: u64) {
        self.settle(log, sequence);
    }

    fn settle(&mut self, log: &LogId, sequence: u64) {
        let pieces = self.settled.get_or_default(log.clone());
        insert_line(pieces, sequence);
        if pieces.len() > GUEST_SENT_PIECES_MAX {
            pieces.remove(0);
        }
    }

    /// Records that no guest took a line of ours, and none will.
    pub fn record_lost(&mut self, log: &LogId, sequence: u64) {
        self.settle(log, sequence);
        let pieces = self.lost.get_or_default(log.clone());
        insert_line(pieces, sequence);
        // A lost line never counts as sent. So the lines between two pieces count as lost instead.
        if pieces.len() > GUEST_SENT_PIECES_MAX {
            let first = pieces.remove(0);
            if let Some(second) = pieces.first_mut() {
                *second = *first.start()..=*second.end();
            }
        }
    }

    /// Records that our user looks for the guest that this selector means. Does nothing for the
    /// selector of a peer, and if a guest of another network has that name, though it may be gone:
    /// Grapes need not hear of it.
    pub fn seek(&mut self, selector: &PeerSelector, now: Time) {
        let Some(name) = selector.guest_name() else {
            return;
        };
        let mut others = self.guests.iter();
        if others.any(|guest| {
            let is_other = guest.network != GuestNetwork::Grenache;
            is_other && selector.matches_guest(&guest.nick, guest.address)
        }) {
            return;
        }
        self.sought.retain(|(other, _)| other != name);
        if self.sought.len() >= GUESTS_SOUGHT_MAX {
            self.sought.remove(0);
        }
        self.sought.push((name.to_owned(), now + GUEST_SOUGHT_MS));
    }

    /// The names of the guests that our user looks for.
    pub fn sought(&self, now: Time) -> impl Iterator<Item = &str> {
        let sought = self.sought.iter().filter(move |(_, until)| now < *until);
        sought.map(|(name, _)| name.as_str())
    }

    /// When our user ceases to look for one of them.
    pub fn sought_until(&self, now: Time) -> Option<Time> {
        let ends = self.sought.iter().map(|(_, until)| *until);
        ends.filter(|until| now < *until).min()
    }

    /// Expects the first guests of a network until this time.
    pub fn expect_until(&mut self, until: Time) {
        self.expected_until = self.expected_until.max(Some(until));
    }

    /// Expects a guest until this time, as long as its service is dialed. `None`: none is dialed.
    pub fn set_dialed_until(&mut self, until: Option<Time>) {
        self.dialed_until = until;
    }

    /// Until when first guests are expected. `None`: they are not any more.
    pub fn expected_until(&self, now: Time) -> Option<Time> {
        let until = self.expected_until.max(self.dialed_until);
        until.filter(|until| now < *until)
    }

    /// Until when to wait for guests that may get these lines. `None`: no longer. Whoever hears our
    /// first discoveries answers at once.
    pub fn unsettled_until(
        &self,
        lines: &[(&LogId, RangeInclusive<u64>)],
        now: Time,
    ) -> Option<Time> {
        let mut lines = lines.iter();
        let is_open = lines.any(|(log, lines)| self.network_to_take(log, lines).is_some());
        self.expected_until(now).filter(|_| is_open)
    }

    /// Whether these lines of ours are for guests, and some of them were sent to none.
    pub fn is_unsent(&self, log: &LogId, lines: &RangeInclusive<u64>) -> bool {
        self.is_lost(log, lines) || self.network_to_take(log, lines).is_some()
    }

    /// Whether these lines of ours are for guests who are here and may still get some of them.
    pub fn lack_lines(&self, log: &LogId, lines: &RangeInclusive<u64>) -> bool {
        let network = self.network_to_take(log, lines);
        // Nothing can be sent to a guest of Grenache without a service: it only sends.
        let can_read = |it: &Guest| it.network != GuestNetwork::Grenache || it.address.port() != 0;
        network.is_some_and(|network| self.present(network).any(can_read))
    }

    /// The network whose guests may still get some of these lines.
    fn network_to_take(&self, log: &LogId, lines: &RangeInclusive<u64>) -> Option<GuestNetwork> {
        let network = self.network_of(log.target.room()?)?;
        (!self.is_settled(log, lines)).then_some(network)
    }

    /// Whether none of these lines of ours waits for guests: each was sent to one, or is lost.
    pub fn is_settled(&self, log: &LogId, lines: &RangeInclusive<u64>) -> bool {
        let covers = |piece: &RangeInclusive<u64>| {
            piece.start() <= lines.start() && lines.end() <= piece.end()
        };
        let pieces = self.settled.get(log);
        pieces.is_some_and(|pieces| pieces.iter().any(covers))
    }

    /// Whether some of these lines of ours are lost: no guest took them, and none will.
    pub fn is_lost(&self, log: &LogId, lines: &RangeInclusive<u64>) -> bool {
        let overlaps = |piece: &RangeInclusive<u64>| {
            piece.start() <= lines.end() && lines.start() <= piece.end()
        };
        let pieces = self.lost.get(log);
        pieces.is_some_and(|pieces| pieces.iter().any(overlaps))
    }
}

/// Adds a line to pieces of a log, which are in order and do not touch.
fn insert_line(pieces: &mut Vec<RangeInclusive<u64>>, sequence: u64) {
    // Services may answer in another order than they were asked.
    let at = pieces.partition_point(|piece| piece.end() + 1 < sequence);
    let (mut first, mut last) = (sequence, sequence);
    while let Some(piece) = pieces.get(at)
        && *piece.start() <= last + 1
    {
        (first, last) = (first.min(*piece.start()), last.max(*piece.end()));
        pieces.remove(at);
    }
    pieces.insert(at, first..=last);
}
