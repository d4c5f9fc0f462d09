//! In which form the tables of peers and counters are rendered.

/// The form of a reply to a command. A client names it in its request, because the server renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// Tab-separated rows for scripts: the output of `peers`.
    Rows,
    /// A table for a person, with a heading.
    Table,
    /// One JSON object a line.
    Json,
}

impl ReplyFormat {
    /// The word for this form in an IPC request.
    pub fn as_str(self) -> &'static str {
        match self {
            ReplyFormat::Rows => "rows",
            ReplyFormat::Table => "table",
            ReplyFormat::Json => "json",
        }
    }
}
