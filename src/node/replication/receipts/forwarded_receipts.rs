//! Which receipts this peer has forwarded. Requests and routes may form a ring for a while, in
//! which a receipt would go round without end.
use std::collections::VecDeque;

use crate::base::batch::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::{PeerId, verify_signature};
use crate::base::text::rfc4648::BASE64URL_NOPAD;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::wire::message::{HaveEntry, receipt};

/// Maximum number of forwarded receipts that are remembered, for all links together. A new one
/// replaces the one that was forwarded least recently.
const FORWARDED_RECEIPTS_MAX: usize = 1024;
/// How often one receipt is forwarded over one link. Its signer repeats it, as a relay on the way
/// may have lost it.
const FORWARDS_MAX: u8 = 3;
/// Minimum milliseconds between two of these times.
const FORWARD_INTERVAL_MS: u64 = 1_000;
/// Milliseconds after which a receipt counts as new again. Its signer repeats it for 30 s.
const FORWARD_MEMORY_MS: u64 = 60_000;
/// Number of leading characters by which a signature is recognized: 96 bits.
const SIGNATURE_PREFIX_CHARS: usize = 16;

/// A receipt that was forwarded over a link.
struct ForwardedReceipt {
    signature: [u8; SIGNATURE_PREFIX_CHARS],
    stream: StreamId,
    count: u8,
    last_at: Time,
}

/// The receipts that were forwarded lately, the latest last.
#[derive(Default)]
pub struct ForwardedReceipts(VecDeque<ForwardedReceipt>);

impl ForwardedReceipts {
    /// Whether a receipt may be forwarded over this link now. Counts it as forwarded then.
    /// `signature`: that of the receipt, as text.
    pub fn admit(&mut self, stream: StreamId, signature: &str, now: Time) -> bool {
        let Some(signature) = signature.as_bytes().first_chunk() else {
            return false;
        };
        let is_same = |it: &ForwardedReceipt| (it.stream, &it.signature) == (stream, signature);
        let count = match self.0.iter().position(is_same) {
            None => 1,
            Some(at) => {
                let known = &self.0[at];
                let age_ms = now.ms_since(known.last_at);
                let count = match age_ms >= FORWARD_MEMORY_MS {
                    true => 1,
                    false if known.count < FORWARDS_MAX && age_ms >= FORWARD_INTERVAL_MS => {
                        known.count + 1
                    }
                    false => return false,
                };
                self.0.remove(at);
                count
            }
        };
        if self.0.len() >= FORWARDED_RECEIPTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(ForwardedReceipt {
            signature: *signature,
            stream,
            count,
            last_at: now,
        });
        true
    }
}

/// Whether this peer has signed the receipt in an entry about this log.
pub fn is_signed_by(ctx: &Context, holder: PeerId, log: &LogId, entry: &HaveEntry) -> bool {
    let from = entry.complete_from;
    let signed = receipt(&ctx.network, log, from, entry.high, &entry.hash);
    let signature = entry.signature.as_deref().map(str::as_bytes);
    let signature = signature.and_then(|text| BASE64URL_NOPAD.decode(text));
    let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    match (holder.verifying_key(), signature) {
        (Some(key), Some(signature)) => verify_signature(&key, &signed.0, &signature),
        _ => false,
    }
}
