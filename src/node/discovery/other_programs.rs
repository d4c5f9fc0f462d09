//! Programs on our multicast group that speak another protocol. They are counted, and the user
//! hears of them once.
use std::net::SocketAddr;

use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::guests::guest::HAS_GUESTS;
use crate::node::context::Context;
use crate::wire::go_p2pchat::GoBeacon;

/// What was noticed of other programs.
#[derive(Default)]
pub struct OtherPrograms {
    is_go_reported: bool,
}

impl OtherPrograms {
    /// Counts a datagram that is no beacon of this network. Names p2pchat in Go to the user, once
    /// in a run. A transient program does not, because its user waits for something else.
    pub fn record(&mut self, ctx: &mut Context, interface: u32, source: SocketAddr, bytes: &[u8]) {
        ctx.counters.foreign_datagrams += 1;
        let Some(beacon) =
            GoBeacon::parse(bytes).filter(|_| ctx.is_on_link(interface, source.ip()))
        else {
            return;
        };
        ctx.counters.go_beacons += 1;
        // A program of ours with --go-room.
        if beacon.is_ours() {
            return;
        }
        if !ctx.transient && !std::mem::replace(&mut self.is_go_reported, true) {
            let (nick, ip) = (beacon.nick, source.ip());
            let remedy = if HAS_GUESTS {
                "; --go-room talks to it"
            } else {
                ""
            };
            ctx.notify(Notice::Error {
                code: ErrorCode::OtherProgram,
                content: format!(
                    "{nick} at {ip} uses the p2pchat in Go, which has another protocol, without \
                     encryption: it is ignored{remedy}"
                ),
            });
        }
    }
}
