//! The server's state of one client: the folders that the client follows, and the answers that it
//! awaits.
use std::collections::VecDeque;

use crate::base::batch::LogId;
use crate::base::event::{Delivery, Position};
use crate::base::name::{FolderName, Room, Target};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::node::Node;
use crate::shell::ipc::connection::Connection;
use crate::shell::ipc::message::message::{IpcMessage, MalformedMessage};
use crate::shell::ipc::message::request;
use crate::shell::ipc::message::request::{REQUEST_BODY_MAX_BYTES, Request, RequiredPeers};
use crate::shell::ipc::message::response::{DeliveryReport, Response};
use crate::shell::store::store::Store;

/// Limit of one client's requests that wait to be executed, in bytes.
const INPUT_MAX_BYTES: usize = 2 * REQUEST_BODY_MAX_BYTES;
/// Limit of the responses that a client has not read, in bytes. At this limit the server stops
/// reading the client's requests, and sends the client no notices and no ends of folders.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// Number of targets at which the server ignores a client's further [`Request::AwaitDelivery`].
const TRACKED_HEADS_MAX: usize = 1024;

/// The last line of an own log whose delivery a client awaits.
struct TrackedHead {
    log: LogId,
    sequence: u64,
}

/// One client of the server.
///
/// A client that does not read delays nobody. While its output is full, the client gets no notices
/// and no ends of folders. Once there is room, the client gets the current ends of its folders.
pub struct AttachedClient {
    connection: Connection,
    /// Whether the client's next request is a send that waits because no lines can be stored now.
    is_send_blocked: bool,
    /// The folders that the client follows, each with the end position last sent to the client.
    sent_positions: SortedMap<FolderName, Position>,
    /// Whether the client gets notices.
    is_following: bool,
    /// The targets of the client's sends that are not answered yet, oldest first.
    unconfirmed: VecDeque<Target>,
    /// The last line whose delivery the client awaits, for each target.
    tracked_heads: SortedMap<Target, TrackedHead>,
    /// The id of the client's [`Request::Resolve`] that is not answered yet.
    pub pending_resolve: Option<u64>,
    /// How many peers must store the client's lines; `None` before the client's
    /// [`Request::Finish`].
    finish: Option<RequiredPeers>,
    last_report: Option<DeliveryReport>,
}

impl AttachedClient {
    /// A client that has just connected.
    pub fn new(connection: Connection) -> AttachedClient {
        AttachedClient {
            connection,
            is_send_blocked: false,
            sent_positions: SortedMap::new(),
            is_following: false,
            unconfirmed: VecDeque::new(),
            tracked_heads: SortedMap::new(),
            pending_resolve: None,
            finish: None,
            last_report: None,
        }
    }

    /// The connection to the client.
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether the client has disconnected, and none of its sends waits to be executed.
    pub fn is_gone(&self) -> bool {
        self.connection.is_closed && !self.is_send_blocked
    }

    /// Whether the server has work for this client. `can_accept`: lines can be stored now.
    pub fn has_work(&self, can_accept: bool) -> bool {
        self.can_read() || self.is_gone() || self.is_send_blocked && can_accept
    }

    /// Whether the client's socket should be read now.
    pub fn can_read(&self) -> bool {
        self.connection.is_readable
            && self.connection.input.len() < INPUT_MAX_BYTES
            && !self.is_output_full()
    }

    fn is_output_full(&self) -> bool {
        self.connection.output.len() >= OUTPUT_MAX_BYTES
    }

    /// Takes the client's next request for the event loop. `None` if the request is incomplete or
    /// must wait. Requests that concern only the state of this client are executed here.
    pub fn next_request(&mut self, can_accept: bool) -> Option<Request> {
        loop {
            self.is_send_blocked = !can_accept && request::is_send_next(&self.connection.input);
            if self.is_send_blocked || self.is_output_full() {
                return None;
            }
            let request =
                match IpcMessage::decode(&mut self.connection.input, REQUEST_BODY_MAX_BYTES) {
                    Ok(Some(message)) => Request::decode(message),
                    Ok(None) => return None,
                    Err(MalformedMessage) => None,
                };
            match request {
                Some(Request::FollowNotices) => self.is_following = true,
                Some(Request::Finish(required)) => self.finish = Some(required),
                Some(request) => return Some(request),
                None => {
                    self.connection.input.clear();
                    self.connection.mark_closed();
                }
            }
        }
    }

    /// Sends a response to the client.
    pub fn send(&mut self, response: &Response) {
        response.encode(&mut self.connection.output);
    }

    /// Whether the client gets notices.
    pub fn is_following(&self) -> bool {
        self.is_following
    }

    /// Sends an encoded notice. The caller has checked [`Self::can_take_notice`].
    pub fn send_notice(&mut self, encoded: &[u8], store: &Store) {
        // Send the ends of the folders first, so that the client prints earlier lines before the
        // notice.
        self.send_positions(store);
        self.connection.output.extend_from_slice(encoded);
    }

    /// Whether the client gets notices and its output has room.
    pub fn can_take_notice(&self) -> bool {
        self.is_following && !self.is_output_full()
    }

    /// Makes the client follow a folder: sends the folder's end now and after each change.
    pub fn follow_folder(&mut self, folder: FolderName, store: &Store) {
        let end = store.end(&folder);
        self.send(&Response::FolderOpened(folder.clone(), end));
        self.sent_positions.insert(folder, end);
    }

    /// Sends the current end of a room's folder, and then no more ends of this folder.
    pub fn unfollow_room(&mut self, room: Room, store: &Store) {
        self.send_positions(store);
        self.sent_positions.remove(&FolderName::from(&room));
        self.send(&Response::Parted(room));
    }

    /// Records that the lines of a send were passed to the core. `is_published`: the core accepted
    /// the lines. Otherwise the client gets [`Response::Rejected`].
    pub fn track_send(&mut self, target: Target, is_published: bool) {
        match is_published {
            true => self.unconfirmed.push_back(target),
            false => self.send(&Response::Rejected),
        }
    }

    /// Records that the client awaits the delivery of an own log's lines up to `sequence`.
    pub fn track_head(&mut self, log: LogId, sequence: u64) {
        if self.tracked_heads.len() < TRACKED_HEADS_MAX {
            let head = TrackedHead { log, sequence };
            self.tracked_heads.insert(head.log.target.clone(), head);
        }
    }

    /// Sends what has changed in this turn. Returns when to check the delivery of the client's
    /// lines again.
    pub fn end_turn(&mut self, store: &Store, node: &Node) -> Option<Time> {
        let mut recheck_at = None;
        if node.can_accept() {
            self.confirm_sends(node);
        }
        if !self.is_output_full() {
            self.send_positions(store);
        }
        if self.unconfirmed.is_empty()
            && let Some(required) = self.finish
        {
            let delivery = self.compute_delivery(node, required);
            recheck_at = delivery.recheck_at;
            self.send_delivery(DeliveryReport {
                has_linked_peer: node.link_count() > 0,
                delivery: Delivery {
                    recheck_at: None,
                    ..delivery
                },
            });
        }
        self.connection.flush();
        recheck_at
    }

    fn send_positions(&mut self, store: &Store) {
        for (folder, sent) in self.sent_positions.iter_mut() {
            let end = store.end(folder);
            if end != *sent {
                *sent = end;
                Response::FolderEnd(folder.clone(), end).encode(&mut self.connection.output);
            }
        }
    }

    fn confirm_sends(&mut self, node: &Node) {
        while let Some(target) = self.unconfirmed.pop_front() {
            let Some((log, sequence)) = node.own_head(&target) else {
                self.send(&Response::Rejected);
                continue;
            };
            self.send(&Response::Accepted {
                log: log.clone(),
                sequence,
            });
            self.tracked_heads
                .insert(target, TrackedHead { log, sequence });
        }
    }

    fn compute_delivery(&mut self, node: &Node, required: RequiredPeers) -> Delivery {
        // Fork repair may have published the lines again, under other numbers.
        for head in self.tracked_heads.values_mut() {
            if let Some((log, sequence)) = node.republished_position(&head.log, head.sequence) {
                *head = TrackedHead { log, sequence };
            }
        }
        let heads = self.tracked_heads.values();
        let heads: Vec<_> = heads.map(|head| (&head.log, head.sequence)).collect();
        node.delivery_of(&heads, required.count())
    }

    fn send_delivery(&mut self, report: DeliveryReport) {
        if self.last_report != Some(report) && !self.is_output_full() {
            self.last_report = Some(report);
            self.send(&Response::Delivery(report));
        }
    }
}
