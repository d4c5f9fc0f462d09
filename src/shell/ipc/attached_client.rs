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

/// Limit of one client's received requests that are not executed yet, in bytes. At this limit the
/// server stops reading the client's socket.
const INPUT_MAX_BYTES: usize = 2 * REQUEST_BODY_MAX_BYTES;
/// Limit of one client's responses that are not written to its socket yet, in bytes. At this limit
/// the server executes no requests of the client, and sends it no notices and no
/// [`Response::FolderEnd`].
const OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// Limit of the number of targets for which one client awaits the delivery of lines. At this limit
/// the server ignores the client's further [`Request::AwaitDelivery`].
const TRACKED_HEADS_MAX: usize = 1024;

/// A log of ours, and the last line in it whose delivery a client awaits.
struct TrackedHead {
    log: LogId,
    sequence: u64,
}

/// The server's state of one client.
///
/// The server sends the client no chat lines. It sends the end of each folder that the client
/// follows: the position up to which the folder is written. The client reads the lines itself.
///
/// A client that reads slowly does not delay other clients. While its output buffer is full, the
/// client gets no notices and no new ends. Once the buffer has room, the client gets the current
/// end of each folder whose end has changed.
pub struct AttachedClient {
    connection: Connection,
    /// Whether the client's next request is a [`Request::Send`] that waits because no lines can be
    /// stored now.
    is_send_blocked: bool,
    /// For each folder that the client follows: the last end that the server sent to the client.
    sent_positions: SortedMap<FolderName, Position>,
    /// Whether the client has requested notices.
    is_following: bool,
    /// The targets of the published sends that are not answered yet, oldest first.
    unconfirmed: VecDeque<Target>,
    /// For each target, the last line whose delivery the client awaits.
    tracked_heads: SortedMap<Target, TrackedHead>,
    /// The id of the client's unanswered [`Request::Resolve`].
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

    /// Whether the client has disconnected, and no send of this client waits to be executed.
    pub fn is_gone(&self) -> bool {
        self.connection.is_closed && !self.is_send_blocked
    }

    /// Whether the server has work for this client now. `can_accept` tells whether lines can be
    /// stored now.
    pub fn has_work(&self, can_accept: bool) -> bool {
        self.can_read() || self.is_gone() || self.is_send_blocked && can_accept
    }

    /// Whether the server should read the client's socket now.
    pub fn can_read(&self) -> bool {
        self.connection.is_readable
            && self.connection.input.len() < INPUT_MAX_BYTES
            && !self.is_output_full()
    }

    fn is_output_full(&self) -> bool {
        self.connection.output.len() >= OUTPUT_MAX_BYTES
    }

    /// Takes the client's next request. `None`: the request is incomplete or must wait. Executes
    /// [`Request::FollowNotices`] and [`Request::Finish`] here, and does not return them.
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

    /// Whether the client has requested notices.
    pub fn is_following(&self) -> bool {
        self.is_following
    }

    /// Sends the new ends of the followed folders, and then an encoded notice. The caller must
    /// check [`Self::can_take_notice`] first.
    pub fn send_notice(&mut self, encoded: &[u8], store: &Store) {
        // Send the ends of the folders first, so that the client prints earlier lines before the
        // notice.
        self.send_positions(store);
        self.connection.output.extend_from_slice(encoded);
    }

    /// Whether a notice can be sent: the client has requested notices, and its output buffer has
    /// room.
    pub fn can_take_notice(&self) -> bool {
        self.is_following && !self.is_output_full()
    }

    /// Makes the client follow a folder. The client gets the folder's end now and after each
    /// change.
    pub fn follow_folder(&mut self, folder: FolderName, store: &Store) {
        let end = store.end(&folder);
        self.send(&Response::FolderOpened(folder.clone(), end));
        self.sent_positions.insert(folder, end);
    }

    /// Makes the client stop following a room's folder. Before that, sends the client the current
    /// end of the folder.
    pub fn unfollow_room(&mut self, room: Room, store: &Store) {
        self.send_positions(store);
        self.sent_positions.remove(&FolderName::from(&room));
        self.send(&Response::Parted(room));
    }

    /// Records that the core got the lines of a send to this target. `is_published` tells whether
    /// the core published the lines. If not, the client gets [`Response::Rejected`].
    pub fn track_send(&mut self, target: Target, is_published: bool) {
        match is_published {
            true => self.unconfirmed.push_back(target),
            false => self.send(&Response::Rejected),
        }
    }

    /// Records that the client awaits the delivery of our log's lines, from the first one to
    /// `sequence`.
    pub fn track_head(&mut self, log: LogId, sequence: u64) {
        if self.tracked_heads.len() < TRACKED_HEADS_MAX {
            let head = TrackedHead { log, sequence };
            self.tracked_heads.insert(head.log.target.clone(), head);
        }
    }

    /// Sends the client what has changed in this turn. Returns the time when the delivery of the
    /// client's lines must be checked again.
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
