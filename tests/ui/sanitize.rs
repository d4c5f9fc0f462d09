//! Control characters in the text of others: replaced wherever text is rendered.

use p2pchat::base::text::control_chars::is_control;
use p2pchat::ui::text::TextRenderer;
use p2pchat::ui::{diagnostic, sanitize};

use super::support::{bob_says, chat, peer, rendered};

/// Text of others cannot move the cursor, set colours or reverse the direction of writing.
#[test]
fn control_characters_are_replaced_by_visible_ones() {
    let harmless = "a\tb é 日本 \u{2026}";
    assert_eq!(sanitize::sanitize(harmless), harmless);
    assert_eq!(
        sanitize::sanitize("\0\u{8}\u{a}\u{d}\u{1b}\u{1f}"),
        "\u{2400}\u{2408}\u{240a}\u{240d}\u{241b}\u{241f}"
    );
    for c in "\u{7f}\u{80}\u{9f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
        assert_eq!(sanitize::sanitize(&format!("x{c}")), "x\u{fffd}", "{c:?}");
    }
    for c in "\u{a0}\u{2027}\u{202f}\u{2065}\u{206a}".chars() {
        assert_eq!(sanitize::sanitize(&c.to_string()), c.to_string(), "{c:?}");
    }
    // `sanitize` checks 32 bytes at a time: the position of a character must not matter.
    for c in ('\0'..'\u{2100}').filter(|c| is_control(*c) || *c < '\u{100}') {
        for position in 0..70 {
            let (before, after) = ("~".repeat(position), " ".repeat(69 - position));
            let line = format!("{before}{}{after}", sanitize::replace_control(c));
            assert_eq!(
                sanitize::sanitize(&format!("{before}{c}{after}")),
                line,
                "{c:?}"
            );
        }
    }
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    let line = rendered(&mut pipe, &chat(bob_says(&["\u{1b}]0;owned\u{7}"])));
    assert!(line.ends_with(": \u{241b}]0;owned\u{2407}\n"));
    assert_eq!(
        diagnostic::format_diagnostic("no \u{1b}[2J"),
        "p2pchat: no \u{241b}[2J"
    );
}
