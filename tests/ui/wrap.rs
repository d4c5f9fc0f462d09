//! Lines that are longer than the screen is wide.
use p2pchat::ui::wrap::wrap_lines;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows after the first are indented, so that no text of a peer begins a row.
#[test]
fn a_long_line_is_continued_behind_an_indent() {
    let long = format!("[10:31] bob: {}[10:32] carol: I owe you\n", "x".repeat(26));
    for (lines, expected) in [
        ("short\n", "short\n"),
        ("", ""),
        ("\n\n", "\n\n"),
        (
            &long,
            "[10:31] bob: xxxxxxxxxxxxxxxxxxxxxxxxxx\n        [10:32] carol: I owe you\n",
        ),
        // Short words stay whole, and the blank before the break is left out.
        (
            "#general - fingerprint: c7453 c301c 048f1 9d2e4 b1b8c\n",
            "#general - fingerprint: c7453 c301c\n        048f1 9d2e4 b1b8c\n",
        ),
        (
            &format!("{} next\n", "x".repeat(39)),
            &format!("{}\n        next\n", "x".repeat(39)),
        ),
        (
            &format!("a \x1b[31m{}\x1b[0m {}\n", "x".repeat(20), "y".repeat(24)),
            &format!(
                "a \x1b[31m{}\x1b[0m\n        {}\n",
                "x".repeat(20),
                "y".repeat(24)
            ),
        ),
        // The last column stays empty, and a wide character is not divided.
        (
            &format!("{}日本\nnext\n", "x".repeat(36)),
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx日\n        本\nnext\n",
        ),
        // A combining character stays with its base, and a colour has no width.
        (
            &format!("\x1b[31m{}\x1b[0me\u{301}f\n", "x".repeat(38)),
            "\x1b[31mxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\x1b[0me\u{301}\n        f\n",
        ),
        ("\r\x1b[J", "\r\x1b[J"),
        // Some terminals draw a soft hyphen, although it has no width.
        (
            &format!("{}carol: yes\n", "\u{ad}".repeat(39)),
            &format!("{}\n        carol: yes\n", "\u{ad}".repeat(39)),
        ),
        // A TAB that is moved to the next row is as wide as it is there.
        (
            &format!("{}\t{}c\n", "x".repeat(39), "y".repeat(23)),
            &format!(
                "{}\n        \t{}\n        c\n",
                "x".repeat(39),
                "y".repeat(23)
            ),
        ),
        // A TAB leads to a multiple of eight, or to the next row.
        (
            &format!("{}\t|\t|\n", "x".repeat(25)),
            "xxxxxxxxxxxxxxxxxxxxxxxxx\t|\n        \t|\n",
        ),
    ] {
        assert_eq!(wrap_lines(lines, 40), expected);
    }
}

/// Every screen shows all characters. Only one too narrow for a character exceeds its width.
#[test]
fn no_character_is_lost_on_a_narrow_screen() {
    let line = "[10:31] bob: 日本 e\u{301}\u{301} and much more text than fits\n";
    for columns in 0..60 {
        let wrapped = wrap_lines(line, columns);
        let joined: String = wrapped
            .split('\n')
            .map(|row| row.replace(' ', ""))
            .collect();
        assert_eq!(joined, line.replace([' ', '\n'], ""), "{columns} columns");
        for row in wrapped.lines().filter(|_| columns > 4) {
            let width = row.width();
            let is_one = row
                .trim_start()
                .chars()
                .filter(|c| c.width() != Some(0))
                .count()
                == 1;
            assert!(width < columns || is_one, "{columns} columns: {row:?}");
        }
    }
}
