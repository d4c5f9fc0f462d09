//! Reads one file of `src/`: its module path, its tokens, the paths it names, the types it defines.
//!
//! The lexer knows comments and string literals, so that neither is mistaken for code.
use super::rules::COMMENT_COLUMNS_MAX;

/// A file of `src/`.
pub struct Source {
    /// Path relative to `src/`, as `shell/store/disk.rs`.
    pub file: String,
    /// Module path, as `["shell", "store", "disk"]`; `["lib"]` and `["main"]` are the crate roots.
    pub module: Vec<String>,
    /// A `mod.rs` or `lib.rs`, which may hold prose and `pub mod` only.
    pub is_index: bool,
    pub lines: usize,
    /// Numbers of the comment lines that end beyond [`COMMENT_COLUMNS_MAX`].
    pub wide_comments: Vec<usize>,
    pub tokens: Vec<String>,
}

/// A path named in a file, resolved to its root.
#[derive(Debug, PartialEq)]
pub struct NamedPath {
    /// Segments after `crate::`, or from the name of a foreign crate on.
    pub segments: Vec<String>,
    /// The path starts in this crate.
    pub is_own: bool,
    /// The path stands in a `use`.
    pub is_import: bool,
}

impl Source {
    /// Reads `text`, the content of `file`, which is relative to `src/`.
    pub fn new(file: &str, text: &str) -> Source {
        let stem = file.strip_suffix(".rs").unwrap_or(file);
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        let is_index = module
            .last()
            .is_some_and(|last| last == "mod" || last == "lib");
        if is_index && module.len() > 1 {
            module.pop();
        }
        Source {
            file: file.to_owned(),
            module,
            is_index,
            lines: text.lines().count(),
            wide_comments: wide_comments(text),
            tokens: tokenize(text),
        }
    }

    /// The layer this file belongs to: its first folder, or its own name.
    pub fn layer(&self) -> &str {
        &self.module[0]
    }

    /// The folder this file lies in, relative to `src/`; empty for a file beside `lib.rs`.
    pub fn folder(&self) -> &str {
        self.file.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The module path as text.
    pub fn name(&self) -> String {
        self.module.join("::")
    }

    /// The segments that `self::` stands for; a crate root has none.
    pub fn path(&self) -> Vec<String> {
        match self.layer() {
            "lib" | "main" => Vec::new(),
            _ => self.module.clone(),
        }
    }

    /// Types and traits defined here, in whatever scope, and whether each is `pub`.
    pub fn types(&self) -> Vec<(&str, bool)> {
        let mut types = Vec::new();
        for (i, pair) in self.tokens.windows(2).enumerate() {
            let keyword = pair[0].as_str();
            if matches!(keyword, "struct" | "enum" | "trait" | "type" | "union") {
                types.push((pair[1].as_str(), ends_in_pub(&self.tokens[..i])));
            }
        }
        types
    }

    /// Names of the types that this file has inherent `impl` blocks of.
    pub fn inherent_impls(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (i, token) in self.tokens.iter().enumerate() {
            let starts_item =
                i == 0 || matches!(self.tokens[i - 1].as_str(), "}" | ";" | "]" | "{");
            if token == "impl" && starts_item {
                names.extend(self.inherent_impl(i + 1));
            }
        }
        names
    }

    /// The type of the `impl` whose header starts at `at`, unless it implements a trait.
    fn inherent_impl(&self, at: usize) -> Option<&str> {
        let (mut depth, mut name) = (0, None);
        for token in &self.tokens[at..] {
            match token.as_str() {
                "<" => depth += 1,
                ">" => depth -= 1,
                _ if depth > 0 => {}
                "for" => return None,
                "{" | "where" => return name,
                word if is_word(word) => name = Some(word),
                _ => {}
            }
        }
        None
    }
}

/// Do these tokens end in `pub` or `pub(…)`?
pub fn ends_in_pub<T: AsRef<str>>(tokens: &[T]) -> bool {
    match tokens.last().map(AsRef::as_ref) {
        Some("pub") => true,
        Some(")") => tokens
            .iter()
            .rposition(|token| token.as_ref() == "(")
            .is_some_and(|open| open > 0 && tokens[open - 1].as_ref() == "pub"),
        _ => false,
    }
}

fn wide_comments(text: &str) -> Vec<usize> {
    let comments = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.trim_start().starts_with("//"));
    comments
        .filter(|(_, line)| line.chars().count() > COMMENT_COLUMNS_MAX)
        .map(|(number, _)| number)
        .collect()
}

/// Splits a text into words and punctuation. Comments and literals are left out; `::` is one token.
fn tokenize(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut all, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => i = after_block_comment(&chars, i),
            '"' => i = after_text(&chars, i),
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            '\'' => i += 1,
            ':' if at(i + 1) == ':' => {
                all.push("::".into());
                i += 2;
            }
            c if word(c) => {
                while word(at(i)) {
                    i += 1;
                }
                let found: String = chars[start..i].iter().collect();
                let prefix = matches!(found.as_str(), "r" | "b" | "br" | "c" | "cr");
                let hashes = (i..).take_while(|&k| at(k) == '#').count();
                if prefix && found.ends_with('r') && at(i + hashes) == '"' {
                    i = after_raw_text(&chars, i + hashes + 1, hashes);
                } else if found == "r" && hashes == 1 && word(at(i + 1)) {
                    i += 1;
                } else if !(prefix && matches!(at(i), '"' | '\'')) {
                    all.push(found);
                }
            }
            c => {
                if !c.is_whitespace() {
                    all.push(c.into());
                }
                i += 1;
            }
        }
    }
    all
}

fn after_block_comment(chars: &[char], mut i: usize) -> usize {
    let mut depth = 0;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
            }
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn after_text(chars: &[char], mut i: usize) -> usize {
    i += 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn after_raw_text(chars: &[char], mut i: usize, hashes: usize) -> usize {
    while i < chars.len() {
        let closed = chars[i] == '"' && (1..=hashes).all(|k| chars.get(i + k) == Some(&'#'));
        i += 1;
        if closed {
            return i + hashes;
        }
    }
    i
}

/// Every path in the file, in a `use` or inside code, resolved to its root.
pub fn paths(source: &Source) -> Vec<NamedPath> {
    let tokens = &source.tokens;
    let (mut all, mut inline, mut depth) = (Vec::new(), Vec::<(String, i32)>::new(), 0);
    let mut i = 0;
    while i < tokens.len() {
        let next = tokens.get(i + 1).map_or("", String::as_str);
        let mut module = source.path();
        module.extend(inline.iter().map(|(name, _)| name.clone()));
        match tokens[i].as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|(_, at)| *at <= depth);
            }
            "mod" if tokens.get(i + 2).is_some_and(|t| t == "{") => {
                inline.push((next.to_owned(), depth + 1));
                i += 1;
            }
            // A visibility such as `pub(in crate::node)` imports nothing.
            "(" if next == "in" && i > 0 && tokens[i - 1] == "pub" => {
                while tokens.get(i + 1).is_some_and(|t| t != ")") {
                    i += 1;
                }
            }
            // `impl Trait + use<'a>` is no import.
            "use" if next != "<" => {
                let mut found = Vec::new();
                i = use_tree(tokens, i + 1, &[], &mut found);
                all.extend(found.iter().map(|path| rooted(path, &module, true)));
                continue;
            }
            word if is_word(word) && next == "::" => {
                let mut path = vec![word.to_owned()];
                i += 1;
                while tokens.get(i).is_some_and(|t| t == "::")
                    && tokens.get(i + 1).is_some_and(|t| is_word(t))
                {
                    path.push(tokens[i + 1].clone());
                    i += 2;
                }
                all.push(rooted(&path, &module, false));
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    all
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads a branch of a `use` tree, as `a::{b, c::*} as d`. Returns the index behind it.
fn use_tree(
    tokens: &[String],
    mut i: usize,
    before: &[String],
    all: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(i) {
        match token.as_str() {
            "::" => {}
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|t| t != "}") {
                    i = use_tree(tokens, i, &path, all);
                    if tokens.get(i).is_some_and(|t| t == ",") {
                        i += 1;
                    }
                }
                return i + 1;
            }
            "as" => i += 1,
            "," | "}" | ";" => break,
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        i += 1;
    }
    all.push(path);
    i
}

fn rooted(path: &[String], module: &[String], is_import: bool) -> NamedPath {
    let first = path.first().map_or("", String::as_str);
    let mut segments = match first {
        "crate" | "p2pchat" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().saturating_sub(1)].to_vec(),
        _ => {
            return NamedPath {
                segments: path.to_vec(),
                is_own: false,
                is_import,
            };
        }
    };
    for segment in &path[1..] {
        match segment.as_str() {
            "super" => drop(segments.pop()),
            "self" => {}
            name => segments.push(name.to_owned()),
        }
    }
    NamedPath {
        segments,
        is_own: true,
        is_import,
    }
}
