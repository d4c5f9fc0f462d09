//! Reads the network for the core: TCP streams, datagrams and the interfaces.
use std::net::SocketAddr;

use mio::Token;

use crate::base::event::input::Input;
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::guests::lsnp::LsnpInput;
use crate::base::interface::Interface;
use crate::node::topology::LINKS_MAX;
use crate::shell::config::values::Verbosity;
use crate::shell::net::finders::reporter::Finding;
use crate::shell::net::interfaces::INTERFACES_MAX;
use crate::shell::net::lsnp::LsnpSockets;
use crate::shell::net::multicast::{DATAGRAM_MAX_BYTES, rest_ms};
use crate::shell::net::read_budget::READ_BUDGET_BYTES;
use crate::shell::net::tcp::StreamEvent;
use crate::shell::runtime::event_loop::event_loop::EventLoop;

const PARTIAL_MULTICAST_WARNING: &str = "not all beacons can be heard: if another program holds \
    the UDP port, choose another group with -m, the same for all";

impl EventLoop {
    /// Accepts the waiting connections. Closes each connection that arrived on an interface that
    /// this run does not use. Appends the results to `events`.
    pub(super) fn accept_streams(&mut self, events: &mut Vec<StreamEvent>) {
        let interface_watch = &self.interface_watch;
        let can_accept = |own: SocketAddr| interface_watch.can_accept_on(own.ip());
        self.streams
            .accept(self.poll.registry(), self.now.time, can_accept, events);
    }

    /// Passes events of streams to the core.
    pub(super) fn handle_stream_events(&mut self, events: Vec<StreamEvent>) {
        for event in events {
            self.frontend.debug(|| format!("{event:?}"));
            self.handle_input(match event {
                StreamEvent::Accepted(stream, address) => Input::Accepted { stream, address },
                StreamEvent::Connected(stream) => Input::Connected { stream },
                StreamEvent::Writable(stream) => Input::Writable { stream },
                StreamEvent::Closed(stream) => Input::Closed { stream },
            });
        }
    }

    /// Passes the received datagrams to the core. In a crowd, the sockets then rest, so that an
    /// idle program sleeps. They do not while new peers come: those may be many.
    pub(super) fn read_datagrams(&mut self) {
        let rests_until = self.multicast.rests_until();
        if rests_until.is_some_and(|until| until <= self.now.time) {
            self.multicast.end_rest(self.poll.registry());
        }
        if !self.multicast.has_readable() {
            return;
        }
        let mut has_received = false;
        let discovered = self.node.discovered_count();
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        self.multicast.begin_turn();
        while let Some(received) = self.multicast.receive(&mut buffer) {
            has_received = true;
            let bytes = buffer.get(..received.length).unwrap_or_default();
            self.handle_input(Input::Datagram {
                interface: received.interface_index,
                source: received.source,
                bytes,
            });
        }
        let is_crowd = discovered > LINKS_MAX && self.node.discovered_count() <= discovered;
        if has_received && is_crowd && !self.multicast.has_readable() {
            let until = self.now.time + rest_ms(&self.node.own_peer().id);
            self.multicast.rest(self.poll.registry(), until);
        }
    }

    pub(super) fn owns_lsnp_token(&self, token: Token) -> bool {
        let lsnp = self.lsnp.as_ref().filter(|_| HAS_GUESTS);
        lsnp.is_some_and(|sockets| sockets.owns_token(token))
    }

    pub(super) fn mark_lsnp_readable(&mut self, token: Token) {
        if let Some(sockets) = self.lsnp.as_mut().filter(|_| HAS_GUESTS) {
            sockets.mark_readable(token);
        }
    }

    /// Passes the received datagrams of LSNP to the core.
    pub(super) fn read_lsnp(&mut self) {
        if !HAS_GUESTS || !self.lsnp.as_ref().is_some_and(LsnpSockets::has_readable) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.read_buffer);
        buffer.resize(READ_BUDGET_BYTES, 0);
        if let Some(sockets) = &mut self.lsnp {
            sockets.begin_turn();
        }
        while let Some(received) = self
            .lsnp
            .as_mut()
            .and_then(|lsnp| lsnp.receive(&mut buffer))
        {
            self.handle_input(Input::Lsnp(LsnpInput {
                interface: received.interface,
                source: received.source,
                is_to_all: received.is_to_all,
                bytes: buffer.get(..received.length).unwrap_or_default(),
            }));
        }
        self.read_buffer = buffer;
    }

    /// Reads once from each readable stream, within its budget. Passes the bytes to the core.
    pub(super) fn read_streams(&mut self) {
        for stream in self.streams.take_readable() {
            let mut buffer = std::mem::take(&mut self.read_buffer);
            let budget = self.streams.read_budget(stream);
            buffer.resize(budget, 0);
            // After a large transfer, its memory is released.
            buffer.shrink_to(budget);
            match self.streams.read(stream, &mut buffer) {
                Ok(0) => {}
                Ok(n) => self.handle_input(Input::Bytes {
                    stream,
                    bytes: buffer.get(..n).unwrap_or_default(),
                }),
                Err(_) => self.handle_input(Input::Closed { stream }),
            }
            self.read_buffer = buffer;
        }
    }

    /// Passes what the finders have found to the core, and starts those that are needed now. With
    /// --debug, says how they fare.
    pub(super) fn handle_findings(&mut self) {
        self.finders
            .start_due(self.now.time, self.node.link_count());
        if !self.finders.take_news(self.now.time) {
            return;
        }
        for finding in self.finders.take_findings() {
            let Finding {
                via,
                peer,
                service,
                addresses,
            } = finding;
            self.handle_input(match service {
                Some(service) => Input::ServiceFound { service, addresses },
                None => Input::PeerFound {
                    via,
                    peer,
                    addresses,
                },
            });
        }
        for sentence in self.finders.take_sentences() {
            self.frontend.warn(&sentence);
        }
        if self.frontend.stderr.is_enabled(Verbosity::Debug) {
            while let Some(line) = self.finders.take_status_line(self.now.time) {
                self.frontend.debug(|| line);
            }
        }
    }

    /// Tells the user and the core what has become of the port mapping.
    pub(super) fn handle_mapping_news(&mut self) {
        match self.port_mapping.take_news() {
            Some(Ok(sentence)) => {
                self.frontend.debug(|| sentence);
            }
            Some(Err(sentence)) => self.frontend.warn(&sentence),
            None => return,
        }
        self.handle_input(Input::PortMapped(self.port_mapping.external()));
    }

    /// Lists the network interfaces again, and passes changes to the core. Ends the streams whose
    /// address is gone.
    pub(super) fn refresh_interfaces(&mut self) {
        for stream in self.streams.end_addressless() {
            self.handle_input(Input::Closed { stream });
        }
        let registry = self.poll.registry();
        let refreshed = self
            .interface_watch
            .refresh(self.now.time, registry, &mut self.multicast);
        if refreshed.is_multicast_failing {
            self.frontend.warn(PARTIAL_MULTICAST_WARNING);
        }
        if let Some(left_out) = refreshed.left_out {
            self.frontend.warn(&format!(
                "{INTERFACES_MAX} network interfaces are used and {left_out} are left out: choose \
                 with --interface"
            ));
        }
        if let Some(interfaces) = refreshed.changed_interfaces {
            self.frontend
                .debug(|| format!("interfaces: {}", interface_names(&interfaces)));
            if let Some(sockets) = self.lsnp.as_mut().filter(|_| HAS_GUESTS) {
                sockets.set_interfaces(interfaces.clone());
            }
            self.handle_input(Input::InterfacesChanged(interfaces));
            self.port_mapping.handle_interfaces();
        }
    }
}

fn interface_names(interfaces: &[Interface]) -> String {
    let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    names.join(" ")
}
