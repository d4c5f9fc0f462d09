//! Requests for direct messages to carry, as far as their recipients decide about them.
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::replication::carrying::carriers::{PlaceToCarry, claimant};
use crate::node::replication::engine::Replication;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::want::WantRange;

impl Replication {
    /// Ends the request for a log to carry, as there is no place for its next batch. The log is
    /// requested again when a recipient has acknowledged lines.
    pub(super) fn pause_request(&mut self, key: &LinkLog) {
        let request = self.progress.request_mut(key.stream, &key.log);
        if let Some(request) = request.filter(|request| request.is_sent)
            && self.paused.add(key.clone())
        {
            request.is_sent = false;
            self.queued_wants.push((key.clone(), WantRange::Cancel));
        }
    }

    /// Resumes paused requests for which there is a place now. To be called when a recipient has
    /// acknowledged carried lines, which thus take no place any more.
    pub(super) fn resume_paused(&mut self, ctx: &Context, logs: &Logs) {
        for key in self.paused.take_next() {
            let LinkLog { stream, log } = &key;
            let claimant = claimant(ctx, *stream, &log.author);
            let place = PlaceToCarry::for_author(ctx, logs, &log.target, &claimant);
            let request = self.progress.request_mut(*stream, log);
            let Some(request) = request.filter(|request| !request.is_sent) else {
                continue;
            };
            if !place.allows(logs, log) {
                self.paused.add(key);
                continue;
            }
            request.is_sent = true;
            request.from = request.from.max(logs.high(log) + 1);
            let range = WantRange::From(request.from);
            self.queued_wants.push((key, range));
        }
    }
}
