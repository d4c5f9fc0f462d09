//! Executes the core's outputs, in the order in which the core emitted them.
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields};
use crate::base::event::input::Input;
use crate::base::event::output::{KnownPeer, Output};
use crate::base::event::stream_id::StreamId;
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::guests::lsnp::LsnpOutput;
use crate::base::presence::profile::HAS_PROFILE;
use crate::shell::net::tcp::WriteOutcome;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::shell::state::core_files::CoreFile;

impl EventLoop {
    /// Executes all outputs that wait in the core.
    pub(super) fn drain_outputs(&mut self) {
        while let Some(output) = self.node.poll_output() {
            if let Some(output) = self.save_barrier.admit(output) {
                self.execute_output(output);
            }
        }
        let streams = &mut self.streams;
        self.save_barrier
            .finish(&mut self.pending_inputs, |stream| streams.abort(stream));
    }

    fn execute_output(&mut self, output: Output) {
        match output {
            Output::SendBeacon { interface, bytes } => {
                self.multicast.send(interface, &bytes);
            }
            Output::Lsnp(datagram) => self.send_lsnp(datagram),
            Output::SetServices(services) => self.finders.services().set(services),
            Output::Dial {
                stream,
                address,
                interface,
            } => self.dial(stream, address, interface),
            Output::Resolve { endpoint } => self.resolver.resolve_named(&endpoint),
            Output::Write { stream, bytes } => self.write(stream, &bytes),
            Output::Close { stream } => {
                self.frontend.debug(|| format!("close {stream:?}"));
                self.streams.close(stream);
            }
            Output::Save { batch, local } => self.save(batch, local),
            Output::Load(request) => self.pending_loads.push_back(request),
            Output::SaveKnownPeer(known) => self.save_known_peer(&known),
            Output::SaveReceipts(receipts) => {
                // If this fails, the next run carries lines that their recipients already have.
                // That costs space but is harmless.
                let _ = self.state.write_core_file(CoreFile::Receipts, &receipts);
            }
            Output::SaveAddresses(addresses) => {
                // If this fails, the next run tries older addresses.
                let file = CoreFile::Addresses(self.network);
                let _ = self.state.write_core_file(file, &addresses);
            }
            Output::SaveProfile(profile) => {
                if HAS_PROFILE
                    && let Err(error) = self.state.write_core_file(CoreFile::Profile, &profile)
                {
                    self.frontend.warn(&format!(
                        "the profile cannot be written: the next run has the earlier one: {error}"
                    ));
                }
            }
            Output::Notice(notice) => self.notify(*notice),
        }
    }

    fn send_lsnp(&mut self, datagram: Box<LsnpOutput>) {
        let Some(sockets) = self.lsnp.as_ref().filter(|_| HAS_GUESTS) else {
            return;
        };
        let sent = sockets.send(&datagram);
        if let Err(error) = &sent {
            self.frontend.debug(|| format!("LSNP: {error}"));
        }
        let (Some(line), is_sent) = (datagram.line, sent.is_ok()) else {
            return;
        };
        // The next datagram may bring the same line to another guest.
        let is_reported = matches!(
            self.pending_inputs.back(),
            Some(Input::LsnpLine { line: last, is_sent: was_sent })
                if *last == line && *was_sent == is_sent
        );
        if !is_reported {
            self.pending_inputs
                .push_back(Input::LsnpLine { line, is_sent });
        }
    }

    fn dial(&mut self, stream: StreamId, address: SocketAddr, interface: Option<u32>) {
        self.frontend
            .debug(|| format!("dial {address}: {stream:?}"));
        let mut events = Vec::new();
        let device = interface.and_then(|index| self.multicast.interface_name(index));
        self.streams
            .dial(self.poll.registry(), stream, address, device, &mut events);
        if !events.is_empty() {
            self.pending_inputs.push_back(Input::Closed { stream });
        }
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) {
        if self.streams.write(stream, bytes) == WriteOutcome::Blocked {
            self.pending_inputs.push_back(Input::Blocked { stream });
        }
    }

    fn save(&mut self, batch: Arc<Batch>, local: LocalFields) {
        if let Err(error) = self.store.save(&batch, local) {
            self.frontend.debug(|| format!("save: {error}"));
            self.save_barrier.record_failure(batch);
        }
    }

    fn save_known_peer(&mut self, known: &KnownPeer) {
        self.frontend
            .renderer
            .record_known_name(known.id, &known.nick);
        self.notify_known_peer(known);
        if self.state.append_known_peer(known).is_err() {
            self.frontend.warn(
                "known_peers cannot be written: the next run will not know the peers met in this \
                 one",
            );
        }
    }
}
