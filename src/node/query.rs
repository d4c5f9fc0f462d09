//! Questions that the shell asks the core. They change nothing.
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::base::batch::batch::LogId;
use crate::base::event::peer::{Peer, PeerInfo};
use crate::base::guests::guest::GuestInfo;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::missing_lines::{Delivery, SyncState, Undelivered};
use crate::base::name::{FolderName, Room, Target};
use crate::base::presence::profile::Profile;
use crate::base::range::LogRange;
use crate::base::time::{Time, WallTime};
use crate::base::trust::misbehaviour::Misbehaviour;
use crate::node::config::ResumeState;
use crate::node::counters::NodeCounters;
use crate::node::discovery::candidates::DiscoveredPeer;
use crate::node::link::Link;
use crate::node::membership::profiles;
use crate::node::membership::roster;
use crate::node::node::Node;
use crate::node::replication::{delivery, fork_repair, sync::sync_state};
use crate::node::standing::Standing;

impl Node {
    /// How far the lines published in this run are acknowledged. `required_peers`: see
    /// [`Node::delivery_of`].
    pub fn delivery(&self, required_peers: Option<u64>) -> Delivery {
        let logs = self.logs.active_logs();
        let lines: Vec<_> = logs
            .filter_map(|(log, state)| Some((log, state.run_lines()?)))
            .collect();
        self.delivery_of(&lines, required_peers)
    }

    /// How far some of our lines are acknowledged. `lines` lists logs, each with the lines that
    /// must be delivered. The answer can change with each input, and at
    /// [`Delivery::recheck_at`].
    ///
    /// `required_peers`: the number of peers that must store the lines to each room. `None`: every
    /// reachable member must store them, and at least one peer that is not transient.
    pub fn delivery_of(
        &self,
        lines: &[(&LogId, RangeInclusive<u64>)],
        required_peers: Option<u64>,
    ) -> Delivery {
        delivery::delivery_of(
            &self.ctx,
            &self.logs,
            &self.routes,
            lines,
            required_peers,
            self.is_expecting_link(),
        )
    }

    /// How many of these lines of ours all have who need them. For the arguments, see
    /// [`Node::delivery_of`].
    pub fn delivered_lines(
        &self,
        lines: &[(&LogId, RangeInclusive<u64>)],
        required_peers: Option<u64>,
    ) -> u64 {
        let (ctx, routes) = (&self.ctx, &self.routes);
        let lines = lines.iter();
        let counts = lines.map(|(log, lines)| {
            delivery::delivered_lines(ctx, &self.logs, routes, log, lines, required_peers)
        });
        counts.sum()
    }

    /// The targets of these lines that not enough peers have acknowledged, with the peers that lack
    /// lines. For the arguments, see [`Node::delivery_of`].
    pub fn undelivered(
        &self,
        lines: &[(&LogId, RangeInclusive<u64>)],
        required_peers: Option<u64>,
    ) -> Vec<Undelivered> {
        let lines = lines.iter();
        let mut undelivered: Vec<Undelivered> = lines
            .filter_map(|(log, lines)| {
                let (ctx, routes) = (&self.ctx, &self.routes);
                delivery::undelivered(ctx, &self.logs, routes, log, lines, required_peers)
            })
            .collect();
        for peer in undelivered.iter_mut().flat_map(|it| &mut it.lacking) {
            if self.ctx.stream_by_peer.contains_key(&peer.id) {
                continue;
            }
            let known = self.known_peers.nick_of(&peer.id).cloned();
            if let Some(nick) = known.or_else(|| self.routes.awaited_nick(&peer.id)) {
                peer.nick = nick;
            }
        }
        undelivered
    }

    /// Whether we and those who are here hold all lines of each other. To be asked after
    /// [`Command::Sync`](crate::base::event::command::Command::Sync).
    pub fn sync_state(&self) -> SyncState {
        let (ctx, logs, routes) = (&self.ctx, &self.logs, &self.routes);
        let is_expecting = self.is_expecting_link();
        sync_state::sync_state(ctx, logs, &self.replication, routes, is_expecting)
    }

    /// Until when a program that ends with its own `sync` should stay, because a linked one may not
    /// be done with its `sync` yet. `None`: it may end.
    pub fn sync_lingers_until(&self) -> Option<Time> {
        sync_state::transient_peers_until(&self.ctx)
    }

    /// Whether another peer is likely to be linked soon. Peers whose addresses the user gave count
    /// until their dials fail. All others count until [`Context::links_expected_until`].
    ///
    /// [`Context::links_expected_until`]: crate::node::context::Context::links_expected_until
    pub(super) fn is_expecting_link(&self) -> bool {
        let now = self.ctx.now.time;
        let are_links_expected = now < self.ctx.links_expected_until();
        self.dialer.is_expecting_static_peer(&self.ctx)
            || are_links_expected
                && (self.handshakes.is_expecting_link(now)
                    || self.dialer.is_expecting_discovered_peer(&self.ctx))
    }

    /// The guests, gone ones included.
    pub fn guests(&self) -> Vec<GuestInfo> {
        self.ctx.guests.list()
    }

    /// Whether the profile of this peer was requested, and may still come.
    pub fn is_fetching_profile(&self, peer: &PeerId) -> bool {
        self.profiles.is_fetching(peer)
    }

    /// What this linked peer says about itself, as far as it has come.
    pub fn profile_of(&self, peer: &PeerId) -> Option<&Profile> {
        profiles::received(&self.ctx, peer)
    }

    /// The network to which this node belongs.
    pub fn network(&self) -> NetworkTag {
        self.ctx.network
    }

    /// The log and sequence under which a line of ours was published again to repair a fork. `None`
    /// if the line was not published again.
    pub fn republished_position(&self, log: &LogId, sequence: u64) -> Option<(LogId, u64)> {
        fork_repair::republished_position(&self.logs, log, sequence)
    }

    /// Our log to this target, and its head. `None` if the log is empty.
    pub fn own_head(&self, target: &Target) -> Option<(LogId, u64)> {
        let log = self.logs.own_log(&self.ctx, target);
        let high = self.logs.get(&log)?.high;
        Some((log, high))
    }

    /// The values of `/stats`, each with its name.
    pub(super) fn stats(&self) -> Vec<(Cow<'static, str>, u64)> {
        let delivery = self.delivery(None);
        let mut stats = vec![
            ("links", self.link_count() as u64),
            ("peers_holding_all_you_said", delivery.acked_peers),
            ("of_peers_linked_there", delivery.linked_peers),
        ];
        stats.extend(self.ctx.counters.named_values());
        let borrow = |(name, count)| (Cow::Borrowed(name), count);
        stats.into_iter().map(borrow).collect()
    }

    /// Whether lines may be published: the store works.
    pub fn can_accept(&self) -> bool {
        self.replication.can_accept()
    }

    /// The ranges of all logs in a folder, for the store's frontier line.
    pub fn frontier(&self, folder: &FolderName) -> Vec<Arc<LogRange>> {
        let ranges = self.logs.ranges_in_folder(folder, self.ctx.own_id());
        ranges.cloned().collect()
    }

    /// The sequence of the first line that the store must keep in a log of ours. The store must
    /// keep all later lines as well. A linked recipient may lack and request these lines, or no
    /// peer has acknowledged these or later lines of this run. `u64::MAX` means that the store may
    /// evict all lines.
    pub fn retention_floor(&self, log: &LogId) -> u64 {
        let of_links = self.replication.first_unacked(&self.ctx, &self.logs, log);
        let of_run = self.logs.state(log).first_unreleased_of_run();
        of_links.into_iter().chain(of_run).min().unwrap_or(u64::MAX)
    }

    /// Whether any peer has acknowledged our newest line in this folder. True if the folder has no
    /// line of ours. False for a room that we left.
    pub fn is_acknowledged(&self, folder: &FolderName) -> bool {
        let has_left = |room: Room| !self.rooms.is_joined(&room);
        let ranges = self.logs.ranges_in_folder(folder, self.ctx.own_id());
        let own = ranges.filter(|range| range.log.author == self.ctx.own_id());
        let newest = own.max_by_key(|range| range.lamport);
        let is_acked =
            newest.is_none_or(|range| self.logs.state(&range.log).released_up_to() >= range.high);
        is_acked && !folder.room().is_some_and(has_left)
    }

    /// Whether this run published a line to this room that no peer has acknowledged yet.
    pub fn has_unacknowledged(&self, room: &Room) -> bool {
        let logs = self.logs.active_logs();
        let mut of_room = logs.filter(|(log, _)| log.target.room() == Some(room));
        of_room.any(|(_, state)| {
            let first = state.first_unreleased_of_run();
            first.is_some_and(|first| Some(first) <= state.run_head())
        })
    }

    /// Whether this key is among the known peers, which were linked in this or an earlier run.
    pub fn is_known(&self, peer: &PeerId) -> bool {
        self.ctx.acquaintances.is_known(peer)
    }

    /// How much an author of lines in this folder counts when room is short.
    pub fn standing(&self, folder: &FolderName, author: &PeerId) -> Standing {
        let source = folder
            .room()
            .and_then(|room| self.logs.source_of(&room, author));
        self.ctx.standing(author, source)
    }

    /// What the next run needs to continue with the same incarnation after a clean end.
    pub fn resume_state(&self) -> ResumeState {
        self.logs.resume_state(&self.ctx)
    }

    /// The peers that are linked or reachable through others, under their present names.
    pub fn present_peers(&self) -> Vec<Peer> {
        self.ctx.reachable_peers()
    }

    /// How many peers are shown as present in a room.
    pub fn present_count(&self, room: &Room) -> usize {
        self.presence.count_in(room)
    }

    /// All peers, as `peers` and /users show them.
    pub fn peers(&self) -> Vec<PeerInfo> {
        roster::list_peers(&self.ctx, &self.dialer, &self.gone_peers)
    }

    /// Whether the peer is linked, and says that its key ends with its program.
    pub fn is_ephemeral(&self, peer: &PeerId) -> bool {
        self.ctx.link_to(peer).is_some_and(|link| link.is_ephemeral)
    }

    /// What this key was proved to have done wrong in this run.
    pub fn misbehaviour(&self, peer: &PeerId) -> Misbehaviour {
        self.ctx.misbehaviour.of(peer)
    }

    /// Our key and the name that we claim.
    pub fn own_peer(&self) -> Peer {
        self.ctx.own_peer()
    }

    /// The joined rooms, in the order of joining.
    pub fn joined_rooms(&self) -> &[Room] {
        self.rooms.joined()
    }

    /// The room that receives lines without a target. `None` if no room is joined.
    pub fn current_room(&self) -> Option<&Room> {
        self.rooms.current()
    }

    /// Counts of events that are not reported one by one.
    pub fn counters(&self) -> NodeCounters {
        self.ctx.counters
    }

    /// The links, each with what the wall clock of its peer shows now, as far as known.
    pub fn links(&self) -> impl Iterator<Item = (&Link, Option<WallTime>)> {
        self.ctx.links.values().map(|link| {
            let known = self.ctx.author_clocks.find(&link.peer.id, link.run);
            let wall = known.map(|known| known.clock.wall(self.ctx.now.time));
            (link, wall)
        })
    }

    /// Number of established links.
    pub fn link_count(&self) -> usize {
        self.ctx.links.len()
    }

    /// Number of discovered peers.
    pub fn discovered_count(&self) -> usize {
        self.dialer.discovered().count()
    }

    /// Number of peers whose beacons arrive, linked or not.
    pub fn heard_peer_count(&self) -> usize {
        let discovered = self.dialer.discovered_peers(&self.ctx);
        let is_heard = |(peer, is_fresh): &(&DiscoveredPeer, bool)| {
            *is_fresh && peer.peer.id != self.ctx.own_id()
        };
        discovered.into_iter().filter(is_heard).count()
    }

    /// Number of dials and handshakes under way.
    pub fn pending_handshake_count(&self) -> usize {
        self.handshakes.pending_count()
    }

    /// Number of bytes in the fullest send buffer of all links.
    pub fn max_send_buffer_bytes(&self) -> usize {
        let buffers = self.ctx.links.values().map(|link| link.send_buffer.len());
        buffers.max().unwrap_or(0)
    }
}
