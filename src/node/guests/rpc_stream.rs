//! One stream of Grenache: a WebSocket, what waits to be written, and which answers are awaited.
use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::guests::guest::{GuestId, LineTarget};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::wire::grenache::websocket::WebSocket;

/// Maximum size of what waits while the other side reads nothing, in bytes. Beyond, the stream is
/// closed.
const RPC_UNSENT_MAX_BYTES: usize = 64 * 1024;
/// Maximum number of answers that are awaited on a stream. Beyond, the oldest is not any more.
const RPC_AWAITED_MAX: usize = 256;

/// A request that waits for its answer.
pub struct AwaitedAnswer {
    /// The id of the request.
    pub id: String,
    /// For whom the line is.
    pub target: LineTarget,
    /// Until when the answer counts.
    pub until: Time,
}

/// The service at the other end of a stream that we dialed.
pub struct DialedService {
    /// Its name.
    pub name: String,
    /// Whether it may well answer: the last dial or stream of this address has not failed.
    pub is_expected: bool,
    /// The guest, once the stream is open.
    pub guest: Option<GuestId>,
    /// When the stream was open.
    pub opened_at: Option<Time>,
    /// Requests without an answer, in order.
    pub awaited: VecDeque<AwaitedAnswer>,
}

impl DialedService {
    /// A service that is dialed.
    pub fn new(name: String, is_expected: bool) -> DialedService {
        DialedService {
            name,
            is_expected,
            guest: None,
            opened_at: None,
            awaited: VecDeque::new(),
        }
    }

    /// Awaits an answer. At the bound, returns the oldest one, which is not awaited any more.
    pub fn push_awaited(&mut self, answer: AwaitedAnswer) -> Option<AwaitedAnswer> {
        self.awaited.push_back(answer);
        let is_over = self.awaited.len() > RPC_AWAITED_MAX;
        is_over.then(|| self.awaited.pop_front()).flatten()
    }
}

/// A stream.
pub struct RpcStream {
    /// The other side.
    pub address: SocketAddr,
    /// The protocol.
    pub websocket: WebSocket,
    /// `None`: the other side dialed us.
    pub service: Option<DialedService>,
    /// When to close the stream, unless something arrives. `None`: not at all.
    pub deadline: Option<Time>,
    /// How many requests were refused since the last one that was not.
    pub refusals: u32,
    is_blocked: bool,
    unsent: Vec<u8>,
}

impl RpcStream {
    /// A stream that is not open yet.
    pub fn new(
        address: SocketAddr,
        websocket: WebSocket,
        service: Option<DialedService>,
        deadline: Time,
    ) -> RpcStream {
        RpcStream {
            address,
            websocket,
            service,
            deadline: Some(deadline),
            refusals: 0,
            is_blocked: false,
            unsent: Vec::new(),
        }
    }

    /// Whether the service may soon take our lines: it is dialed, and has not failed before.
    pub fn is_expected(&self) -> bool {
        let service = self.service.as_ref();
        service.is_some_and(|service| service.is_expected && service.opened_at.is_none())
    }

    /// Whether our lines can be sent there: we dialed the service, and it is upgraded.
    pub fn is_ready(&self) -> bool {
        let service = self.service.as_ref();
        service.is_some_and(|service| service.opened_at.is_some())
    }

    /// Whether our lines can be written there now.
    pub fn is_reading(&self) -> bool {
        self.is_ready() && !self.is_blocked
    }

    /// Writes bytes, or keeps them while the stream is blocked. Returns false if too many wait.
    pub fn write(&mut self, ctx: &mut Context, stream: StreamId, bytes: Vec<u8>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if !self.is_blocked {
            ctx.emit(Output::Write { stream, bytes });
            return true;
        }
        self.unsent.extend_from_slice(&bytes);
        self.unsent.len() <= RPC_UNSENT_MAX_BYTES
    }

    /// Records whether the stream accepts bytes. Writes what has waited.
    pub fn set_blocked(&mut self, ctx: &mut Context, stream: StreamId, is_blocked: bool) {
        self.is_blocked = is_blocked;
        if !is_blocked {
            let bytes = std::mem::take(&mut self.unsent);
            self.write(ctx, stream, bytes);
        }
    }
}
