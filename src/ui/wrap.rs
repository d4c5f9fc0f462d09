//! Breaks lines at the right edge of a screen. A terminal would continue a long line in the first
//! column, where the rest of its text could pass for another line.
use unicode_width::UnicodeWidthChar as _;

/// Width of the blanks before each further row of a line. No line of the transcript begins with a
/// blank.
const INDENT_COLUMNS: usize = 8;
/// Distance of the terminal's tab stops.
const TAB_COLUMNS: usize = 8;
/// Width of the longest word that is kept whole.
const WORD_COLUMNS_MAX: usize = 24;

/// Breaks each line into rows of less than `columns` columns, between words if they are short. Rows
/// after the first are indented. The last column stays empty, because terminals differ in what
/// follows a character in it.
pub fn wrap_lines(lines: &str, columns: usize) -> String {
    let row_columns = columns.saturating_sub(1);
    let indent = INDENT_COLUMNS.min(columns / 4);
    let mut out = String::with_capacity(lines.len() + lines.len() / 8);
    let mut column = 0;
    // The last blank of the row behind which no TAB stands: where it is, and its column.
    let mut blank: Option<(usize, usize)> = None;
    let mut chars = lines.chars();
    while let Some(c) = chars.next() {
        let width = match c {
            // An escape sequence ends with a letter. Text of others contains none.
            '\x1b' => {
                out.push(c);
                for c in chars.by_ref() {
                    out.push(c);
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
                continue;
            }
            '\n' => 0,
            _ => columns_of(c, column),
        };
        if width > 0 && column + width > row_columns && column > indent {
            let row_start = format!("\n{:indent$}", "");
            match blank.filter(|(_, at)| *at > indent && column - at <= WORD_COLUMNS_MAX) {
                _ if c == ' ' => {
                    (column, blank) = (indent, None);
                    out.push_str(&row_start);
                    continue;
                }
                Some((index, at)) => {
                    out.replace_range(index..=index, &row_start);
                    column = indent + column - at - 1;
                }
                None => {
                    out.push_str(&row_start);
                    column = indent;
                }
            }
            blank = None;
        }
        blank = match c {
            ' ' => Some((out.len(), column)),
            '\t' | '\n' => None,
            _ => blank,
        };
        out.push(c);
        column = if c == '\n' {
            0
        } else {
            column + columns_of(c, column)
        };
    }
    out
}

/// The most columns that a terminal may move the cursor for a character. Terminals disagree about
/// characters without a width, such as a soft hyphen. Only marks above or below a letter surely
/// need none.
fn columns_of(c: char, column: usize) -> usize {
    match c {
        '\t' => TAB_COLUMNS - column % TAB_COLUMNS,
        '\u{300}'..='\u{36f}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}' => 0,
        _ => c.width().unwrap_or(0).max(1),
    }
}
