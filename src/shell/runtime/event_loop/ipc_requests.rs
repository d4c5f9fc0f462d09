//! What is asked for over the local socket, done by the loop.
use crate::base::event::{Command, Input};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, PeerSelector, Target};
use crate::shell::config::options::OPTION_REPEATS_MAX;
use crate::shell::ipc::message::message::{Request, Welcome};
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::wire::code::Endpoint;

/// Longest time that a reader is looked for, in milliseconds: a day.
const RESOLVE_TIMEOUT_MAX_MS: u64 = 24 * 3_600_000;

impl EventLoop {
    /// What others want who act through this program.
    pub(super) fn handle_ipc_requests(&mut self) {
        self.ipc_server
            .accept_and_read(self.poll.registry(), || Welcome {
                me: self.node.own_peer(),
                port: self.streams.port().unwrap_or(0),
                uptime_ms: self.now.time.0,
                is_printing_transcript: self.session.is_printing_transcript(),
                has_linked_peer: self.node.link_count() > 0,
                network: self.node.network(),
                multicast: self.options.multicast,
                interfaces: self.options.interfaces.clone(),
            });
        let mut takes = self.can_accept();
        while let Some(request) = self.ipc_server.next_request(takes) {
            match request {
                Request::Join(room) => {
                    self.open_room_or_notify(&room, false);
                    if self.node.joined_rooms().contains(&room) {
                        self.ipc_server.send_joined((&room).into(), &self.store);
                    } else {
                        self.ipc_server.send_join_refused(&room);
                    }
                }
                Request::FollowDirect => self
                    .ipc_server
                    .send_joined(FolderName::direct(), &self.store),
                Request::Part(room) => self.ipc_server.send_parted(&room, &self.store),
                Request::Send {
                    target,
                    lines,
                    action,
                } => self.handle_send(target, lines, action),
                Request::Resolve(whom, within) => {
                    let serial = self.ipc_server.start_resolve();
                    self.handle_input(Input::Command(Command::Resolve {
                        request_id: serial,
                        selector: whom,
                        timeout_ms: within.min(RESOLVE_TIMEOUT_MAX_MS),
                    }));
                }
                Request::SetNick(nick) => self.handle_input(Input::Command(Command::Nick(nick))),
                Request::Dial(endpoint) => self.add_static_peer(endpoint),
                Request::ListPeers(_) => self.handle_input(Input::Command(Command::Peers)),
                Request::GetStats(_) => self.handle_input(Input::Command(Command::Stats)),
                Request::MarkRead(log, sequence) => {
                    self.handle_input(Input::Command(Command::MarkRead { log, sequence }));
                }
                Request::AwaitDelivery(log, sequence) => self.ipc_server.track_head(log, sequence),
                Request::FollowNotices | Request::Finish(_) => {}
            }
            takes = self.can_accept();
        }
    }

    fn add_static_peer(&mut self, endpoint: Endpoint) {
        let static_peers = &mut self.options.static_peers;
        if !static_peers.contains(&endpoint) && static_peers.len() < OPTION_REPEATS_MAX {
            (self.resolve_hosts)(vec![endpoint.clone()]);
            static_peers.push(endpoint);
        }
    }

    fn handle_send(&mut self, target: Target, lines: Lines, action: bool) {
        let before = self.node.own_head(&target);
        self.handle_input(Input::Command(match &target {
            Target::Room(room) => Command::SendToRoom {
                room: Some(room.clone()),
                lines,
                action,
            },
            Target::Peer(id) => Command::SendToPeer {
                selector: PeerSelector::from(id),
                lines,
                action,
                timeout_ms: 0,
            },
        }));
        let taken = match &target {
            Target::Room(room) => self.node.joined_rooms().contains(room),
            Target::Peer(_) => self.node.own_head(&target) != before,
        };
        self.ipc_server.track_send(target, taken);
    }
}
