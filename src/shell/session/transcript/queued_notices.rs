//! The notices that wait until the sink of a transcript has room.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};

/// Maximum number of notices. If there are more, the oldest ones are dropped.
const NOTICES_MAX: usize = 1000;
/// Maximum number of bytes that guests said. If there are more, the oldest notices are dropped.
const GUEST_BYTES_MAX: usize = 1 << 20;

/// The notices, in order.
#[derive(Default)]
pub struct QueuedNotices {
    notices: VecDeque<Arc<Notice>>,
    guest_bytes: usize,
    /// Number of dropped lines of guests. They are stored nowhere.
    lost_lines: u64,
}

impl QueuedNotices {
    /// Adds a notice. Beyond the bounds, drops the oldest ones.
    pub fn push(&mut self, notice: &Arc<Notice>) {
        self.guest_bytes += guest_bytes(notice);
        self.notices.push_back(Arc::clone(notice));
        while self.notices.len() > NOTICES_MAX || self.guest_bytes > GUEST_BYTES_MAX {
            let Some(dropped) = self.pop_oldest() else {
                break;
            };
            self.lost_lines += u64::from(is_guest_line(&dropped));
        }
    }

    /// Takes the next notice. Before it, tells the user how many lines of guests were dropped.
    pub fn pop(&mut self) -> Option<Arc<Notice>> {
        match std::mem::take(&mut self.lost_lines) {
            0 => self.pop_oldest(),
            count => Some(Arc::new(Notice::Error {
                code: ErrorCode::Guests,
                content: format!(
                    "{count} lines of guests were dropped, because the output took none"
                ),
            })),
        }
    }

    fn pop_oldest(&mut self) -> Option<Arc<Notice>> {
        let notice = self.notices.pop_front()?;
        self.guest_bytes -= guest_bytes(&notice);
        Some(notice)
    }

    /// Whether no notice waits.
    pub fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.lost_lines == 0
    }
}

fn is_guest_line(notice: &Notice) -> bool {
    matches!(notice, Notice::Guest(guest) if guest.event.is_line())
}

fn guest_bytes(notice: &Notice) -> usize {
    let Notice::Guest(GuestNotice { event, .. }) = notice else {
        return 0;
    };
    match event {
        GuestEvent::Joined(_) | GuestEvent::Left(_) => 0,
        GuestEvent::Posted { content, .. }
        | GuestEvent::Wrote { content, .. }
        | GuestEvent::Received { content, .. }
        | GuestEvent::Remark { content, .. } => content.len(),
    }
}
