//! What one side of a stream receives: the handshake, and the first encrypted frames. The keys are
//! those of the test vectors, so the streams that are pinned there are accepted to their end.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::base::identity::Identity;
use p2pchat::wire::channel::Channel;
use p2pchat::wire::noise::{Handshake, HandshakeStatus, Role, StaticKey};
use p2pchat::wire::secret::NetworkKeys;

/// The secret of the test vectors.
const SECRET: &[u8] = b"correct horse battery staple";
/// A peer sends the preface, and at most two messages with a length of 2 bytes each.
const SENT_MAX_BYTES: usize = 4 + 2 * (2 + 96);

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, mut stream)) = bytes.split_first() else {
        return;
    };
    let (role, seed, ephemeral_seed) = match mode & 1 {
        0 => (Role::Initiator, [1; 32], [0x11; 32]),
        _ => (Role::Responder, [2; 32], [0x22; 32]),
    };
    let keys = NetworkKeys::derive(SECRET).expect("keys");
    let psk = (mode & 2 != 0).then_some(keys.psk());
    let piece_bytes = usize::from(mode >> 2).max(1);
    let secret = Identity::from_seed(&seed).noise_secret();
    let mut sent = Vec::new();
    let mut handshake = Handshake::new(
        role,
        &StaticKey::new(&secret),
        psk,
        ephemeral_seed,
        &mut sent,
    )
    .expect("keys");
    let transport = loop {
        let piece = &stream[..piece_bytes.min(stream.len())];
        if piece.is_empty() {
            return;
        }
        match handshake.feed(piece, &mut sent) {
            Err(_) => return,
            Ok(HandshakeStatus::Incomplete) => stream = &stream[piece.len()..],
            Ok(HandshakeStatus::Complete {
                transport,
                consumed_bytes,
            }) => {
                stream = &stream[consumed_bytes..];
                break transport;
            }
        }
    };
    assert!(sent.len() <= SENT_MAX_BYTES, "{} bytes", sent.len());
    let (mut channel, mut frames) = (Channel::new(transport), Vec::new());
    let _ = channel.open(stream, &mut Vec::new(), &mut frames);
});
