//! What this run is for: when it is over, and with which exit status.
use crate::base::event::Delivery;
use crate::base::time::Time;
use crate::shell::config::exit_status::{
    CLOSED_OUTPUT, DONE, FAILED, NOBODY, NOT_EVERYONE, OTHER_KEY, TOO_FEW,
};

/// How long `peers` looks if nothing else is said, in milliseconds.
pub const LOOK: u64 = 2_000;
/// How long delivery is waited for if nothing else is said, in milliseconds.
pub const WAIT: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Say what comes from stdin, print the transcript.
    Chat,
    /// Say, wait until it has arrived, leave.
    Send,
    /// Print the transcript.
    Listen,
    /// Look who is there.
    Peers,
}

pub struct Goal {
    pub purpose: Purpose,
    /// Milliseconds: for delivery after the end of input, or for the whole run.
    wait: Option<u64>,
    /// Chat lines to be printed before `listen` is done.
    count: Option<u64>,
    ephemeral: bool,
    /// It acts through a program that stays when this one ends.
    pub through: bool,
    /// Nobody is there, and the store has no room for more: it was told, and stdin waits.
    stuck: bool,
    /// When waiting ends.
    deadline: Option<Time>,
    /// No more input will come.
    finishing: bool,
    settled: bool,
    /// Lines were refused.
    refused: bool,
    /// A name that was written to came with a key that is not bound to it.
    other_key: bool,
    /// Somebody was linked at some time.
    met: bool,
    over: Option<u8>,
    /// A script said to end it.
    quit: bool,
    /// Stdout is not waited for.
    cut: bool,
}

impl Goal {
    /// `wait` in milliseconds; for `listen` and `peers` it counts from `now`.
    pub fn new(
        purpose: Purpose,
        wait: Option<u64>,
        count: Option<u64>,
        ephemeral: bool,
        now: Time,
    ) -> Goal {
        let deadline = match purpose {
            Purpose::Listen => wait.map(|ms| now + ms),
            Purpose::Peers => Some(now + wait.unwrap_or(LOOK)),
            Purpose::Chat | Purpose::Send => None,
        };
        Goal {
            purpose,
            wait,
            count,
            ephemeral,
            through: false,
            stuck: false,
            deadline,
            finishing: false,
            settled: false,
            refused: false,
            other_key: false,
            met: false,
            over: None,
            quit: false,
            cut: false,
        }
    }

    /// No more will be said.
    pub fn input_ended(&mut self, now: Time) {
        self.finishing = true;
        self.deadline = Some(now + self.wait.unwrap_or(WAIT));
    }

    /// `stuck`: nobody is there, and the store has no room for more. One who waits for delivery does so from then on, too: stdin may
    /// never end. Gives what stderr should say.
    pub fn stuck(&mut self, now: Time, stuck: bool) -> Option<&'static str> {
        let before = std::mem::replace(&mut self.stuck, stuck);
        if self.finishing || before == stuck {
            return None;
        }
        let waits = match self.purpose {
            Purpose::Send => true,
            Purpose::Chat => self.wait.is_some(),
            Purpose::Listen | Purpose::Peers => return None,
        };
        let until = stuck.then(|| now + self.wait.unwrap_or(10_000));
        self.deadline = until.filter(|_| waits);
        stuck.then_some("nobody is there, and there is no room for more: stdin waits")
    }

    pub fn finishing(&self) -> bool {
        self.finishing
    }

    pub fn refuse(&mut self) {
        self.refused = true;
    }

    pub fn other_key(&mut self) {
        self.other_key = true;
    }

    pub fn met(&mut self) {
        self.met = true;
    }

    pub fn settled(&mut self) {
        self.settled = true;
    }

    /// Ends the run with this status, unless it has ended already.
    pub fn end(&mut self, status: u8) {
        self.over.get_or_insert(status);
    }

    /// Ends the run, with a status that tells of what was refused.
    pub fn quit(&mut self) {
        self.quit = true;
    }

    /// Ends the run at once, also one that ends already and waits for the reader of stdout. The first status of these counts.
    pub fn cut(&mut self, status: u8) {
        if !std::mem::replace(&mut self.cut, true) {
            self.over = Some(status);
        }
    }

    pub fn is_cut(&self) -> bool {
        self.cut
    }

    pub fn ended(&self) -> bool {
        self.over.is_some() || self.quit
    }

    /// That of the run that ended.
    pub fn status(&self) -> Option<u8> {
        self.over
    }

    /// Chat lines that `listen` may still print; `None`: as many as come.
    pub fn remaining(&self) -> Option<u64> {
        self.count
    }

    /// Lines of this run were printed.
    pub fn printed(&mut self, lines: u64) {
        if let Some(count) = &mut self.count {
            *count = count.saturating_sub(lines);
            // What was stored in time may be shown after it.
            if *count == 0 && matches!(self.over, None | Some(TOO_FEW)) {
                self.over = Some(DONE);
            }
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// The exit status, once the run is over, and what stderr should say. `stored`: all that was said so far is.
    pub fn over(
        &mut self,
        now: Time,
        stored: bool,
        delivery: impl FnOnce() -> Delivery,
    ) -> Option<(u8, Option<String>)> {
        if let Some(status) = self.over {
            return Some((status, None));
        }
        let bad = match (self.other_key, self.refused) {
            (true, _) => Some(OTHER_KEY),
            (false, true) => Some(FAILED),
            (false, false) => None,
        };
        if self.quit || self.finishing && self.settled {
            return Some((bad.unwrap_or(DONE), None));
        }
        if self.deadline.is_none_or(|at| at > now) {
            return None;
        }
        match self.purpose {
            Purpose::Listen => {
                let status = if self.count.is_some() { TOO_FEW } else { DONE };
                Some((bad.unwrap_or(status), None))
            }
            Purpose::Peers => {
                let status = if self.met { DONE } else { NOBODY };
                Some((bad.unwrap_or(status), None))
            }
            Purpose::Chat | Purpose::Send if !stored => {
                let sentence = "what was said last could not be stored, and is gone";
                Some((FAILED, Some(sentence.to_owned())))
            }
            Purpose::Chat | Purpose::Send => {
                let delivery = delivery();
                if delivery.settled {
                    return Some((bad.unwrap_or(DONE), None));
                }
                let status = if self.met { NOT_EVERYONE } else { NOBODY };
                let sentence = self.undelivered(&delivery);
                let rest = match self.finishing {
                    true => "",
                    false => ", and the rest of stdin was not taken",
                };
                Some((bad.unwrap_or(status), Some(sentence + rest)))
            }
        }
    }

    /// Why not all has arrived, and what becomes of it.
    fn undelivered(&self, delivery: &Delivery) -> String {
        let fate = match (self.ephemeral, self.through) {
            (true, _) => "it is gone with this program",
            (false, true) => "it is stored, and the program that runs here goes on with it",
            (false, false) => "it is stored and goes out with the next run",
        };
        let held = delivery.holding;
        // Who is yet to come, or to stay, is needed too.
        let needed = delivery.needed.max(held + 1);
        match (self.met, delivery.linked) {
            (false, _) => format!("nobody is there: {fate}"),
            (true, 0) => format!("nobody for whom it is meant is linked: {fate}"),
            _ => format!("not everyone holds it yet ({held} of {needed} hold it): {fate}"),
        }
    }

    /// What stderr should say at an end that waits for nobody, if something is lost by it.
    pub fn lost(&self, delivery: impl FnOnce() -> Delivery) -> Option<String> {
        if !self.ephemeral || self.over == Some(CLOSED_OUTPUT) {
            return None;
        }
        let delivery = delivery();
        delivery.lacking.then(|| self.undelivered(&delivery))
    }
}
