//! What one side of an invite receives, and announcements. The keys are those of the test vectors, so
//! the stream that is pinned there is accepted to its end.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::base::identity::Identity;
use p2pchat::wire::invite::{InviteMessage, InviteStream};
use p2pchat::wire::invite_code::{InviteBeacon, InviteCode};
use p2pchat::wire::noise::Role;

/// A side sends the preface, 33 bytes, and at most two messages with a length of 2 bytes each.
const SENT_MAX_BYTES: usize = 4 + 33 + 2 * (2 + 96);

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, stream)) = bytes.split_first() else {
        return;
    };
    let _ = InviteBeacon::parse(stream);
    if let Ok(text) = std::str::from_utf8(stream) {
        if let Ok((code, _)) = InviteCode::parse_with_endpoints(text) {
            assert_eq!(code.to_string().parse(), Ok(code));
        }
    }
    if let Some(message) = InviteMessage::parse(stream) {
        assert_eq!(InviteMessage::parse(&message.encode()), Some(message));
    }
    let (role, seed, random) = match mode & 1 {
        0 => (Role::Initiator, [1; 32], [0x11; 32]),
        _ => (Role::Responder, [2; 32], [0x22; 32]),
    };
    let secret = Identity::from_seed(&seed).noise_secret();
    let code = "7-lusab-babad".parse().expect("a code");
    let (mut sent, mut messages) = (Vec::new(), Vec::new());
    let mut invite = InviteStream::new(role, &code, secret, random, &mut sent);
    for piece in stream.chunks(usize::from(mode >> 1).max(1)) {
        if invite.feed(piece, &mut sent, &mut messages).is_err() {
            break;
        }
    }
    assert!(sent.len() <= SENT_MAX_BYTES, "{} bytes", sent.len());
});
