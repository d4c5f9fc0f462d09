//! What a file of `src/` says: its place, its words, the paths that it names. Enough of a lexer that comments and texts are not mistaken for code.

/// A file of `src/`: its module path (`["shell", "store"]`; `["lib"]` and `["main"]` are roots), and what the compiler reads.
pub struct Source {
    pub module: Vec<String>,
    /// It may hold nothing but prose and `pub mod`.
    pub folder: bool,
    pub lines: usize,
    pub tokens: Vec<String>,
}

/// A path as written, made absolute: `crate::…` without `crate`, or a foreign crate's from its name.
#[derive(Debug, PartialEq)]
pub struct Named {
    pub path: Vec<String>,
    pub own: bool,
    pub in_use: bool,
}

impl Source {
    /// `file` is relative to `src/`.
    pub fn new(file: &str, text: &str) -> Source {
        let stem = file.strip_suffix(".rs").unwrap_or(file);
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        let folder = module
            .last()
            .is_some_and(|last| last == "mod" || last == "lib");
        if folder && module.len() > 1 {
            module.pop();
        }
        Source {
            module,
            folder,
            lines: text.lines().count(),
            tokens: tokens(text),
        }
    }

    pub fn floor(&self) -> &str {
        &self.module[0]
    }

    pub fn name(&self) -> String {
        self.module.join("::")
    }

    /// Where `crate::` leads from here: roots have no name of their own there.
    pub fn absolute(&self) -> Vec<String> {
        match self.floor() {
            "lib" | "main" => Vec::new(),
            _ => self.module.clone(),
        }
    }
}

/// Words and marks; comments and texts are left out, `::` is one mark.
fn tokens(text: &str) -> Vec<String> {
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

/// Every path in the file, in `use` or in the middle of code, from its root.
pub fn paths(source: &Source) -> Vec<Named> {
    let tokens = &source.tokens;
    let (mut all, mut inline, mut depth) = (Vec::new(), Vec::<(String, i32)>::new(), 0);
    let mut i = 0;
    while i < tokens.len() {
        let next = tokens.get(i + 1).map_or("", String::as_str);
        let mut module = source.absolute();
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
            // How far a thing is seen is no arrow.
            "(" if next == "in" && i > 0 && tokens[i - 1] == "pub" => {
                while tokens.get(i + 1).is_some_and(|t| t != ")") {
                    i += 1;
                }
            }
            // `impl Trait + use<'a>` is none.
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

/// Reads `a::{b, c::*} as d`, up to the end of this branch; gives where to read on.
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

fn rooted(path: &[String], module: &[String], in_use: bool) -> Named {
    let first = path.first().map_or("", String::as_str);
    let mut from = match first {
        "crate" | "p2pchat" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().saturating_sub(1)].to_vec(),
        _ => {
            return Named {
                path: path.to_vec(),
                own: false,
                in_use,
            };
        }
    };
    for word in &path[1..] {
        match word.as_str() {
            "super" => drop(from.pop()),
            "self" => {}
            word => from.push(word.to_owned()),
        }
    }
    Named {
        path: from,
        own: true,
        in_use,
    }
}
