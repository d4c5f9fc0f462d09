//! Reads the test vectors in `tests/vectors`. `tests/vectors/README.md` describes their form.
#![allow(dead_code, reason = "each test program uses some of the helpers")]

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Hash, Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Target};
use p2pchat::base::republished_lines::RepublishedLines;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;

use crate::batches;

/// One vector of a file: its fields in order.
pub struct Vector(Vec<(String, String)>);

/// The path of a file of vectors.
pub fn path(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/vectors").join(file)
}

/// The vectors of a file. A blank line separates two vectors.
pub fn vectors(file: &str) -> Vec<Vector> {
    let text = fs::read_to_string(path(file)).expect(file);
    let mut vectors = vec![Vector(Vec::new())];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let last = vectors.last_mut().expect("a vector");
        match line.split_once(" = ") {
            Some((name, value)) => last.0.push((name.to_owned(), value.to_owned())),
            None => {
                assert_eq!(line, "", "{file}: no field");
                vectors.push(Vector(Vec::new()));
            }
        }
    }
    vectors.retain(|vector| !vector.0.is_empty());
    assert!(!vectors.is_empty(), "{file}: no vector");
    vectors
}

/// The only vector of a file.
pub fn vector(file: &str) -> Vector {
    let mut vectors = vectors(file);
    assert_eq!(vectors.len(), 1, "{file}");
    vectors.remove(0)
}

impl Vector {
    /// The values of a field that may occur several times.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|field| field.0 == name);
        named.map(|field| field.1.as_str()).collect()
    }

    /// Checks that the program computes the value of a field.
    pub fn check(&self, name: &str, actual: &str) {
        assert_eq!(actual, self.text(name), "{name}");
    }

    /// Checks that the program computes the bytes of a field in hex.
    pub fn check_bytes(&self, name: &str, actual: &[u8]) {
        self.check(name, &HEXLOWER.encode(actual));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let texts = self.texts(name);
        assert!(texts.len() <= 1, "{name} occurs several times");
        texts.first().copied()
    }

    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> T {
        let number = self.text(name).parse().ok();
        number.unwrap_or_else(|| panic!("{name} is no number"))
    }

    /// An optional flag. Absent: false.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|flag| flag.parse().expect("a flag"))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(name).as_bytes()).expect(name)
    }

    pub fn key(&self, name: &str) -> [u8; 32] {
        self.bytes(name).try_into().expect(name)
    }

    pub fn hash(&self, name: &str) -> Hash {
        Hash(self.key(name))
    }

    pub fn hex64(&self, name: &str) -> u64 {
        u64::from_be_bytes(self.bytes(name).try_into().expect(name))
    }

    pub fn time(&self, name: &str) -> WallTime {
        WallTime::parse(self.text(name)).expect(name)
    }

    pub fn id(&self, name: &str) -> PeerId {
        self.text(name).parse().expect(name)
    }

    pub fn identity(&self, name: &str) -> Identity {
        Identity::from_seed(&self.key(name))
    }

    /// The network of the vector. Absent: the open network.
    pub fn network(&self) -> NetworkTag {
        match self.get("network") {
            Some(tag) => NetworkTag::parse(tag).expect("a tag"),
            None => NetworkTag::OPEN,
        }
    }

    /// The log of the batch that the vector describes.
    pub fn log(&self) -> LogId {
        LogId {
            target: Target::parse(self.text("target")).expect("a target"),
            author: self.id("author"),
            incarnation: self.hex64("incarnation"),
        }
    }

    /// The lines: those of the fields `line`, or the block whose lines are the fields `part`.
    pub fn line_texts(&self) -> Vec<String> {
        match self.texts("part") {
            parts if parts.is_empty() => self.texts("line").into_iter().map(String::from).collect(),
            parts => vec![parts.join("\u{b}")],
        }
    }

    pub fn lines(&self) -> Lines {
        let mut lines = Lines::default();
        for line in self.line_texts() {
            lines.push(line.as_bytes()).expect("a line");
        }
        lines
    }

    fn republishes(&self) -> Option<RepublishedLines> {
        self.get("republishes_incarnation")?;
        Some(RepublishedLines {
            incarnation: self.hex64("republishes_incarnation"),
            sequence: self.number("republishes_sequence"),
            hash: self.hash("republishes_hash"),
        })
    }

    /// Signs the batch that the vector describes.
    pub fn sign(&self, sealed: Option<&str>) -> Batch {
        let lines = self.lines();
        let author = self.identity("author_seed");
        assert_eq!(author.id(), self.id("author"));
        let draft = UnsignedBatch {
            log: self.log(),
            username: Nick::new(self.text("username")).expect("a name"),
            sequence: self.number("sequence"),
            lamport: self.number("lamport"),
            timestamp: self.time("timestamp"),
            run: self.hex64("run"),
            uptime: self.number("uptime"),
            previous: self.get("previous").map(|_| self.hash("previous")),
            form: LineForm::from_flags(self.flag("action"), self.flag("block")),
            republishes: self.republishes(),
            lines: &lines,
            sealed,
            salt: self.hex64("salt"),
        };
        Batch::sign(&author, &self.network(), draft)
    }

    /// Checks the hash that stands for the content of a signed batch.
    pub fn check_content_hash(&self, batch: &Batch) {
        let parts = batches::parts(batch);
        let hash = batches::content_hash(&parts.salt, &parts.content);
        self.check("content_hash", &hash.to_string());
    }

    /// Checks that the batch has the fields of the vector, and is signed.
    pub fn assert_fields(&self, batch: &Batch) {
        assert_eq!(batch.log, self.log());
        assert_eq!(batch.username.as_str(), self.text("username"));
        assert_eq!(batch.sequence, self.number::<u64>("sequence"));
        assert_eq!(batch.lamport, self.number::<u64>("lamport"));
        assert_eq!(batch.timestamp, self.time("timestamp"));
        assert_eq!(batch.run, self.hex64("run"));
        assert_eq!(batch.uptime, self.number::<u64>("uptime"));
        let previous = self.get("previous").map(|_| self.hash("previous"));
        assert_eq!(batch.previous, previous);
        let form = LineForm::from_flags(self.flag("action"), self.flag("block"));
        assert_eq!(batch.form, form);
        assert_eq!(batch.republishes, self.republishes());
        assert_eq!(batch.count, self.line_texts().len() as u64);
        assert_eq!(batch.hash, self.hash("hash"));
        let key = batch.log.author.verifying_key().expect("a key");
        assert!(batch.verify(&key), "the signature");
    }
}

/// The lines that the batch shows.
pub fn shown_lines(batch: &Batch) -> Vec<String> {
    let mut lines = Vec::new();
    batch.for_each_line(|line| lines.push(line.to_owned()));
    lines
}
