//! Lines of text, and how they become batches.
use p2pchat::base::lines::{BATCH_LINES_MAX, BATCH_TEXT_MAX_BYTES, Lines, split_lines};

/// The parts into which a text is cut, as numbers of lines.
fn batches_of(text: &str) -> Vec<usize> {
    let mut lines = Lines::parse(text.as_bytes()).expect("lines");
    let mut taken = String::new();
    let mut counts = Vec::new();
    while !lines.is_empty() {
        let part = lines.take_batch();
        taken.push_str(part.as_str());
        counts.push(part.count());
        assert_eq!(part.iter().count(), part.count());
    }
    assert_eq!(taken, text, "nothing is lost");
    counts
}

/// A batch takes as many lines as fit, by their number and by their size.
#[test]
fn a_batch_takes_as_many_lines_as_fit() {
    let short = |count: usize| "\n".repeat(count);
    assert_eq!(batches_of(&short(1)), [1]);
    assert_eq!(batches_of(&short(BATCH_LINES_MAX)), [BATCH_LINES_MAX]);
    assert_eq!(
        batches_of(&short(BATCH_LINES_MAX + 1)),
        [BATCH_LINES_MAX, 1]
    );
    assert_eq!(
        batches_of(&short(2 * BATCH_LINES_MAX + 3)),
        [BATCH_LINES_MAX, BATCH_LINES_MAX, 3]
    );
    let kib = format!("{}\n", "x".repeat(1023));
    let full = BATCH_TEXT_MAX_BYTES / 1024;
    assert_eq!(batches_of(&kib.repeat(full)), [full]);
    assert_eq!(batches_of(&format!("{}\n", kib.repeat(full))), [full, 1]);
    assert_eq!(
        batches_of(&format!("\n{}", kib.repeat(full))),
        [full, 1],
        "the last line does not fit"
    );
}

/// The same lines as the standard library finds.
#[test]
fn lines_end_at_line_feeds_only() {
    for text in [
        "",
        "\n",
        "a",
        "a\n",
        "a\nb",
        "\n\n",
        "a\n\nb\n",
        "a\r\n\u{b}\u{2028}x\né\n",
    ] {
        let expected: Vec<&str> = text.split_terminator('\n').collect();
        assert_eq!(split_lines(text).collect::<Vec<_>>(), expected, "{text:?}");
    }
}

/// Lines come one at a time, several at once, and from another text; each is counted.
#[test]
fn each_line_is_counted_however_it_comes() {
    let mut lines = Lines::default();
    lines.push(b"one").expect("a line");
    lines.push(b"two\nthree\n\nfive").expect("lines");
    let parsed = Lines::parse(b"six\nseven\n").expect("lines");
    lines.append(&parsed);
    assert_eq!((parsed.count(), lines.count()), (2, 7));
    assert_eq!(lines.iter().count(), 7);
}
