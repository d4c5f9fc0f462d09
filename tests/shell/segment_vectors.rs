//! The bytes of lines of segments, pinned by the files in `tests/vectors`.
use std::fs::{self, File};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::identity::Hash;
use p2pchat::base::name::{FolderName, Target};
use p2pchat::base::range::{Gap, LogRange};
use p2pchat::base::republished_lines::RepublishedLines;
use p2pchat::shell::store::segment::active_segment::ActiveSegment;
use p2pchat::shell::store::segment::frontier::{
    self, Frontier, WantedLines, parse_generation, with_next_generation,
};
use p2pchat::shell::store::segment::segment_file::{
    dropped_line, peek_author, peek_single_sequence, temporary_path,
};
use p2pchat::shell::store::segment::segment_reader::SegmentReader;

use crate::batches;
use crate::folders::TempDir;
use crate::vector_files::{Vector, vector, vectors};

/// A log of a frontier line: `author incarnation target low high hash lamport`. If they are not 1,
/// `begins_at lost_below` follow. Behind them, `news_from`.
fn range(text: &str) -> LogRange {
    let words: Vec<&str> = text.split(' ').collect();
    LogRange {
        log: LogId {
            author: words[0].parse().expect("an id"),
            incarnation: hex64(words[1]),
            target: Target::parse(words[2]).expect("a target"),
        },
        low: words[3].parse().expect("a sequence"),
        high: words[4].parse().expect("a sequence"),
        hash: Hash::parse(words[5]).expect("a hash"),
        lamport: words[6].parse().expect("a number"),
        republishes: None,
        begins_at: words.get(7).map_or(1, |line| line.parse().expect("a line")),
        lost_below: words.get(8).map_or(1, |line| line.parse().expect("a line")),
        news_from: words
            .get(9)
            .map(|lamport| lamport.parse().expect("a number")),
        gaps: Vec::new(),
    }
}

fn hex64(text: &str) -> u64 {
    let bytes = HEXLOWER.decode(text.as_bytes()).expect("hex");
    u64::from_be_bytes(bytes.try_into().expect("16 digits"))
}

/// A gap: `stored_from from to previous_hash last_hash`. The first hash is `-` if there is none.
fn gap(text: &str) -> Gap {
    let words: Vec<&str> = text.split(' ').collect();
    Gap {
        stored_from: words[0].parse().expect("a sequence"),
        from: words[1].parse().expect("a sequence"),
        to: words[2].parse().expect("a sequence"),
        previous_hash: (words[3] != "-").then(|| Hash::parse(words[3]).expect("a hash")),
        last_hash: Hash::parse(words[4]).expect("a hash"),
        was_printed: words.get(5) == Some(&"printed"),
    }
}

/// The ranges in the order of the line. The first log has the gaps of the vector, the last one the
/// republished lines.
fn ranges(vector: &Vector) -> Vec<Arc<LogRange>> {
    let mut ranges: Vec<LogRange> = vector.texts("log").into_iter().map(range).collect();
    ranges[0].gaps = vector.texts("gap").into_iter().map(gap).collect();
    if let (Some(text), Some(last)) = (vector.get("republishes"), ranges.last_mut()) {
        let words: Vec<&str> = text.split(' ').collect();
        last.republishes = Some(Box::new(RepublishedLines {
            incarnation: hex64(words[0]),
            sequence: words[1].parse().expect("a sequence"),
            hash: Hash::parse(words[2]).expect("a hash"),
        }));
    }
    ranges.into_iter().map(Arc::new).collect()
}

fn frontier(vector: &Vector) -> Frontier {
    let author = |text: &str| {
        let (id, bytes) = text.split_once(' ').expect("two words");
        (id.parse().expect("an id"), bytes.parse().expect("bytes"))
    };
    Frontier {
        ranges: ranges(vector).into_iter().collect(),
        author_bytes: vector.texts("author").into_iter().map(author).collect(),
        max_lamport: vector.text("max_lamport").parse().expect("a number"),
    }
}

#[test]
fn frontier_lines() {
    for vector in vectors("frontier.txt") {
        let frontier = frontier(&vector);
        let mut written = Vec::new();
        frontier::write(
            &ranges(&vector),
            &frontier.author_bytes,
            frontier.max_lamport,
            &mut written,
        );
        let written = String::from_utf8(written).expect("JSON");
        vector.check("line", written.strip_suffix('\n').expect("a line"));
        let line = vector.text("line").as_bytes();
        let name = FolderName::parse(vector.text("folder")).expect("a folder");
        let read = Frontier::parse(line, &name).expect("a frontier");
        assert_eq!(read.ranges, frontier.ranges);
        assert!(read.author_bytes.iter().eq(frontier.author_bytes.iter()));
        assert_eq!(read.max_lamport, frontier.max_lamport);
        for range in frontier.ranges.iter() {
            let are_after = |from| {
                let mut wanted = WantedLines::default();
                wanted.add(&range.log, from);
                wanted.are_after(line)
            };
            let heads = [range.high, range.high + 1];
            assert_eq!(heads.map(are_after), [Some(false), Some(true)]);
        }
        let next = with_next_generation(line, 0);
        vector.check("next_generation", std::str::from_utf8(&next).expect("JSON"));
        let next = vector.text("next_generation").as_bytes();
        assert_eq!((parse_generation(line), parse_generation(next)), (0, 1));
        assert!(Frontier::parse(next, &name).is_some());
    }
}

#[test]
fn dropped_lines() {
    let vector = vector("dropped.txt");
    let line = dropped_line(vector.number("bytes"));
    vector.check("line", line.strip_suffix('\n').expect("a line"));

    // Offsets count the bytes of the evicted lines.
    let folder = TempDir::new();
    let first = vectors("frontier.txt")[0]
        .text("next_generation")
        .to_owned();
    let text = format!("{first}\n{}\n{{}}\n", vector.text("line"));
    fs::write(folder.0.join("000001.ndjson"), text).expect("written");
    let draft = temporary_path(&folder.0, 1);
    assert_eq!(draft, folder.0.join("000001.tmp"));
    let mut reader = SegmentReader::open(&folder.0, 1).expect("a segment");
    assert!(reader.advance().expect("a line") && reader.advance().expect("a line"));
    assert_eq!(reader.line(), b"{}");
    let offset = first.len() as u64 + 1 + vector.number::<u64>("bytes");
    assert_eq!((reader.line_offset(), reader.generation()), (offset, 1));
}

/// A blank line takes the place of what somebody cut off, so that offsets stay valid.
#[test]
fn a_cut_segment_is_filled_up() {
    let folder = TempDir::new();
    let mut segment = ActiveSegment::create(&folder.0, 1, b"{}\n", 1024).expect("a segment");
    segment.append(b"one\n").expect("appended");
    let path = folder.0.join("000001.ndjson");
    let cut = File::options().write(true).open(&path);
    cut.and_then(|file| file.set_len(4)).expect("cut");
    segment.append(b"two\n").expect("appended");
    assert_eq!(fs::read_to_string(&path).expect("text"), "{}\no  \ntwo\n");
}

/// The store reads author and sequence of most lines without parsing them.
#[test]
fn the_beginnings_of_batches_are_read() {
    let files = [
        "batch_room.txt",
        "batch_direct.txt",
        "batch_republishing.txt",
    ];
    for vector in files.into_iter().flat_map(vectors) {
        let batch = vector.sign(vector.get("sealed"));
        let author = batch.log.author.to_string();
        let single = (batch.count == 1).then_some(batch.sequence);
        for line in [batch.as_bytes(), &batches::withheld(&batch)] {
            assert_eq!(peek_author(line), Some(author.as_bytes()));
            assert_eq!(peek_single_sequence(line), single);
        }
    }
}
