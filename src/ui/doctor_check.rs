//! The result of one check of `doctor`, as text and as JSON.
use super::json_line::JsonLine;
use super::sanitize::sanitize;

/// What one check found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The subject, as scripts know it: `interface`, `firewall`, `disk` and so on.
    pub name: &'static str,
    /// One sentence.
    pub content: String,
    /// What mends a finding. `None`: all is well, or the sentence is for information.
    pub mend: Option<String>,
}

impl Check {
    /// A check that found nothing to mend.
    pub fn ok(name: &'static str, content: impl Into<String>) -> Check {
        Check {
            name,
            content: content.into(),
            mend: None,
        }
    }

    /// A finding. `mend`: the command that mends it.
    pub fn finding(
        name: &'static str,
        content: impl Into<String>,
        mend: impl Into<String>,
    ) -> Check {
        Check {
            name,
            content: content.into(),
            mend: Some(mend.into()),
        }
    }

    /// Whether something is to be mended.
    pub fn is_finding(&self) -> bool {
        self.mend.is_some()
    }

    /// Appends the check as one line of text.
    pub fn append_text(&self, out: &mut String) {
        let Check { name, content, .. } = self;
        let line = match &self.mend {
            Some(mend) => format!("finding: {name}: {content}; mend it: {mend}"),
            None => format!("ok: {name}: {content}"),
        };
        *out += &sanitize(&line);
        out.push('\n');
    }

    /// Appends the check as a line of JSON.
    pub fn append_json(&self, out: &mut Vec<u8>) {
        let mut line = JsonLine::new("check", out);
        line.string("name", self.name);
        let state = if self.is_finding() { "finding" } else { "ok" };
        line.string("state", state);
        line.string("content", &self.content);
        if let Some(mend) = &self.mend {
            line.string("mend", mend);
        }
        line.finish();
    }
}
