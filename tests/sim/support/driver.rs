//! Drives the nodes: hands inputs to [`Node::handle`], executes every output, and checks the
//! invariants after each.
use std::collections::VecDeque;

use p2pchat::base::error_code::{ErrorCode, Refusal};
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::load::{LoadReply, LoadRequest, LoadedLog, LogCursor};
use p2pchat::base::event::notice::{Notice, ResolvedRecipient};
use p2pchat::base::event::output::Output;
use p2pchat::base::event::peer::PeerState;
use p2pchat::base::guests::guest::{GuestLines, GuestLinesResult};
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::Target;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::node::save_barrier::SaveBarrier;

use crate::support::lan::{Event, Lan, RunEvent, TRACE_SAVE};
use crate::support::peer::PeerIndex;

/// Most timer wake-ups of one node in a second; more means that it spins.
const WAKEUPS_PER_SECOND_MAX: u64 = 200;

/// How long an audit takes.
const AUDIT_DELAY_MS: u64 = 50;

impl Lan {
    /// Lets one event happen. Events for an ended run are dropped, those for a frozen program
    /// deferred.
    pub fn dispatch(&mut self, event: Event) {
        let (who, run, event) = match event {
            Event::CompleteDial { connection_id } => return self.complete_dial(connection_id),
            Event::Deliver {
                connection_id,
                side,
            } => return self.deliver(connection_id, side),
            Event::TimeOut {
                connection_id,
                cut_count,
            } => return self.time_out(connection_id, cut_count),
            Event::ForRun { who, run, event } => (who, run, event),
        };
        let peer = &mut self.peers[who];
        if peer.run != run {
            return;
        }
        if let RunEvent::Thaw = event {
            return self.thaw(who);
        }
        if peer.node.is_none() {
            return;
        }
        if peer.frozen {
            return peer.deferred.push(Event::ForRun { who, run, event });
        }
        match event {
            RunEvent::Wake => self.fire_timer(who),
            RunEvent::Datagram {
                interface,
                source,
                bytes,
            } => self.feed(
                who,
                Input::Datagram {
                    interface,
                    source,
                    bytes: &bytes,
                },
            ),
            RunEvent::Input(input) => self.feed(who, input),
            RunEvent::ReadDisk(request) => {
                let loaded = self.read_disk(who, request);
                self.feed(who, loaded);
            }
            RunEvent::Thaw => {}
        }
    }

    /// Hands in [`Input::Timeout`] if the timer was not moved meanwhile.
    fn fire_timer(&mut self, who: PeerIndex) {
        let second = self.now_ms / 1000;
        let peer = &mut self.peers[who];
        if peer.wake_at_ms.is_none_or(|at| at > self.now_ms) {
            return;
        }
        peer.wake_at_ms = None;
        peer.wakeups = match peer.wakeups {
            (s, n) if s == second => (s, n + 1),
            _ => (second, 1),
        };
        assert!(
            peer.wakeups.1 <= WAKEUPS_PER_SECOND_MAX,
            "{} spins",
            peer.name
        );
        self.feed(who, Input::Timeout);
    }

    /// The only way into a node: handles the input, executes the outputs, and hands in the inputs
    /// that follow at once.
    pub fn feed(&mut self, who: PeerIndex, input: Input<'_>) {
        let mut todo = VecDeque::new();
        self.peers[who].turns += u64::from(!matches!(input, Input::Datagram { .. }));
        self.handle_input(who, input, &mut todo);
        let mut steps = 0;
        while let Some(input) = todo.pop_front() {
            self.handle_input(who, input, &mut todo);
            steps += 1;
            assert!(steps < 100_000, "{} goes in circles", self.peers[who].name);
        }
        self.invariants.check_bounds(who, self);
        let clock = self.now_ms;
        let peer = &mut self.peers[who];
        let recheck_at = peer.check_delivery();
        let timeout = peer.node.as_ref().and_then(|node| node.next_timeout());
        let Some(at) = timeout.into_iter().chain(recheck_at).min() else {
            return;
        };
        let at = peer.sim_time_of(at).max(clock);
        if peer.wake_at_ms.is_none_or(|old| old < clock || at != old) {
            peer.wake_at_ms = Some(at);
            self.schedule_for_run(who, at - clock, RunEvent::Wake);
        }
    }

    /// Handles one input. Inputs that its outputs cause go to `todo`.
    fn handle_input(
        &mut self,
        who: PeerIndex,
        input: Input<'_>,
        todo: &mut VecDeque<Input<'static>>,
    ) {
        if let Input::Evicted { log, low } = &input
            && log.author == self.id(who)
        {
            self.invariants.evicted_below.insert(log.clone(), *low);
        }
        let peer = &mut self.peers[who];
        let now = peer.now(self.now_ms);
        let Some(node) = peer.node.as_mut() else {
            return;
        };
        peer.inputs += 1;
        if self.trace_enabled && !matches!(input, Input::Timeout) {
            println!("{:7} {:5} <- {}", self.now_ms, peer.name, summary(&input));
        }
        node.handle(now, input);
        let mut save_barrier = SaveBarrier::default();
        while let Some(output) = self.peers[who].node.as_mut().and_then(|n| n.poll_output()) {
            match &mut self.peers[who].dies_after_outputs {
                Some(0) => {
                    self.peers[who].dies_after_outputs = None;
                    todo.clear();
                    return self.kill(who);
                }
                Some(left) => *left -= 1,
                None => {}
            }
            if self.trace_enabled {
                println!(
                    "{:7} {:5} -> {}",
                    self.now_ms,
                    self.peers[who].name,
                    summary(&output)
                );
            }
            if !(self.peers[who].executes)(&output) {
                continue;
            }
            let Some(output) = save_barrier.admit(output) else {
                continue;
            };
            self.execute(who, output, &mut save_barrier, todo);
        }
        save_barrier.finish(todo, |stream| self.close_stream(who, stream));
    }

    /// Executes one output, as the shell does.
    fn execute(
        &mut self,
        who: PeerIndex,
        output: Output,
        save_barrier: &mut SaveBarrier,
        todo: &mut VecDeque<Input<'static>>,
    ) {
        match output {
            Output::Save { batch, local } => {
                let clock = self.now_ms;
                let fails = self.chance(self.peers[who].disk.failed_saves_per_mille);
                let disk = &mut self.peers[who].disk;
                let stored = !fails && disk.save(&batch, local, clock);
                self.extend_trace(&[
                    who as u64,
                    TRACE_SAVE,
                    batch.sequence,
                    u64::from(stored),
                    batch.count,
                ]);
                match stored {
                    true => self.check_save(who, &batch, local),
                    false => save_barrier.record_failure(batch),
                }
            }
            Output::Write { stream, bytes } => self.write(who, stream, &bytes, todo),
            Output::Close { stream } => self.close_stream(who, stream),
            Output::SendBeacon { interface, bytes } => {
                self.broadcast_beacon(who, interface, &bytes);
            }
            Output::Dial {
                stream, address, ..
            } => self.dial(who, stream, address),
            Output::Lsnp(datagram) => {
                let is_sent = !self.peers[who].lsnp_fails;
                if is_sent {
                    let sent = (datagram.to, datagram.bytes);
                    self.peers[who].lsnp_sent.push(sent);
                }
                if let Some(line) = datagram.line {
                    todo.push_back(Input::LsnpLine { line, is_sent });
                }
            }
            Output::SetServices(services) => self.peers[who].services.push(services),
            Output::Resolve { endpoint } => todo.push_back(self.resolve(endpoint, false)),
            Output::Load(request) => {
                let peer = &mut self.peers[who];
                peer.loads += 1;
                peer.most_logs_of_a_load =
                    peer.most_logs_of_a_load.max(request.cursors.len() as u64);
                for cursor in &request.cursors {
                    self.lose_false_batches(who, cursor);
                }
                match self.peers[who].disk.read_delay_max_ms {
                    0 => todo.push_back(self.read_disk(who, request)),
                    slow => {
                        let wait_ms = self.random(slow + 1);
                        self.schedule_for_run(who, wait_ms, RunEvent::ReadDisk(request));
                    }
                }
            }
            Output::SaveKnownPeer(known) => {
                self.check_known_peer(who, &known);
                self.peers[who].known_peers.push(*known);
            }
            Output::SaveReceipts(receipts) => self.peers[who].receipts = receipts,
            Output::SaveAddresses(addresses) => self.peers[who].addresses = addresses,
            Output::SaveProfile(profile) => self.peers[who].profile = profile,
            Output::Notice(notice) => self.handle_notice(who, *notice, todo),
        }
    }

    /// Sends lines whose recipient was found, and records every other notice.
    fn handle_notice(
        &mut self,
        who: PeerIndex,
        notice: Notice,
        todo: &mut VecDeque<Input<'static>>,
    ) {
        match notice {
            Notice::Resolved { request_id, result } => {
                let lines = self.peers[who].unaddressed.remove(&request_id);
                match (lines, result) {
                    (Some(lines), Ok(ResolvedRecipient::Guest(guest))) => {
                        self.peers[who].unsent_to_guests += lines.iter().count() as u64;
                        todo.push_back(Input::Command(Command::SendToGuest(GuestLines {
                            request_id,
                            guest,
                            lines,
                            form: LineForm::Text,
                        })))
                    }
                    (Some(lines), Ok(ResolvedRecipient::Peer(recipient, _))) => {
                        todo.push_back(Input::Command(Command::Publish {
                            target: Target::Peer(recipient.id),
                            lines,
                            form: LineForm::Text,
                            request: None,
                        }))
                    }
                    (_, Ok(_)) => {}
                    (_, Err(Refusal { code, content })) => {
                        self.record_notice(who, Notice::Error { code, content });
                    }
                }
            }
            Notice::SentToGuest(GuestLinesResult { lines, result, .. }) => {
                let left = self.peers[who].unsent_to_guests.checked_sub(lines);
                self.peers[who].unsent_to_guests = left.expect("no line is reported twice");
                if let Err(content) = result {
                    let code = ErrorCode::Failed;
                    (0..lines).for_each(|_| {
                        let content = content.clone();
                        self.record_notice(who, Notice::Error { code, content });
                    });
                }
            }
            notice => self.record_notice(who, notice),
        }
    }

    /// The disk's answer to a load.
    /// A read finds batches with a false signature. The audit that follows tells the core.
    fn lose_false_batches(&mut self, who: PeerIndex, cursor: &LogCursor) {
        let disk = &self.peers[who].disk;
        for lines in disk.false_batches(&cursor.log, cursor.from) {
            let lost = self.peers[who].disk.lose(&cursor.log, lines, true);
            let lost = RunEvent::Input(Input::LinesLost(lost));
            self.schedule_for_run(who, AUDIT_DELAY_MS, lost);
        }
    }

    fn read_disk(&self, who: PeerIndex, request: LoadRequest) -> Input<'static> {
        let peer = &self.peers[who];
        let network = peer.network_tag();
        let mut left_bytes = request.budget_bytes;
        let logs = request.cursors.into_iter().map(|mut cursor| {
            if left_bytes == 0 {
                return LoadedLog {
                    cursor,
                    batches: None,
                };
            }
            let LogCursor {
                log,
                from,
                position,
            } = &cursor;
            let (batches, next) = peer.disk.load(log, *from, *position, left_bytes, &network);
            let bytes = batches.iter().map(|batch| batch.as_bytes().len()).sum();
            left_bytes = left_bytes.saturating_sub(bytes);
            cursor.position = next;
            LoadedLog {
                cursor,
                batches: Some(batches),
            }
        });
        Input::Loaded(LoadReply {
            purpose: request.purpose,
            logs: logs.collect(),
        })
    }

    /// Checks and keeps a notice.
    fn record_notice(&mut self, who: PeerIndex, notice: Notice) {
        self.check_notice(who, &notice);
        let run = self.peers[who].run;
        self.peers[who].notices.push((self.now_ms, run, notice));
    }

    /// The peers that this node reports as linked.
    pub fn linked_peers(&mut self, who: PeerIndex) -> Vec<PeerId> {
        self.feed(who, Input::Command(Command::Peers));
        let Some((_, _, Notice::Peers(rows))) = self.peers[who].notices.pop() else {
            return Vec::new();
        };
        let linked = rows
            .into_iter()
            .filter(|row| row.state == PeerState::Linked);
        linked.map(|row| row.peer.id).collect()
    }

    /// Whether both nodes run and report a link to each other.
    pub fn are_linked(&mut self, a: PeerIndex, b: PeerIndex) -> bool {
        let (x, y) = (self.id(a), self.id(b));
        self.is_running(a)
            && self.is_running(b)
            && self.linked_peers(a).contains(&y)
            && self.linked_peers(b).contains(&x)
    }
}

/// The first 200 characters of a debug form, for the trace.
fn summary(thing: &impl std::fmt::Debug) -> String {
    format!("{thing:?}").chars().take(200).collect()
}
