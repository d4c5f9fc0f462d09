//! Counting line ends.
use p2pchat::base::lines::count_line_ends;

/// Every byte value is told from a line end, at every place of a word and beyond the last word.
#[test]
fn only_line_ends_are_counted() {
    for length in 0..20 {
        for byte in 0..=u8::MAX {
            for at in 0..length {
                let mut bytes = vec![b'\n'; length];
                bytes[at] = byte;
                let others = u64::from(byte != b'\n');
                assert_eq!(count_line_ends(&bytes), length as u64 - others, "{bytes:?}");
                let mut bytes = vec![byte; length];
                bytes[at] = b'\n';
                let expected = if byte == b'\n' { length as u64 } else { 1 };
                assert_eq!(count_line_ends(&bytes), expected, "{bytes:?}");
            }
        }
    }
}
