//! Looking back: one order wherever the same lines are held, gaps where some are missing, and nothing that nobody signed.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use p2pchat::base::batch::{Batch, LocalFields, LogId, UnsignedBatch};
use p2pchat::base::event::Peer;
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{FolderName as Part, Nick, Room, Target};
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::history_query::{HistoryQuery, run_query};
use p2pchat::shell::session::renderer::Renderer;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::scan::HistorySource;
use p2pchat::shell::store::store::Store;

use crate::folders::{EmptyReplicationState, TempDir};

const NET: NetworkTag = NetworkTag::OPEN;

/// An author's log in one room.
struct Author {
    identity: Identity,
    name: &'static str,
    log: LogId,
    head: Option<Batch>,
}

impl Author {
    fn new(name: &'static str, room: &str, incarnation: u64) -> Author {
        let seed = name.bytes().fold(7, |sum: u8, b| sum.wrapping_add(b));
        let identity = Identity::from_seed(&[seed; 32]);
        let log = LogId {
            target: Target::Room(Room::new(room).unwrap()),
            author: identity.id(),
            incarnation,
        };
        Author {
            identity,
            name,
            log,
            head: None,
        }
    }

    fn short(&self) -> String {
        format!("{}~{}", self.name, self.log.author.short())
    }

    /// Its clock shows `lamport`, and the wall's as many seconds.
    fn say(&mut self, lamport: u64, lines: &[&str]) -> Batch {
        let mut text = Lines::default();
        for line in lines {
            text.push(line.as_bytes()).unwrap();
        }
        let draft = UnsignedBatch {
            log: self.log.clone(),
            username: Nick::new(self.name).unwrap(),
            sequence: self
                .head
                .as_ref()
                .map_or(1, |head| head.last_sequence() + 1),
            lamport,
            timestamp: WallTime(lamport as i64 * 1000),
            previous: self.head.as_ref().map(|head| head.hash),
            action: false,
            lines: &text,
            sealed: None,
        };
        let batch = Batch::sign(&self.identity, &NET, draft);
        self.head = Some(batch.clone());
        batch
    }
}

fn archive(folder: &TempDir) -> HistorySource<'static> {
    HistorySource::Disk(folder.0.join(NET.dir_name()))
}

/// A directory that got these batches in this order, in segments of some ten lines.
fn stored<'a>(folder: &TempDir, batches: impl IntoIterator<Item = &'a Batch>) {
    let limits = StoreLimits {
        segment_bytes: 4096,
        total_bytes: Some(u64::MAX),
        ..StoreLimits::default()
    };
    let own = Identity::from_seed(&[1; 32]).id();
    let mut store = Store::open(&folder.0, NET, own, false, limits).unwrap();
    save(&mut store, batches);
}

fn save<'a>(store: &mut Store, batches: impl IntoIterator<Item = &'a Batch>) {
    let mut rooms = Vec::new();
    for (i, batch) in batches.into_iter().enumerate() {
        let room = batch.log.target.room().unwrap();
        if !rooms.contains(room) {
            store.open_folder(&room.into()).unwrap();
            rooms.push(room.clone());
        }
        // What a box notes for itself must make no difference.
        let local = LocalFields {
            received: WallTime(i as i64 * 77_777),
            late: i % 2 == 0,
            before_start: i % 5 == 0,
            backfill: i % 3 == 0,
        };
        store.save(batch, local).unwrap();
        store.enforce_limits(&EmptyReplicationState).unwrap();
    }
}

fn shown(archive: &HistorySource<'_>, query: &HistoryQuery, mut face: Renderer) -> Vec<String> {
    let mut all = Vec::new();
    run_query(archive, NET, query, &mut face, WallTime(0), &mut |out| {
        all.append(out);
        Ok(())
    })
    .unwrap();
    let text = String::from_utf8(all).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn pipe() -> Renderer {
    Renderer::for_pipe(&Peer {
        id: PeerId([0; 32]),
        nick: Nick::new_or_placeholder(""),
    })
}

fn all(folder: &TempDir) -> Vec<String> {
    shown(&archive(folder), &HistoryQuery::default(), pipe())
}

fn last(folder: &TempDir, lines: u64) -> Vec<String> {
    let query = HistoryQuery {
        limit: Some(lines),
        ..HistoryQuery::default()
    };
    shown(&archive(folder), &query, pipe())
}

/// What was said, of lines that are no gaps.
fn said(lines: &[String]) -> Vec<&str> {
    let contents = lines.iter().filter_map(|line| line.split_once(": "));
    contents.map(|(_, content)| content).collect()
}

/// Sorts all lines in memory: the order as it is written down.
fn by_the_rule(batches: &[Batch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let mut i = 0;
        batch.for_each_line(|line| {
            let key = (
                batch.lamport + i,
                batch.log.author.to_string(),
                format!("{:016x}", batch.log.incarnation),
                batch.sequence + i,
            );
            let name = format!("{}~{}", batch.username, batch.log.author.short());
            let text = format!("{} {} {name}: {line}", batch.timestamp, batch.log.target);
            lines.push((key, text));
            i += 1;
        });
    }
    lines.sort();
    lines.into_iter().map(|(_, text)| text).collect()
}

/// A generator without any state but its seed (xorshift).
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// What several said at once, in two rooms: batches whose lines lie between each other's.
fn talk(seed: &mut u64) -> Vec<Batch> {
    let mut authors = [
        Author::new("alice", "general", 1),
        Author::new("alice", "ops", 1),
        Author::new("alice", "general", 2),
        Author::new("bob", "general", 3),
        Author::new("carol", "general", 4),
        Author::new("carol", "ops", 4),
    ];
    let mut clocks = [1, 1, 40, 1, 20, 20];
    let mut batches = Vec::new();
    for n in 0..120 {
        let who = random(seed) as usize % authors.len();
        let count = 1 + random(seed) % 9 * (random(seed) % 2);
        // Carol has one clock in both rooms, and Alice too: what they say stands at two numbers.
        let lamport = match who {
            0 | 1 => clocks[0].max(clocks[1]),
            4 | 5 => clocks[4].max(clocks[5]),
            _ => clocks[who],
        };
        let lines: Vec<String> = (0..count).map(|i| format!("{n}.{i}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        batches.push(authors[who].say(lamport, &lines));
        clocks[who] = lamport + count + random(seed) % 3;
    }
    batches
}

/// The batches in another order, in which each log's still follow each other.
fn another_way(batches: &[Batch], seed: &mut u64) -> Vec<Batch> {
    let mut logs: Vec<(LogId, Vec<Batch>)> = Vec::new();
    for batch in batches.iter().rev() {
        match logs.iter_mut().find(|(log, _)| *log == batch.log) {
            Some((_, all)) => all.push(batch.clone()),
            None => logs.push((batch.log.clone(), vec![batch.clone()])),
        }
    }
    let mut order = Vec::new();
    let at_once = random(seed) & 1 == 0;
    while let Some(i) = (!logs.is_empty()).then(|| random(seed) as usize % logs.len()) {
        // One after the other, or whole logs: as after a long absence.
        let take = if at_once { 1 } else { logs[i].1.len() };
        for _ in 0..take {
            order.extend(logs[i].1.pop());
        }
        logs.retain(|(_, all)| !all.is_empty());
    }
    order
}

#[test]
fn the_same_lines_are_the_same_bytes_whatever_way_they_came() {
    let seed = &mut 88_172_645_463_325_252;
    for _ in 0..4 {
        let batches = talk(seed);
        let expected = by_the_rule(&batches);
        for _ in 0..2 {
            let folder = TempDir::new();
            stored(&folder, &another_way(&batches, seed));
            assert!(folder.segments("#general").len() > 3);
            assert_eq!(all(&folder), expected);
            for lines in (1..expected.len() + 2).step_by(41) {
                let from = expected.len().saturating_sub(lines);
                assert_eq!(last(&folder, lines as u64), expected[from..], "{lines}");
            }
        }
    }
}

#[test]
fn memory_is_read_like_a_disk() {
    let seed = &mut 4_101_842_887_655_102_017;
    let batches = talk(seed);
    let own = Identity::from_seed(&[1; 32]).id();
    let mut store = Store::in_memory(own, NET, StoreLimits::default());
    save(&mut store, &another_way(&batches, seed));
    let (archive, network) = store.history_source();
    assert_eq!(network, NET);
    let expected = by_the_rule(&batches);
    assert_eq!(shown(&archive, &HistoryQuery::default(), pipe()), expected);
}

#[test]
fn a_gap_is_shown_until_its_lines_turn_up() {
    let mut bob = Author::new("bob", "general", 1);
    let mut carol = Author::new("carol", "general", 1);
    // Below what is held there are older lines, and no gap.
    bob.say(1, &["never held"]);
    let mut batches = vec![bob.say(2, &["one"]), carol.say(3, &["two"])];
    let missing = [bob.say(4, &["three", "four"]), bob.say(6, &["five"])];
    batches.push(bob.say(7, &["six"]));
    let folder = TempDir::new();
    stored(&folder, &batches);
    let (bob, bob_id) = (bob.short(), bob.log.author);
    let gap = format!("1970-01-01T00:00:07.000Z #general - 3 lines of {bob} are missing");
    let lines = all(&folder);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(lines[2], gap);
    assert!(lines[3].ends_with(": six"));
    // Chat lines are counted; a gap before the first of them is none between two.
    assert_eq!(last(&folder, 1), lines[3..]);
    assert_eq!(last(&folder, 2), lines[1..]);
    let since = |ms| HistoryQuery {
        since: Some(WallTime(ms)),
        ..HistoryQuery::default()
    };
    let archive = archive(&folder);
    assert_eq!(shown(&archive, &since(6_500), pipe()), lines[2..]);
    assert!(shown(&archive, &since(7_001), pipe()).is_empty());
    let json = shown(&archive, &HistoryQuery::default(), Renderer::json());
    let form = r##"{"type":"gap","target":"#general","sender":"ID","incarnation":"0000000000000001","from":3,"to":5}"##;
    let id = batches[0].log.author.to_string();
    assert_eq!(json[2], form.replace("ID", &id));

    // A part of them, and then all, each later than what follows.
    stored(&folder, &missing[1..]);
    let lines = all(&folder);
    let gap = format!("1970-01-01T00:00:06.000Z #general - 2 lines of {bob} are missing");
    assert_eq!(lines[2], gap, "{lines:#?}");
    stored(&folder, &missing[..1]);
    // A start cuts off what does not hold, and this holds.
    let (room, limits) = (Part::from(&Room::general()), StoreLimits::default());
    for clean in [false, true] {
        let mut store = Store::open(&folder.0, NET, bob_id, clean, limits).unwrap();
        let ranges = store.open_folder(&room).unwrap();
        assert!(ranges.iter().any(|range| range.high == 6));
    }
    let lines = all(&folder);
    assert_eq!(said(&lines), ["one", "two", "three", "four", "five", "six"]);
    assert_eq!(lines.len(), 6);

    // What was stored a second time is there once.
    let mut again = Vec::new();
    for batch in batches.iter().chain(&missing) {
        batch.write_stored(LocalFields::default(), &mut again);
    }
    append(&folder.segments("#general")[0], &again);
    assert_eq!(all(&folder), lines);
    for count in 1..9 {
        let from = lines.len().saturating_sub(count);
        assert_eq!(last(&folder, count as u64), lines[from..], "{count}");
    }
}

#[test]
fn one_missing_line_is_not_two() {
    let mut bob = Author::new("bob", "general", 1);
    let batches = [1, 2, 3].map(|n| bob.say(n, &["x"]));
    let folder = TempDir::new();
    stored(&folder, [&batches[0], &batches[2]]);
    assert!(all(&folder)[1].ends_with(&format!(" - 1 line of {} is missing", bob.short())));
}

#[test]
fn what_comes_last_shows_its_gaps_like_the_whole() {
    // The line before the gap lies far below the last lines, in segments that need not be read for them.
    let mut bob = Author::new("bob", "general", 1);
    let mut carol = Author::new("carol", "general", 1);
    let first = bob.say(1, &["first"]);
    bob.say(2, &["lost"]);
    let mut batches = vec![first];
    for n in 0..60 {
        batches.push(carol.say(10 + n, &[&format!("{n} {}", "x".repeat(100))]));
    }
    batches.push(bob.say(100, &["back"]));
    batches.push(carol.say(101, &["welcome"]));
    let folder = TempDir::new();
    stored(&folder, &batches);
    let lines = all(&folder);
    assert!(folder.segments("#general").len() > 4);
    assert!(lines[lines.len() - 3].contains(" - 1 line of bob~"));
    for count in 3..40 {
        let from = lines.len() - 1 - count;
        assert_eq!(last(&folder, count as u64), lines[from..], "{count}");
    }
}

#[test]
fn what_nobody_signed_is_not_shown() {
    let mut bob = Author::new("bob", "general", 1);
    let batches: Vec<Batch> = (1..60)
        .map(|n| bob.say(n, &[&format!("good {n}")]))
        .collect();
    let folder = TempDir::new();
    stored(&folder, &batches);
    let before = all(&folder);
    assert_eq!(before.len(), 59);
    let segments = folder.segments("#general");
    // In the middle of a log, at its end, and a torn line behind it.
    for (segment, good) in [(1, "good 12"), (segments.len() - 1, "good 59")] {
        let path = segments.iter().skip(segment).find_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.contains(&format!("\"{good}\""))
                .then_some((path, text))
        });
        let (path, text) = path.unwrap_or_else(|| {
            let path = segments.iter().find(|path| {
                fs::read_to_string(path)
                    .unwrap()
                    .contains(&format!("\"{good}\""))
            });
            let path = path.unwrap();
            (path, fs::read_to_string(path).unwrap())
        });
        fs::write(path, text.replace(good, "evil 00")).unwrap();
    }
    append(segments.last().unwrap(), &batches[0].as_bytes()[..50]);
    let lines = all(&folder);
    let said = said(&lines);
    assert!(
        said.iter().all(|line| line.starts_with("good ")),
        "{said:?}"
    );
    assert_eq!(said.len(), 57);
    // What was there and does not hold is missing.
    assert_eq!(lines.len(), 58, "{lines:#?}");

    // Of another network, of another room, of no room, and nothing at all.
    let folder = TempDir::new();
    stored(&folder, &batches[..2]);
    let path = folder.segments("#general").remove(0);
    let mut foreign = Author::new("carol", "general", 1);
    let draft = foreign.say(5, &["elsewhere"]);
    let other = NetworkTag([1; 32]);
    let mut text = Lines::default();
    text.push(b"elsewhere").unwrap();
    let of_other = Batch::sign(
        &foreign.identity,
        &other,
        UnsignedBatch {
            log: draft.log.clone(),
            username: draft.username.clone(),
            sequence: 1,
            lamport: 5,
            timestamp: WallTime(0),
            previous: None,
            action: false,
            lines: &text,
            sealed: None,
        },
    );
    let mut line = Vec::new();
    of_other.write_stored(LocalFields::default(), &mut line);
    append(&path, &line);
    line.clear();
    Author::new("carol", "ops", 1)
        .say(5, &["in #ops"])
        .write_stored(LocalFields::default(), &mut line);
    append(&path, &line);
    append(&path, b"\n{}\nnonsense\n\xff\xfe\n{\"type\":\"chat\"}\n");
    for name in ["ops", "@", "#Ops", "#a b"] {
        fs::create_dir(folder.0.join("open").join(name)).unwrap();
        fs::write(
            folder.0.join("open").join(name).join("000001.ndjson"),
            &line,
        )
        .unwrap();
    }
    fs::write(folder.0.join("open/#file"), "x").unwrap();
    assert_eq!(said_of(&folder), ["good 1", "good 2"]);
}

fn said_of(folder: &TempDir) -> Vec<String> {
    let lines = all(folder);
    said(&lines).into_iter().map(str::to_owned).collect()
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn rooms_times_and_texts_are_picked() {
    let mut alice = Author::new("alice", "general", 1);
    let mut ops = Author::new("alice", "ops", 1);
    let batches = [
        alice.say(1, &["Grüße an ALLE", "two"]),
        ops.say(3, &["in ops"]),
        alice.say(4, &["GRÜSSE, all", "four"]),
    ];
    let folder = TempDir::new();
    stored(&folder, &batches);
    let picked = |query: HistoryQuery| {
        let lines = shown(&archive(&folder), &query, pipe());
        said(&lines)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let room = |name: &str| HistoryQuery {
        folders: vec![(&Room::new(name).unwrap()).into()],
        ..HistoryQuery::default()
    };
    assert_eq!(picked(room("ops")), ["in ops"]);
    assert_eq!(picked(room("general")).len(), 4);
    assert!(picked(room("nowhere")).is_empty());
    let search = |text: &str, last| HistoryQuery {
        search: Some(text.into()),
        limit: last,
        ..HistoryQuery::default()
    };
    assert_eq!(
        picked(search("all", None)),
        ["Grüße an ALLE", "GRÜSSE, all"]
    );
    assert_eq!(picked(search("all", Some(1))), ["GRÜSSE, all"]);
    assert_eq!(picked(search("GRÜ", None)).len(), 2);
    assert!(picked(search("nothing", None)).is_empty());
    let since = |ms| HistoryQuery {
        since: Some(WallTime(ms)),
        ..HistoryQuery::default()
    };
    assert_eq!(picked(since(3_000)), ["in ops", "GRÜSSE, all", "four"]);
    let both = HistoryQuery {
        limit: Some(2),
        ..since(3_000)
    };
    assert_eq!(picked(both), ["GRÜSSE, all", "four"]);
    let json = shown(&archive(&folder), &room("ops"), Renderer::json());
    let id = batches[0].log.author;
    assert_eq!(
        json,
        [format!(
            r##"{{"type":"chat","timestamp":"1970-01-01T00:00:03.000Z","target":"#ops","sender":"{id}","username":"alice","name":"alice~{}","incarnation":"0000000000000001","sequence":1,"lamport":3,"content":"in ops"}}"##,
            id.short()
        )]
    );
    let json = shown(&archive(&folder), &search("four", None), Renderer::json());
    assert!(json[0].contains(r#""sequence":4,"lamport":5,"content":"four"}"#));
}

#[test]
fn controls_act_on_nobody() {
    let mut eve = Author::new("eve", "general", 1);
    let folder = TempDir::new();
    stored(&folder, &[eve.say(1, &["a\u{1b}[2J\u{202e}b\t"])]);
    assert!(all(&folder)[0].ends_with(": a␛[2J\u{fffd}b\t"));
    let json = shown(
        &archive(&folder),
        &HistoryQuery::default(),
        Renderer::json(),
    );
    assert!(json[0].ends_with(r#""content":"a\u001b[2J\u202eb\t"}"#));
}

#[test]
fn segments_that_go_while_they_are_read_are_no_obstacle() {
    let mut bob = Author::new("bob", "general", 1);
    let long = "x".repeat(1000);
    let batches: Vec<Batch> = (1..400)
        .map(|n| bob.say(n, &[&format!("{n} {long}")]))
        .collect();
    let folder = TempDir::new();
    stored(&folder, &batches);
    let segments = folder.segments("#general");
    assert!(segments.len() > 60);
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut take = |out: &mut Vec<u8>| {
        if pieces.is_empty() {
            for path in segments.iter().skip(1).step_by(2) {
                fs::remove_file(path).unwrap();
            }
        }
        pieces.push(std::mem::take(out));
        io::Result::Ok(())
    };
    run_query(
        &archive(&folder),
        NET,
        &HistoryQuery::default(),
        &mut pipe(),
        WallTime(0),
        &mut take,
    )
    .unwrap();
    let text = String::from_utf8(pieces.concat()).unwrap();
    let lines = text.lines().filter(|line| line.contains(": ")).count();
    assert!((200..399).contains(&lines), "{lines}");
    assert!(text.contains(" are missing\n"));
}

#[test]
fn a_folder_that_is_not_there_holds_nothing() {
    let folder = TempDir::new();
    assert!(all(&folder).is_empty());
    assert!(last(&folder, 5).is_empty());
}
