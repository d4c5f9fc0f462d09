//! The one way into a node, and how what it wants is carried out.
use std::collections::VecDeque;

use p2pchat::base::event::{Command, Input, LoadReply, LoadRequest, Notice, Output, PeerState};
use p2pchat::base::identity::PeerId;
use p2pchat::node::save_barrier::SaveBarrier;

use crate::support::lan::{Event, Lan};
use crate::support::peer::Who;

/// Most wake-ups of one node in a virtual second.
const WAKES: u64 = 200;

impl Lan {
    pub fn happen(&mut self, event: Event) {
        let (who, run) = match &event {
            Event::Wake(who, run)
            | Event::Datagram(who, run, ..)
            | Event::Input(who, run, _)
            | Event::Load(who, run, _) => (*who, *run),
            Event::Thaw(who, run) if self.people[*who].run == *run => return self.thaw(*who),
            Event::Thaw(..) => return,
            Event::Dial(number) => return self.dial_arrives(*number),
            Event::Flow(number, side) => return self.flow_arrives(*number, *side),
            Event::Dead(number, cuts) => return self.dead(*number, *cuts),
        };
        let person = &mut self.people[who];
        if person.run != run || person.node.is_none() {
            return;
        }
        if person.frozen {
            return person.held.push(event);
        }
        match event {
            Event::Wake(..) => self.wake(who),
            Event::Datagram(_, _, interface, source, bytes) => self.feed(
                who,
                Input::Datagram {
                    interface,
                    source,
                    bytes: &bytes,
                },
            ),
            Event::Input(_, _, input) => self.feed(who, input),
            Event::Load(_, _, load) => {
                let loaded = self.load(who, load);
                self.feed(who, loaded);
            }
            _ => {}
        }
    }

    fn wake(&mut self, who: Who) {
        let second = self.clock / 1000;
        let person = &mut self.people[who];
        if person.wake_at.is_none_or(|at| at > self.clock) {
            return;
        }
        person.wake_at = None;
        person.wakes = match person.wakes {
            (s, n) if s == second => (s, n + 1),
            _ => (second, 1),
        };
        assert!(person.wakes.1 <= WAKES, "{} spins", person.name);
        self.feed(who, Input::Timeout);
    }

    /// The one way into a node: handles the input, carries out what it wants, and hands in what comes of that at once.
    pub fn feed(&mut self, who: Who, input: Input<'_>) {
        let mut todo = VecDeque::new();
        self.handle(who, input, &mut todo);
        let mut steps = 0;
        while let Some(input) = todo.pop_front() {
            self.handle(who, input, &mut todo);
            steps += 1;
            assert!(steps < 100_000, "{} goes in circles", self.people[who].name);
        }
        self.checks.bounds(who, self);
        let clock = self.clock;
        let person = &mut self.people[who];
        let Some(at) = person.node.as_ref().and_then(|node| node.next_timeout()) else {
            return;
        };
        let at = person.at(at).max(clock);
        if person.wake_at.is_none_or(|old| old < clock || at != old) {
            person.wake_at = Some(at);
            let wake = Event::Wake(who, person.run);
            self.after(at - clock, wake);
        }
    }

    fn handle(&mut self, who: Who, input: Input<'_>, todo: &mut VecDeque<Input<'static>>) {
        let person = &mut self.people[who];
        let now = person.now(self.clock);
        let Some(node) = person.node.as_mut() else {
            return;
        };
        if self.loud && !matches!(input, Input::Timeout) {
            println!("{:7} {:5} <- {}", self.clock, person.name, brief(&input));
        }
        node.handle(now, input);
        let mut save_barrier = SaveBarrier::default();
        while let Some(output) = self.people[who].node.as_mut().and_then(|n| n.poll_output()) {
            match &mut self.people[who].dies_after {
                Some(0) => {
                    self.people[who].dies_after = None;
                    todo.clear();
                    return self.kill(who);
                }
                Some(left) => *left -= 1,
                None => {}
            }
            if self.loud {
                println!(
                    "{:7} {:5} -> {}",
                    self.clock,
                    self.people[who].name,
                    brief(&output)
                );
            }
            if !(self.people[who].carries)(&output) {
                continue;
            }
            let Some(output) = save_barrier.admit(output) else {
                continue;
            };
            match output {
                Output::Save { batch, local } => {
                    let clock = self.clock;
                    let fails = self.chance(self.people[who].disk.flaky);
                    let disk = &mut self.people[who].disk;
                    let stored = !fails && disk.save(&batch, local, clock);
                    self.note(&[
                        who as u64,
                        1,
                        batch.sequence,
                        u64::from(stored),
                        batch.count,
                    ]);
                    match stored {
                        true => self.check_save(who, &batch, local.backfill),
                        false => save_barrier.record_failure(batch),
                    }
                }
                Output::Write { stream, bytes } => self.write(who, stream, &bytes, todo),
                Output::Close { stream } => self.close(who, stream),
                Output::SendBeacon { bytes } => self.beacon(who, &bytes),
                Output::Dial { stream, address } => self.dial(who, stream, address),
                Output::Load(request) => match self.people[who].disk.slow {
                    0 => todo.push_back(self.load(who, request)),
                    slow => {
                        let wait = self.random(slow + 1);
                        let run = self.people[who].run;
                        self.after(wait, Event::Load(who, run, request));
                    }
                },
                Output::SaveKnownPeer(known) => {
                    self.check_known(who, &known);
                    self.people[who].known.push(known);
                }
                Output::SaveReceipts(receipts) => self.people[who].receipts = receipts,
                Output::Notice(notice) => self.show(who, notice),
            }
        }
        save_barrier.finish(todo, |stream| self.close(who, stream));
    }

    fn load(&self, who: Who, request: LoadRequest) -> Input<'static> {
        let person = &self.people[who];
        let network = person.network();
        let LoadRequest {
            purpose, log, from, ..
        } = request;
        let (batches, next_position) =
            person
                .disk
                .load(&log, from, request.position, request.budget_bytes, &network);
        Input::Loaded(LoadReply {
            purpose,
            log,
            from,
            batches,
            next_position,
        })
    }

    fn show(&mut self, who: Who, notice: Notice) {
        self.check_notice(who, &notice);
        let run = self.people[who].run;
        self.people[who].notices.push((self.clock, run, notice));
    }

    /// Those to whom this one is linked, as it says itself.
    pub fn links(&mut self, who: Who) -> Vec<PeerId> {
        self.feed(who, Input::Command(Command::Peers));
        let Some((_, _, Notice::Peers(rows))) = self.people[who].notices.pop() else {
            return Vec::new();
        };
        let linked = rows
            .into_iter()
            .filter(|row| row.state == PeerState::Linked);
        linked.map(|row| row.peer.id).collect()
    }

    /// Each has a link to the other.
    pub fn linked(&mut self, a: Who, b: Who) -> bool {
        let (x, y) = (self.id(a), self.id(b));
        self.is_up(a) && self.is_up(b) && self.links(a).contains(&y) && self.links(b).contains(&x)
    }
}

fn brief(thing: &impl std::fmt::Debug) -> String {
    format!("{thing:?}").chars().take(200).collect()
}
