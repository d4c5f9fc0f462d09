//! Peer ids.
use p2pchat::base::identity::PeerId;

/// Ids sort by their bytes, wherever the first difference is.
#[test]
fn ids_sort_by_their_bytes() {
    for at in 0..32 {
        for (low, high) in [(0x00, 0x01), (0x7f, 0x80), (0x01, 0xff)] {
            let (mut smaller, mut larger) = ([0x55; 32], [0x55; 32]);
            (smaller[at], larger[at]) = (low, high);
            smaller[at + 1..].fill(0xff);
            let (smaller, larger) = (PeerId(smaller), PeerId(larger));
            assert!(smaller < larger, "byte {at}: {low} < {high}");
            assert!(larger > smaller, "byte {at}: {high} > {low}");
        }
    }
    assert!(PeerId([7; 32]) <= PeerId([7; 32]));
}

/// The short form is the beginning of the text form.
#[test]
fn the_short_form_begins_the_text_form() {
    for seed in 0..=255 {
        let id = PeerId([seed; 32]);
        assert_eq!(id.short(), id.to_string()[..4]);
    }
}
