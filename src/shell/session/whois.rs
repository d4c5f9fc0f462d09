//! The part of a session that answers /whois, once what the peers say about themselves has come.
use std::sync::Arc;

use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::event::peer::PeerInfo;
use crate::base::guests::guest::GuestInfo;
use crate::base::name::PeerSelector;
use crate::base::presence::profile::HAS_PROFILE;
use crate::node::node::Node;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::session::{Pending, Session};
use crate::ui::session_event::Done;
use crate::ui::trust_command::TrustEntry;

impl Session {
    /// Answers with these peers once the core awaits no profile of them. `peers`: those that are
    /// here.
    pub fn await_profiles(&mut self, entries: Vec<TrustEntry>, peers: Vec<PeerInfo>) {
        self.is_answered = true;
        let id = self.current_id.take();
        self.pending = Pending::Whois { id, entries, peers };
    }

    /// Answers /whois if no profile is awaited any more.
    pub(super) fn finish_whois(&mut self, node: &Node, sink: &mut dyn EventSink) {
        let Pending::Whois { peers, .. } = &self.pending else {
            return;
        };
        let mut ids = peers.iter().map(|info| info.peer.id);
        if !HAS_PROFILE || ids.any(|id| node.is_fetching_profile(&id)) {
            return;
        }
        let pending = std::mem::replace(&mut self.pending, Pending::None);
        let Pending::Whois {
            id,
            entries,
            mut peers,
        } = pending
        else {
            return;
        };
        self.current_id = id;
        for info in &mut peers {
            let profile = node.profile_of(&info.peer.id);
            info.profile = profile.cloned().map(Arc::new);
        }
        self.finish_trust(Ok(entries), peers, sink);
        self.answer(Done::default(), sink);
    }

    /// Answers what guests say about themselves.
    pub fn finish_whois_of_guests(
        &mut self,
        selector: &PeerSelector,
        guests: Vec<GuestInfo>,
        sink: &mut dyn EventSink,
    ) {
        match guests.is_empty() {
            true => self.refuse(ErrorCode::Target, format!("{selector} is not here"), sink),
            false => self.reply(Notice::Guests(guests).into(), sink),
        }
    }
}
