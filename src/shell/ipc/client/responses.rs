//! Handles the server's responses.
use crate::base::error_code::Refusal;
use crate::base::event::Notice;
use crate::base::name::FolderName;
use crate::shell::ipc::client::client::Client;
use crate::shell::ipc::message::response::{DeliveryReport, Response};
use crate::shell::session::session::Session;

impl Client {
    /// Handles one response of the server. If the response makes new requests necessary, appends
    /// them to `out`.
    pub(super) fn handle_response(
        &mut self,
        session: &mut Session,
        out: &mut Vec<u8>,
        response: Response,
    ) {
        match response {
            Response::FolderOpened(folder, end) => {
                self.pending_opens = self.pending_opens.saturating_sub(1);
                self.store.open_folder_read_only(&folder, end);
                session.open_folder(&self.store, &folder);
                session.end_turn(&mut self.store);
            }
            Response::JoinRefused(room) => {
                self.pending_opens = self.pending_opens.saturating_sub(1);
                session.exit_policy.record_refusal();
                self.leave_room(session, &room);
            }
            Response::Parted(room) => {
                self.pending_opens = self.pending_opens.saturating_sub(1);
                session.transcript.close(&FolderName::from(&room));
            }
            Response::FolderEnd(folder, end) => {
                self.store.set_end(&folder, end);
                if session.is_printing_transcript() {
                    session.transcript.mark_lagging();
                    session.end_turn(&mut self.store);
                }
            }
            Response::PeerNick(peer) => session.renderer.record_known_name(peer.id, &peer.nick),
            Response::Accepted { log, sequence } => self.outbox.confirm_oldest(log, sequence),
            Response::Rejected => {
                self.outbox.reject_oldest();
                session.exit_policy.record_refusal();
            }
            Response::Resolved(peer) => self.outbox.complete_resolve(out, &self.store, peer),
            Response::ResolveFailed(Refusal { code, content }) => {
                self.outbox.cancel_resolve();
                // If this run has sent nothing else, there is no delivery to wait for.
                self.delivery.is_settled = self.outbox.is_unused();
                session.handle_notice(Notice::Error { code, content }, &self.store);
            }
            Response::Delivery(report) => self.handle_delivery(session, report),
            Response::Peers { count, list } => {
                self.is_peers_pending = false;
                session.show_peers(count, list);
            }
            Response::Stats(list) => session.show_reply(list),
            Response::Notice(notice) => self.handle_notice(session, notice),
            Response::Welcome(_) => {}
        }
    }

    fn handle_delivery(&mut self, session: &mut Session, report: DeliveryReport) {
        self.is_finish_pending = false;
        self.has_linked_peer |= report.has_linked_peer;
        self.delivery = report.delivery;
        if self.delivery.is_settled && self.outbox.is_empty() {
            session.exit_policy.record_delivery_complete();
        }
    }

    fn handle_notice(&mut self, session: &mut Session, notice: Notice) {
        // If this run takes over the directory later, it keeps the new nick.
        if let (Notice::Renamed { peer, .. }, Some(welcome)) = (&notice, &mut self.welcome)
            && peer.id == welcome.me.id
        {
            welcome.me.nick = peer.nick.clone();
        }
        session.handle_notice(notice, &self.store);
    }
}
