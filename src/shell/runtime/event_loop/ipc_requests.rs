//! Executes the requests of attached clients.
use crate::base::event::{Command, Input};
use crate::base::lines::Lines;
use crate::base::name::{FolderName, PeerSelector, Room, Target};
use crate::shell::config::options::OPTION_REPEATS_MAX;
use crate::shell::ipc::message::request::Request;
use crate::shell::ipc::message::response::Welcome;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::wire::code::Endpoint;

/// Longest time that the core searches for a recipient on a client's request, in milliseconds: one
/// day.
const RESOLVE_TIMEOUT_MAX_MS: u64 = 24 * 3_600_000;

impl EventLoop {
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
        let mut can_accept = self.can_accept();
        while let Some(request) = self.ipc_server.next_request(can_accept) {
            self.handle_ipc_request(request);
            can_accept = self.can_accept();
        }
    }

    fn handle_ipc_request(&mut self, request: Request) {
        match request {
            Request::Join(room) => self.handle_join(room),
            Request::FollowDirect => self
                .ipc_server
                .send_joined(FolderName::direct(), &self.store),
            Request::Part(room) => self.ipc_server.send_parted(room, &self.store),
            Request::Send {
                target,
                lines,
                action,
            } => self.handle_send(target, lines, action),
            Request::Resolve {
                selector,
                timeout_ms,
            } => {
                let request_id = self.ipc_server.start_resolve();
                self.handle_input(Input::Command(Command::Resolve {
                    request_id,
                    selector,
                    timeout_ms: timeout_ms.min(RESOLVE_TIMEOUT_MAX_MS),
                }));
            }
            Request::SetNick(nick) => self.handle_input(Input::Command(Command::Nick(nick))),
            Request::Dial(endpoint) => self.add_static_peer(endpoint),
            Request::ListPeers(_) => self.handle_input(Input::Command(Command::Peers)),
            Request::GetStats(_) => self.handle_input(Input::Command(Command::Stats)),
            Request::MarkRead { log, sequence } => {
                self.handle_input(Input::Command(Command::MarkRead { log, sequence }));
            }
            Request::AwaitDelivery { log, sequence } => self.ipc_server.track_head(log, sequence),
            // The server has executed these requests before: see `AttachedClient::next_request`.
            Request::FollowNotices | Request::Finish(_) => {}
        }
    }

    fn handle_join(&mut self, room: Room) {
        self.open_room_or_notify(&room, false);
        if self.node.joined_rooms().contains(&room) {
            if self.ipc_server.is_current_following() {
                self.begin_reader(&room);
            }
            let folder = FolderName::from(&room);
            self.ipc_server.send_joined(folder, &self.store);
        } else {
            self.ipc_server.send_join_refused(room);
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
        let head_before = self.node.own_head(&target);
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
        // The core does not report whether it accepted the lines. It always accepts lines to a
        // joined room. It has accepted lines to a peer if our log has a new head.
        let is_published = match &target {
            Target::Room(room) => self.node.joined_rooms().contains(room),
            Target::Peer(_) => self.node.own_head(&target) != head_before,
        };
        self.ipc_server.track_send(target, is_published);
    }
}
