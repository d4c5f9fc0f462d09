//! What a key was proved to have done wrong.
use std::fmt;

/// How often a key broke the rules in this run, as far as it was proved: over a link that the key
/// authenticated, or by its signatures. What others say of it does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misbehaviour {
    /// Its bytes broke the protocol, such as by a signature that does not verify.
    pub violations: u64,
    /// It sent so much that it was summarized or its link was closed.
    pub floods: u64,
    /// Logs in which it signed two different lines under one number. A restored copy of its
    /// directory does so, too.
    pub forks: u64,
}

impl Misbehaviour {
    /// All of it together.
    pub fn total(&self) -> u64 {
        let sum = self.violations.saturating_add(self.floods);
        sum.saturating_add(self.forks)
    }
}

/// Formats what is counted: `2 violations, 1 fork`. `-` stands for nothing.
impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.violations, "violation"),
            (self.floods, "flood"),
            (self.forks, "fork"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let plural = |count| if count == 1 { "" } else { "s" };
        let words = counts.map(|(count, what)| format!("{count} {what}{}", plural(count)));
        let words: Vec<String> = words.collect();
        f.write_str(if words.is_empty() { "-" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}
