//! The frames of a decrypted stream. The cuts between its pieces change nothing.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::wire::frame::{FrameDecoder, PAYLOAD_MAX_BYTES};

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, stream)) = bytes.split_first() else {
        return;
    };
    let mut whole = Vec::new();
    let is_whole = FrameDecoder::default().feed(stream, &mut whole).is_ok();
    let mut pieces = Vec::new();
    let mut decoder = FrameDecoder::default();
    let mut parts = stream.chunks(usize::from(*piece).max(1));
    let is_complete = parts.all(|part| decoder.feed(part, &mut pieces).is_ok());
    assert_eq!((is_whole, &whole), (is_complete, &pieces));
    assert!(
        whole
            .iter()
            .all(|frame| frame.payload.len() <= PAYLOAD_MAX_BYTES)
    );
});
