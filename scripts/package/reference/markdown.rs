//! The manual page p2pchat(7), from the document on the protocol of `control.sock`. It has headings,
//! paragraphs, lists, tables and examples in the form that this document uses.
use crate::roff::{escape, example, heading};

const DOCUMENT: &str = include_str!("../../../src/shell/ipc/PROTOCOL.md");

/// The page.
pub fn page() -> String {
    let mut page = heading(7);
    page += ".SH NAME\np2pchat \\- the protocol of control.sock\n.SH DESCRIPTION\n";
    let mut code: Option<Vec<&str>> = None;
    for line in DOCUMENT.lines().skip(1) {
        if line.starts_with("```") {
            match code.take() {
                Some(lines) => page += &example(&lines),
                None => code = Some(Vec::new()),
            }
        } else if let Some(lines) = &mut code {
            lines.push(line);
        } else {
            page += &text_line(line);
        }
    }
    page
}

/// A line that is no part of an example.
fn text_line(line: &str) -> String {
    let is_heading_of_table = line.starts_with("|---") || line.starts_with("| request |");
    if line.is_empty() {
        return ".PP\n".to_owned();
    } else if is_heading_of_table || line.starts_with("| event |") {
        return String::new();
    } else if let Some(heading) = line.strip_prefix("# ") {
        return format!(".SH {}\n", escape(&heading.to_uppercase()));
    } else if let Some(item) = line.strip_prefix("- ") {
        return format!(".IP \\(bu 2\n{}\n", inline(item));
    } else if let Some(row) = line.strip_prefix("| ") {
        let row = row.strip_suffix(" |").unwrap_or(row);
        if let Some((term, meaning)) = row.split_once(" | ") {
            return format!(".TP\n{}\n{}\n", inline(term), inline(meaning));
        }
    }
    format!("{}\n", inline(line.trim_start()))
}

/// Text with `code` in bold, and *emphasis* in italics.
fn inline(text: &str) -> String {
    let mut line = String::new();
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            line += &format!("\\fB{}\\fR", escape(part));
            continue;
        }
        for (j, part) in part.split('*').enumerate() {
            match j % 2 {
                1 => line += &format!("\\fI{}\\fR", escape(part)),
                _ => line += &escape(part),
            }
        }
    }
    line
}
