//! The part of a session that reports what becomes of its lines.
use crate::base::error_code::ErrorCode;
use crate::base::missing_lines::Delivery;
use crate::base::time::Time;
use crate::node::node::Node;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::session::{Finish, Session, Unconfirmed, emit, own_folder};
use crate::shell::store::store::Store;
use crate::ui::editor::line_editor::HAS_EDITOR;
use crate::ui::session_event::{
    DeliveryReport, Done, EventKind, FolderCursor, Status, StoredLines, TRACKED_LOGS_MAX,
};
use crate::ui::undelivered;
use crate::ui::undelivered::Connectivity;

impl Session {
    /// Awaits the delivery of lines.
    pub(super) fn track_lines(&mut self, lines: StoredLines) {
        if let Some(known) = self.tracked_lines.get_mut(&lines.log) {
            known.add(&lines);
        } else if self.tracked_lines.len() < TRACKED_LOGS_MAX {
            self.tracked_lines.insert(lines.log.clone(), lines);
        }
    }

    /// Starts to report the delivery of this session's lines. For the arguments, see
    /// [`RequestKind::Finish`](crate::ui::request::RequestKind::Finish).
    pub(super) fn start_reports(
        &mut self,
        required_peers: Option<u64>,
        is_sync: bool,
        sink: &mut dyn EventSink,
    ) {
        if let Some(Finish { id: Some(id), .. }) = self.finish.take() {
            // This request replaces an earlier one, which has no report yet.
            emit(sink, Some(id), EventKind::Done(Done::default()));
        }
        self.is_answered = true;
        self.finish = Some(Finish {
            id: self.current_id.take(),
            required_peers,
            is_sync,
            last_report: None,
        });
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
        self.finish_whois(node, sink);
        let has_linked_peer = node.link_count() > 0;
        let status = Status {
            has_linked_peer,
            is_blocked: is_full && !has_linked_peer,
            others_here: match std::mem::take(&mut self.is_count_due) {
                true => (self.rooms().first()).map_or(0, |room| node.present_count(room) as u64),
                false => self.status.others_here,
            },
        };
        let can_report = self.is_local || sink.can_answer();
        if status != self.status && can_report {
            self.status = status;
            emit(sink, None, EventKind::Status(status));
        }
        if !self.unconfirmed.is_empty() || !self.sent_guest_lines.is_empty() {
            return None;
        }
        let Finish {
            required_peers,
            is_sync,
            ..
        } = *self.finish.as_ref()?;
        let mut report = match is_sync {
            true => report_sync(node),
            false => self.report_delivery(node, required_peers),
        };
        let recheck_at = report.delivery.recheck_at.take();
        if let Some(finish) = &mut self.finish
            && finish.last_report.as_ref() != Some(&report)
            && can_report
        {
            finish.last_report = Some(report.clone());
            emit(sink, None, EventKind::Delivery(report));
            self.current_id = finish.id.take();
            self.answer(Done::default(), sink);
        }
        recheck_at
    }

    pub(super) fn confirm_sends(&mut self, store: &Store, node: &Node, sink: &mut dyn EventSink) {
        while let Some(unconfirmed) = self.unconfirmed.pop_front() {
            let Unconfirmed {
                id,
                target,
                head_before,
                head,
            } = unconfirmed;
            self.current_id = id;
            let Some((log, sequence)) = head.or_else(|| node.own_head(&target)) else {
                let content = "the lines could not be stored, and are lost".to_owned();
                self.refuse(ErrorCode::Failed, content, sink);
                continue;
            };
            let before = head_before.filter(|(log_before, _)| *log_before == log);
            let stored = StoredLines {
                log,
                first: before.map_or(1, |(_, head)| head + 1).min(sequence),
                sequence,
            };
            self.track_lines(stored.clone());
            let done = Done {
                stored: Some(stored),
                cursor: Some(FolderCursor::at(store.end(&own_folder(&target)))),
                ..Done::default()
            };
            self.answer(done, sink);
        }
    }

    /// How far the lines of this session are delivered.
    pub fn delivery(&mut self, node: &Node) -> DeliveryReport {
        let finish = self.finish.as_ref();
        self.report_delivery(node, finish.and_then(|finish| finish.required_peers))
    }

    fn report_delivery(&mut self, node: &Node, required_peers: Option<u64>) -> DeliveryReport {
        // Fork repair may have published the lines again, under other numbers.
        for lines in self.tracked_lines.values_mut() {
            if let Some((log, sequence)) = node.republished_position(&lines.log, lines.sequence) {
                // Lines that a peer had acknowledged are not published again.
                let first = node.republished_position(&lines.log, lines.first);
                *lines = StoredLines {
                    log,
                    first: first.map_or(1, |(_, first)| first),
                    sequence,
                };
            }
        }
        let lines = self.tracked_lines.values();
        let lines = lines.map(|lines| (&lines.log, lines.first..=lines.sequence));
        let lines: Vec<_> = lines.collect();
        let delivery = node.delivery_of(&lines, required_peers);
        let has_linked_peer = node.link_count() > 0;
        let mut undelivered = String::new();
        if !delivery.is_settled || delivery.is_lost_to_guests {
            let targets = node.undelivered(&lines, required_peers);
            undelivered = undelivered::describe(&targets, connectivity(node));
        }
        let delivered_lines = match HAS_EDITOR && !delivery.is_settled {
            true => node.delivered_lines(&lines, required_peers),
            false => 0,
        };
        DeliveryReport {
            has_linked_peer,
            delivery,
            undelivered,
            delivered_lines,
        }
    }
}

/// Whether those who are here hold all lines of ours, and we all of theirs, as a report. Its peers
/// are the linked ones; those with which nothing is left to exchange count as acknowledging.
fn report_sync(node: &Node) -> DeliveryReport {
    let state = node.sync_state();
    let is_settled = state.is_complete && state.linked_peers > 0;
    DeliveryReport {
        has_linked_peer: state.linked_peers > 0,
        delivered_lines: 0,
        undelivered: match is_settled {
            true => String::new(),
            false => undelivered::describe_sync(&state, connectivity(node)),
        },
        delivery: Delivery {
            linked_peers: state.linked_peers,
            acked_peers: state.linked_peers.saturating_sub(state.behind_peers),
            required_peers: state.linked_peers,
            has_undelivered: !is_settled,
            is_unsent_to_guests: false,
            is_lost_to_guests: false,
            is_settled,
            recheck_at: state.recheck_at,
        },
    }
}

fn connectivity(node: &Node) -> Connectivity {
    match node.link_count() > 0 {
        true => Connectivity::Linked,
        false => Connectivity::Unlinked {
            heard_peers: node.heard_peer_count(),
        },
    }
}
