//! Text in the language of manual pages (man(7)).

/// The line that begins a page.
pub fn heading(section: u8) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH P2PCHAT {section} \"\" \"p2pchat {version}\" \"p2pchat\"\n")
}

/// Escapes text, so that it is printed as it is, also at the beginning of a line.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    if text.starts_with(['.', '\'']) {
        escaped += "\\&";
    }
    for c in text.chars() {
        match c {
            '\\' => escaped += "\\e",
            '-' => escaped += "\\-",
            '~' => escaped += "\\(ti",
            '^' => escaped += "\\(ha",
            '`' => escaped += "\\(ga",
            '\'' => escaped += "\\(aq",
            '"' => escaped += "\\(dq",
            c => escaped.push(c),
        }
    }
    escaped
}

/// An example, in lines that are printed as they are. It is indented as the paragraph before it.
pub fn example(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| escape(line)).collect();
    format!(".IP\n.nf\n{}\n.fi\n", lines.join("\n"))
}
