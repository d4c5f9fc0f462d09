//! The part of a transcript that emits backlogs: stored lines before all other lines, in the total
//! order.
use std::io;

use crate::base::line_key::LineKey;
use crate::base::name::FolderName;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::transcript::backlog_reader::BacklogStep;
use crate::shell::session::transcript::transcript::{Transcript, emit_chat};
use crate::shell::store::scan::FolderSpan;
use crate::shell::store::store::Store;
use crate::ui::session_event::{
    BacklogCursor, BacklogProgress, ChatLines, EventKind, SessionEvent,
};

impl Transcript {
    /// Requests a backlog of these folders: their last `lines` stored lines. The transcript emits
    /// the backlog before all other lines. The folders must have been opened in this turn.
    pub fn request_backlog(&mut self, folders: &[FolderName], lines: u64) {
        let span = |name: &FolderName| {
            let cursor = self.cursors.get(name)?;
            Some(FolderSpan {
                name: name.clone(),
                from: None,
                end: Some(cursor.run_start),
            })
        };
        let spans: Vec<FolderSpan> = folders.iter().filter_map(span).collect();
        if lines == 0 || self.only_new || spans.is_empty() {
            return;
        }
        if let [span] = &spans[..]
            && let Some(cursor) = self.cursors.get_mut(&span.name)
        {
            cursor.backlog = Some(BacklogProgress::Requested { lines });
        }
        self.backlogs.request_last(spans, lines);
        self.is_lagging = true;
    }

    /// Whether [`Transcript::cursor`] tells where another transcript would continue. False until it
    /// is known where each backlog of several folders begins.
    pub fn knows_backlogs(&mut self, store: &Store) -> bool {
        if !self.backlogs.knows_beginnings() {
            self.begin_backlog(store);
        }
        self.backlogs.knows_beginnings()
    }

    /// Records the first line of the current backlog in the cursors of its folders. Does nothing
    /// before the first step is ready, or if the backlog leaves lines out.
    fn begin_backlog(&mut self, store: &Store) {
        if self.backlogs.is_incomplete() {
            return;
        }
        let Some(BacklogStep::Event(EventKind::Chat { chat, .. })) = self.backlogs.peek(store)
        else {
            return;
        };
        let first = chat.key();
        for folder in self.backlogs.folders() {
            if let Some(cursor) = self.cursors.get_mut(folder)
                && cursor.backlog.and_then(|it| it.begun()).is_none()
            {
                cursor.backlog = Some(BacklogProgress::Begun(BacklogCursor {
                    first,
                    end: first,
                    has_more: true,
                }));
            }
        }
    }

    /// Emits the backlogs, as long as steps are ready and the sink has room. Returns whether all
    /// backlogs are emitted.
    pub(super) fn emit_backlogs(
        &mut self,
        store: &Store,
        sink: &mut dyn EventSink,
        result: &mut io::Result<()>,
    ) -> bool {
        while self.backlogs.is_active() {
            self.begin_backlog(store);
            if !sink.can_accept() || self.backlogs.peek(store).is_none() {
                return false;
            }
            match self.backlogs.pop() {
                Some(BacklogStep::Event(EventKind::Chat { chat, .. })) => {
                    self.emit_backlog_lines(chat, sink);
                }
                Some(BacklogStep::Event(kind)) => sink.emit(SessionEvent::new(None, kind)),
                Some(BacklogStep::Unreadable(error)) => {
                    self.forget_backlog();
                    *result = Err(error);
                }
                Some(BacklogStep::End(read)) => {
                    for folder in self.backlogs.take_folders() {
                        self.end_backlog(&folder, read.is_ok());
                    }
                    if let Err(error) = read {
                        *result = Err(error);
                    }
                }
                None => {}
            }
        }
        true
    }

    /// Lets the cursors print all news of the current backlog again, because the backlog leaves
    /// lines out.
    fn forget_backlog(&mut self) {
        for folder in self.backlogs.folders() {
            if let Some(cursor) = self.cursors.get_mut(folder) {
                cursor.backlog = None;
            }
        }
    }

    fn emit_backlog_lines(&mut self, chat: ChatLines, sink: &mut dyn EventSink) {
        let log = &chat.log;
        let folder = FolderName::for_log(&log.target, &log.author, &self.own_id);
        // A closed folder keeps its cursor until its lines are emitted.
        if let Some(cursor) = self.cursors.get_mut(&folder) {
            let last = chat.key().advanced_by(chat.count().saturating_sub(1));
            if let Some(BacklogProgress::Begun(backlog)) = &mut cursor.backlog {
                backlog.end = last.successor();
            }
            // The cursor over the folder stays: the backlog is in another order.
            let resume = cursor.resume_at(cursor.position);
            emit_chat(chat, Some(resume), sink);
        }
    }

    /// Ends the backlog of a folder. After an incomplete backlog, the cursor over the folder prints
    /// the news among the missing lines.
    fn end_backlog(&mut self, folder: &FolderName, is_complete: bool) {
        let Some(cursor) = self.cursors.get_mut(folder) else {
            return;
        };
        cursor.is_end_due |= cursor.backlog.is_some();
        match &mut cursor.backlog {
            Some(BacklogProgress::Begun(backlog)) => {
                if is_complete {
                    backlog.end = LineKey::MAX;
                }
                backlog.has_more = false;
            }
            // It has no line.
            _ => cursor.backlog = None,
        }
    }

    /// Emits the position of the cursor after a backlog. The backlog's lines then count as printed.
    /// To be called when the cursor has reached the end of the folder.
    pub(super) fn emit_backlog_end(&mut self, folder: &FolderName, sink: &mut dyn EventSink) {
        if let Some(progress) = self.cursors.get_mut(folder)
            && std::mem::take(&mut progress.is_end_due)
        {
            let (folder, cursor) = (folder.clone(), progress.resume_at(progress.position));
            let kind = EventKind::Position { folder, cursor };
            sink.emit(SessionEvent::new(None, kind));
        }
    }
}
