//! The part of a session that reports what becomes of its lines.
use crate::base::batch::LogId;
use crate::base::error_code::ErrorCode;
use crate::base::event::Delivery;
use crate::base::time::Time;
use crate::node::node::Node;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::session::{Session, TrackedHead, Unconfirmed, emit, own_folder};
use crate::shell::store::store::Store;
use crate::ui::session_event::{
    DeliveryReport, Done, EventKind, FolderCursor, Status, StoredLines,
};

/// Maximum number of targets to which a session awaits the delivery of lines. The session does not
/// await the delivery to further targets.
const TRACKED_HEADS_MAX: usize = 1024;

impl Session {
    pub(super) fn track_head(&mut self, log: LogId, sequence: u64) {
        let is_known = self.tracked_heads.contains_key(&log.target);
        if is_known || self.tracked_heads.len() < TRACKED_HEADS_MAX {
            let head = TrackedHead { log, sequence };
            self.tracked_heads.insert(head.log.target.clone(), head);
        }
    }

    /// Answers the requests whose lines are now stored. Emits the status and the delivery, if they
    /// have changed. `is_full`: whether the store is full. Returns the time when the delivery must
    /// be checked again.
    pub fn end_turn(
        &mut self,
        store: &Store,
        node: &Node,
        is_full: bool,
        sink: &mut dyn EventSink,
    ) -> Option<Time> {
        if node.can_accept() {
            self.confirm_sends(store, node, sink);
        }
        let has_linked_peer = node.link_count() > 0;
        let status = Status {
            has_linked_peer,
            is_blocked: is_full && !has_linked_peer,
        };
        let can_report = self.is_local || sink.can_answer();
        if status != self.status && can_report {
            self.status = status;
            emit(sink, None, EventKind::Status(status));
        }
        if !self.unconfirmed.is_empty() {
            return None;
        }
        let required_peers = self.finish.as_ref()?.required_peers;
        let delivery = self.compute_delivery(node, required_peers);
        let report = DeliveryReport {
            has_linked_peer,
            delivery: Delivery {
                recheck_at: None,
                ..delivery
            },
        };
        if let Some(finish) = &mut self.finish
            && finish.last_report != Some(report)
            && can_report
        {
            finish.last_report = Some(report);
            emit(sink, None, EventKind::Delivery(report));
            self.current_id = finish.id.take();
            self.answer(Done::default(), sink);
        }
        delivery.recheck_at
    }

    pub(super) fn confirm_sends(&mut self, store: &Store, node: &Node, sink: &mut dyn EventSink) {
        while let Some(Unconfirmed { id, target, stored }) = self.unconfirmed.pop_front() {
            self.current_id = id;
            let stored = stored.map(|stored| (stored.log, stored.sequence));
            let Some((log, sequence)) = stored.or_else(|| node.own_head(&target)) else {
                let content = "the lines could not be stored, and are lost".to_owned();
                self.refuse(ErrorCode::Failed, content, sink);
                continue;
            };
            self.track_head(log.clone(), sequence);
            let done = Done {
                stored: Some(StoredLines { log, sequence }),
                cursor: Some(FolderCursor::at(store.end(&own_folder(&target)))),
                ..Done::default()
            };
            self.answer(done, sink);
        }
    }

    /// How far the lines of this session are delivered.
    pub fn delivery(&mut self, node: &Node) -> Delivery {
        let finish = self.finish.as_ref();
        self.compute_delivery(node, finish.and_then(|finish| finish.required_peers))
    }

    pub(super) fn compute_delivery(
        &mut self,
        node: &Node,
        required_peers: Option<u64>,
    ) -> Delivery {
        // Fork repair may have published the lines again, under other numbers.
        for head in self.tracked_heads.values_mut() {
            if let Some((log, sequence)) = node.republished_position(&head.log, head.sequence) {
                *head = TrackedHead { log, sequence };
            }
        }
        let heads = self.tracked_heads.values();
        let heads: Vec<_> = heads.map(|head| (&head.log, head.sequence)).collect();
        node.delivery_of(&heads, required_peers)
    }
}
