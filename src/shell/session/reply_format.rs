//! The formats of the tables of peers and counters.

/// The format of a reply to a command. A client names the format in its request, because the
/// server renders the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// Tab-separated rows for scripts: the output of `peers`.
    Rows,
    /// A table for a person, with a heading.
    Table,
    /// One JSON object per line.
    Json,
}

impl ReplyFormat {
    /// The word for this format in an IPC request.
    pub fn as_str(self) -> &'static str {
        match self {
            ReplyFormat::Rows => "rows",
            ReplyFormat::Table => "table",
            ReplyFormat::Json => "json",
        }
    }
}
