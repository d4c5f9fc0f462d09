//! Finds lines that the disk has damaged or lost, and passes them to the core.
use crate::base::event::input::Input;
use crate::base::name::FolderName;
use crate::base::range::LostLines;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::shell::store::audit::Audit;

impl EventLoop {
    /// Handles an audit that has ended, reports damage to the user, and starts the next audit that
    /// is due.
    pub(super) fn run_audits(&mut self) {
        for folder in self.store.take_suspects() {
            self.audits.schedule(folder, self.now.time);
        }
        match self.audits.take_result() {
            Some(Ok(audit)) => self.handle_audit(audit),
            Some(Err(folder)) => self.audits.schedule(folder, self.now.time),
            None => {}
        }
        for damage in self.store.take_damage() {
            self.frontend.warn(&damage.to_string());
        }
        let end = |folder: &FolderName| self.store.end(folder);
        if let Some(folder) = self.audits.take_due(self.now.time, &end)
            && let Some(request) = self.store.audit_request(&folder, &self.node)
        {
            self.audits.start(request);
        }
    }

    fn handle_audit(&mut self, mut audit: Audit) {
        let lost = std::mem::take(&mut audit.lost);
        let folder = audit.folder.clone();
        if lost.is_empty() && audit.damaged.is_empty() {
            return;
        }
        if audit.damaged.is_empty() {
            self.frontend.warn(&format!(
                "the history of {} has lost lines: they are requested from peers; check the disk",
                folder.as_str()
            ));
        }
        let ranges = self.node.frontier(&folder);
        let is_outdated = |lost: &LostLines| {
            let range = ranges.iter().find(|range| range.log == lost.log);
            range.is_some_and(|range| range.has_grown_around(lost))
        };
        if lost.iter().any(is_outdated) {
            // The next audit also sees the lines that were stored during this one.
            self.audits.schedule(folder.clone(), self.now.time);
        }
        for lost in lost {
            self.handle_input(Input::LinesLost(lost));
        }
        self.store.set_damage_aside(audit, &self.node);
        self.pass_printed_parts(&folder);
    }

    /// Tells the core which damaged batches of a folder the reader has printed.
    pub(super) fn pass_printed_parts(&mut self, folder: &FolderName) {
        let parts = self.store.take_printed_parts(folder);
        self.handle_input(Input::PrintedDamage(parts));
    }
}
