//! The payload of a batch frame, and the same bytes as a line of a segment. What is accepted is
//! stored and read again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::base::batch::batch::{Batch, LocalFields};
use p2pchat::base::identity::NetworkTag;

fn assert_stored(batch: &Batch, local: LocalFields) {
    let mut stored = Vec::new();
    batch.write_stored(local, &mut stored);
    let line = stored.strip_suffix(b"\n").expect("a line end");
    assert!(!line.contains(&b'\n'), "one line");
    let (again, _) = Batch::parse_stored(line, &NetworkTag::OPEN).expect("a stored batch");
    assert_eq!(again.as_bytes(), batch.as_bytes());
    let header = Batch::parse_header(line).expect("a header");
    assert_eq!((&header.log, header.count), (&batch.log, batch.count));
    assert_eq!(header.last_sequence, batch.last_sequence());
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = Batch::parse(bytes.to_vec(), &NetworkTag::OPEN) {
        assert_eq!(batch.as_bytes(), bytes);
        let mut lines = 0;
        batch.for_each_line(|line| {
            assert!(!line.contains('\n'));
            lines += 1;
        });
        let is_room = batch.log.target.room().is_some();
        assert!(lines == batch.shown_count() || !is_room, "{lines} lines");
        if let Some(key) = batch.log.author.verifying_key() {
            let _ = batch.verify(&key);
        }
        assert_stored(&batch, LocalFields::default());
    }
    let _ = Batch::parse_header(bytes);
    if let Ok((batch, local)) = Batch::parse_stored(bytes, &NetworkTag::OPEN) {
        assert_stored(&batch, local);
    }
});
