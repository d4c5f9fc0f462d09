//! To whom a direct message is said: a name becomes a key, now or when its bearer comes.

use crate::base::event::{Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::Whom;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::membership::known_peers::{Meant, Trust, changed, could_be};

/// Milliseconds without news after which nobody else is expected.
const GRACE: u64 = 8;
/// Longest time in milliseconds before lines are said to one that is known, at most half of the time that there is: another may bear its name now.
const LOOK: u64 = 1_000;

const UNKNOWN: &str = "nobody known by that name; `p2pchat peers` lists who is there";

/// Most questions for readers that wait: whoever asked the oldest is gone, as no more programs can ask at a time.
const ASKED_MAX: usize = 64;

/// What is done when the reader is known.
enum Then {
    /// Lines are said.
    Say { lines: Lines, action: bool },
    /// Who asked is told: see [`Command::Find`](crate::base::event::Command::Find).
    Answer { serial: u64 },
}

/// A reader who is not known yet.
struct Pending {
    whom: Whom,
    then: Then,
    since: Time,
    within: u64,
}

/// Lines for a peer, and whether they are an action.
pub type Addressed = (PeerId, Lines, bool);

#[derive(Default)]
pub struct Tell {
    pending: Vec<Pending>,
}

impl Tell {
    /// `within`: see `Command::Tell`.
    pub fn tell(&mut self, hub: &Hub, whom: Whom, lines: Lines, action: bool, within: u64) {
        self.look(hub, whom, Then::Say { lines, action }, within);
    }

    /// See `Command::Find`.
    pub fn find(&mut self, hub: &Hub, serial: u64, whom: Whom, within: u64) {
        let asks = |pending: &Pending| matches!(pending.then, Then::Answer { .. });
        if self.pending.iter().filter(|pending| asks(pending)).count() >= ASKED_MAX
            && let Some(oldest) = self.pending.iter().position(asks)
        {
            self.pending.remove(oldest);
        }
        self.look(hub, whom, Then::Answer { serial }, within);
    }

    fn look(&mut self, hub: &Hub, whom: Whom, then: Then, within: u64) {
        self.pending.push(Pending {
            whom,
            then,
            since: hub.now.time,
            within,
        });
    }

    /// All that was said has found its reader, or was refused.
    pub fn is_clear(&self) -> bool {
        let says = |pending: &Pending| matches!(pending.then, Then::Say { .. });
        !self.pending.iter().any(says)
    }

    /// Lines whose reader is known now; its name is bound to its key from now on. `coming`: others may be linked in a moment.
    pub fn settle(&mut self, hub: &mut Hub, trust: &mut Trust, coming: bool) -> Vec<Addressed> {
        let mut ready = Vec::new();
        if self.pending.is_empty() {
            return ready;
        }
        let present = hub.present();
        for pending in std::mem::take(&mut self.pending) {
            let waited = hub.now.time.since(pending.since);
            let quiet = !coming && hub.now.time >= hub.news + GRACE;
            let meant = trust.find(&pending.whom, &present);
            let here = |peer: &Peer| present.iter().any(|other| other.id == peer.id);
            let look = LOOK.min(pending.within / 2);
            let decided = match &meant {
                _ if waited >= pending.within => true,
                Meant::Nobody => false,
                Meant::Peer(_) if pending.whom.id().is_some() => true,
                Meant::Peer(peer) if !here(peer) => waited >= look,
                _ => quiet || waited >= look,
            };
            if !decided {
                self.pending.push(pending);
                continue;
            }
            let is_you = || Err(("target", "that is you".to_owned()));
            let reader = match meant {
                Meant::Peer(peer) if peer.id == hub.id() => is_you(),
                Meant::Peer(peer) => {
                    trust.bind(hub, &peer);
                    Ok(peer.id)
                }
                Meant::Nobody if pending.whom.is(&hub.nick, &hub.id()) => is_you(),
                Meant::Nobody => Err(("target", UNKNOWN.to_owned())),
                Meant::Several(peers) => Err(("target", could_be(&peers))),
                Meant::Changed { peer, bound } => Err(("key", changed(&peer, &bound))),
            };
            let reader = reader
                .map_err(|(code, why)| (code, format!("not sent to {}: {why}", pending.whom)));
            match (pending.then, reader) {
                (Then::Say { lines, action }, Ok(reader)) => ready.push((reader, lines, action)),
                (Then::Say { .. }, Err((code, content))) => {
                    hub.notice(Notice::Error { code, content });
                }
                (Then::Answer { serial }, reader) => hub.notice(Notice::Found { serial, reader }),
            }
        }
        ready
    }

    pub fn deadline(&self, hub: &Hub) -> Option<Time> {
        let mut next = None;
        for pending in &self.pending {
            let look = LOOK.min(pending.within / 2);
            let [look, within] = [look, pending.within].map(|ms| pending.since + ms);
            for at in [look, within, hub.news + GRACE] {
                if at > hub.now.time && next.is_none_or(|next| at < next) {
                    next = Some(at);
                }
            }
        }
        next
    }
}
