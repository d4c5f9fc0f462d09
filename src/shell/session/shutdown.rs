//! How a run ends: when all is said, and what stdout still takes.
use std::time::{Duration, Instant};

use crate::base::event::{Command, Delivery};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::{CLOSED_OUTPUT, FAILED};
use crate::shell::session::session::Session;
use crate::shell::stdio::stdin;
use crate::shell::store::store::Store;

/// Milliseconds for which the end of a run waits for a reader of stdout that takes nothing.
const LAST_LINES: u64 = 5_000;
/// Milliseconds that the editor's line may take to go, whatever else took its time.
const LAST_MOMENT: u64 = 100;

impl Session {
    /// The exit status, once the run is over. `met`: somebody is linked. `stored`: all that was said so far is.
    pub fn over(
        &mut self,
        now: Now,
        met: bool,
        stored: bool,
        delivery: impl Fn() -> Delivery,
    ) -> Option<u8> {
        if met {
            self.goal.met();
        }
        if self.looking() && !self.goal.ended() {
            return None;
        }
        self.finish(stored);
        // What was taken over late is handed on late, and until then the core has nothing that it could wait for.
        if self.pending.decides() && !self.goal.ended() {
            return None;
        }
        if self.goal.ended() && self.drain.is_none() {
            self.tell_unsaid(stored);
            if let Some(sentence) = self.goal.lost(&delivery) {
                self.complain(&sentence);
            }
        }
        let (status, sentence) = self.goal.over(now.time, stored, delivery)?;
        if let Some(sentence) = sentence {
            self.complain(&sentence);
        }
        self.goal.end(status);
        match self.drains(now.time) {
            true => None,
            false => self.goal.status(),
        }
    }

    /// A run that ends before its input does says so, if it took lines that it does not say; one whose stdout is closed ends without a word.
    fn tell_unsaid(&mut self, stored: bool) {
        let read = self.keyboard.take().is_some_and(|k| k.stop());
        let said = stored && !self.pending.says();
        if !said {
            self.goal.refuse();
        }
        let left = self.held.take().is_some() || !self.requests.is_empty();
        if (!said || left || read) && self.goal.status() != Some(CLOSED_OUTPUT) {
            self.complain("not all lines that came in before the end were said: the rest is not said, and gone");
        }
    }

    /// Stdout still takes what is left for it. An end that is cut short waits for nobody.
    fn drains(&mut self, now: Time) -> bool {
        self.transcript.stop();
        let Some(printer) = &self.printer else {
            return false;
        };
        let done = self.owed.is_empty() && !self.transcript.is_lagging() && printer.idle();
        if done || self.goal.is_cut() || printer.broken().is_some() {
            return false;
        }
        let progress = printer.progress();
        let until = match self.drain {
            Some((before, until)) if before == progress => until,
            _ => now + LAST_LINES,
        };
        self.drain = Some((progress, until));
        if until <= now {
            self.complain("stdout was not read to the end: its last lines are missing");
            self.goal.cut(FAILED);
        }
        until > now
    }

    /// What lines stdout takes within `patience` milliseconds go out, and the terminal is given back.
    pub fn close(&mut self, store: &mut Store, patience: u64) {
        if let Some(printer) = &self.printer {
            let end = Instant::now() + Duration::from_millis(patience);
            let left = || end.saturating_duration_since(Instant::now());
            let most = self.goal.remaining();
            while (!self.owed.is_empty() || self.transcript.is_lagging())
                && !left().is_zero()
                && printer.finish(left())
            {
                let owed = std::mem::take(&mut self.owed);
                self.transcript.print_now(owed, &mut self.face, printer);
                let caught_up = self
                    .transcript
                    .catch_up(most, store, &mut self.face, printer);
                if caught_up.is_err() {
                    break;
                }
            }
            let last = self.face.close();
            if !last.is_empty() {
                self.transcript.print_now(last, &mut self.face, printer);
            }
            printer.finish(left().max(Duration::from_millis(LAST_MOMENT)));
            self.transcript.note_printed(store, printer);
        }
        stdin::restore();
        self.diagnostics.finish();
    }

    /// Not before all is stored: what is not cannot be waited for.
    fn finish(&mut self, stored: bool) {
        if self.ending && stored {
            self.ending = false;
            self.pending.push(Command::Finish { need: self.need });
        }
    }
}
