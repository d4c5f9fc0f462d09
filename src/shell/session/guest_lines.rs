//! The part of a session that waits until its lines for single guests are sent, or lost. Such lines
//! are not stored, so the session that sent them is the only one to hear of them.
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::guests::guest::{GuestId, GuestLines, GuestLinesResult};
use crate::base::lines::Lines;
use crate::base::text::line_form::LineForm;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::session::{SentGuestLines, Session, SessionAction};
use crate::ui::session_event::Done;

impl Session {
    /// Sends lines to a guest. The request is answered once the core has reported all of them.
    pub(super) fn send_to_guest(
        &mut self,
        request_id: u64,
        guest: GuestId,
        lines: Lines,
        form: LineForm,
    ) -> SessionAction {
        self.is_answered = true;
        let count = lines.count() as u64;
        self.sent_guest_lines.push(SentGuestLines {
            id: self.current_id.take(),
            request_id,
            count,
            left: count,
            lost: 0,
            why: String::new(),
        });
        SessionAction::Command(Command::SendToGuest(GuestLines {
            request_id,
            guest,
            lines,
            form,
        }))
    }

    /// Handles what became of lines for a guest. Returns false if they are of another session.
    pub fn handle_guest_lines(&mut self, of: &GuestLinesResult, sink: &mut dyn EventSink) -> bool {
        let mut all = self.sent_guest_lines.iter_mut();
        let Some(at) = all.position(|it| it.request_id == of.request_id) else {
            return false;
        };
        let lines = &mut self.sent_guest_lines[at];
        lines.left = lines.left.saturating_sub(of.lines);
        if let Err(why) = &of.result {
            lines.lost += of.lines;
            lines.why.clone_from(why);
        }
        if lines.left == 0 {
            let answered = self.sent_guest_lines.remove(at);
            let outer = std::mem::replace(&mut self.current_id, answered.id.clone());
            let was_answered = self.is_answered;
            match answered.lost {
                0 => self.answer(Done::default(), sink),
                _ => self.refuse(ErrorCode::Failed, answered.loss(), sink),
            }
            (self.current_id, self.is_answered) = (outer, was_answered);
        }
        true
    }
}
