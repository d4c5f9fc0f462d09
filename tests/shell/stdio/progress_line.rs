//! When and how the progress of a long `send` is shown.
use p2pchat::base::time::Time;
use p2pchat::shell::stdio::progress_line::ProgressLine;

/// It is shown after half a second, at most four times a second, and only when it has changed. A
/// run of few lines has none.
#[test]
fn the_line_is_rewritten_rarely() {
    let mut few = ProgressLine::new(Time(0));
    few.sent = 9;
    assert_eq!(few.deadline(), None);
    let mut line = ProgressLine::new(Time(0));
    line.sent = 10;
    assert_eq!(line.take_text(Time(499)), None);
    let texts = (0..2_000).filter_map(|ms| {
        line.sent += 1;
        line.take_text(Time(500 + ms))
    });
    assert_eq!(texts.count(), 8);
    line.delivered = Some(7);
    let text = "p2pchat: 2010 lines sent, 7 delivered";
    assert_eq!(line.deadline(), Some(Time(2_500)));
    assert_eq!(line.take_text(Time(2_500)).as_deref(), Some(text));
    assert_eq!(line.deadline(), None);
    assert_eq!(line.take_text(Time(9_000)), None);
}
