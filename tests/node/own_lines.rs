//! Our lines to guests leave at a bounded rate, in lines and in bytes.
use p2pchat::base::guests::guest::{GuestId, GuestLines};
use p2pchat::base::lines::Lines;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::Time;
use p2pchat::node::guests::own_lines::OwnLines;

/// How many of 64 lines of this size for one guest leave at once.
fn burst(line_bytes: usize) -> usize {
    let mut lines = Lines::default();
    let line = vec![b'x'; line_bytes];
    (0..64).for_each(|_| lines.push(&line).expect("a line"));
    let mut own_lines = OwnLines::default();
    let direct = GuestLines {
        request_id: 1,
        guest: GuestId(1),
        lines,
        form: LineForm::Text,
    };
    assert_eq!(own_lines.push_direct("alice", &direct), 0);
    std::iter::from_fn(|| own_lines.pop(Time(0), 0)).count()
}

/// Of short lines, 32 leave at once; of long ones, as many as make 256 KiB or less.
#[test]
fn long_lines_count_as_several() {
    assert_eq!(burst(100), 32);
    assert_eq!(burst(8 * 1024), 16);
    assert_eq!(burst(16 * 1024), 11);
}
