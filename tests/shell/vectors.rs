//! The bytes of the files in a state directory, pinned by the files in `tests/vectors`. The whole
//! directory `tests/vectors/state` is written anew and compared, and read.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_layout::Proof;
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::load::Position;
use p2pchat::base::event::output::KnownPeer;
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::line_key::LineKey;
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::base::request_id::RequestId;
use p2pchat::base::table::SortedMap;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::{ReaderStart, WallTime};
use p2pchat::base::trust::level::TrustLevel;
use p2pchat::node::config::ResumeState;
use p2pchat::node::replication::receipts::receipt_record::{CARRY_DURATION_MS, ReceiptRecord};
use p2pchat::node::standing::{Rank, Standing};
use p2pchat::shell::config::options::{Options, parse};
use p2pchat::shell::os::clock::Moment;
use p2pchat::shell::state::core_files::CoreFile;
use p2pchat::shell::state::ignored_file::{read_ignored, write_ignored};
use p2pchat::shell::state::known_peers_file::{
    KNOWN_PEERS_FILE_MAX_BYTES, append_known_peer, edit_known_peers, read_and_compact_known_peers,
    read_known_peers,
};
use p2pchat::shell::state::secret_file;
use p2pchat::shell::state::state_dir::{OpenedStateDir, StateDir, history_dir, load_own_identity};
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::reader::PrintedBacklog;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::store::Store;
use p2pchat::wire::code::ConnectionCode;

use crate::folders::TempDir;
use crate::vector_files::{Vector, path, shown_lines, vector, vectors};

/// A segment of the vectors is full at this size, so that few lines make several segments.
const SEGMENT_BYTES: u64 = 1024;
/// The incarnation of alice's present run.
const INCARNATION: u64 = 0xfedc_ba98_7654_3210;

fn id(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).id()
}

/// Alice, whose state directory it is.
fn alice() -> PeerId {
    id(1)
}

fn time(text: &str) -> WallTime {
    WallTime::parse(text).expect("a time")
}

/// A batch that is stored in the directory, and the local fields that are stored with it.
struct Stored {
    network: NetworkTag,
    batch: Batch,
    local: LocalFields,
}

impl Stored {
    fn new(vector: &Vector, received: &str, flags: [bool; 3]) -> Stored {
        let [late, before_start, backfill] = flags;
        Stored {
            network: vector.network(),
            batch: vector.sign(vector.get("sealed")),
            local: LocalFields {
                published: None,
                received: time(received),
                late,
                before_start,
                backfill,
            },
        }
    }
}

/// The batches of the directory, in the order of arrival.
fn stored_batches() -> Vec<Stored> {
    let rooms = vectors("batch_room.txt");
    let direct = vectors("batch_direct.txt");
    let republishing = vector("batch_republishing.txt");
    let mut carried = Stored::new(&direct[1], "2026-11-21T10:31:04.203Z", [true, false, false]);
    let mut to_bob = Stored::new(&direct[0], "2026-11-21T10:31:04.127Z", [false; 3]);
    let mut to_ops = Stored::new(&rooms[3], "2026-11-21T10:31:04.125Z", [false; 3]);
    to_bob.batch.request = RequestId::parse(r#""0011223344556677-8""#);
    to_ops.batch.request = RequestId::parse("9");
    // A carrier can't open what it carries.
    let sealed = carried.batch.as_bytes().to_vec();
    carried.batch = Batch::parse(sealed, &carried.network).expect("a batch");
    carried.batch.proof = Proof::Signature;
    vec![
        Stored::new(&rooms[0], "2026-11-21T10:31:04.123Z", [false; 3]),
        Stored::new(&rooms[2], "2026-11-21T10:31:04.201Z", [true; 3]),
        Stored::new(&rooms[1], "2026-11-21T10:31:04.124Z", [false; 3]),
        Stored::new(&republishing, "2026-11-21T10:31:04.126Z", [false; 3]),
        to_bob,
        carried,
        to_ops,
    ]
}

fn folder_of(batch: &Batch) -> FolderName {
    FolderName::for_log(&batch.log.target, &batch.log.author, &alice())
}

/// A replication state that records the range of each saved log. All lines wait.
#[derive(Default)]
struct Ranges(RefCell<BTreeMap<LogId, LogRange>>);

impl Ranges {
    fn add(&self, batch: &Batch) {
        let mut ranges = self.0.borrow_mut();
        let range = ranges.entry(batch.log.clone());
        range
            .and_modify(|range| range.extend(batch))
            .or_insert_with(|| LogRange::begin(batch, true));
    }
}

impl ReplicationState for Ranges {
    fn frontier(&self, folder: &FolderName) -> Vec<Arc<LogRange>> {
        let ranges = self.0.borrow();
        let in_folder = |range: &&LogRange| {
            FolderName::for_log(&range.log.target, &range.log.author, &alice()) == *folder
        };
        let ranges = ranges.values().filter(in_folder);
        ranges.cloned().map(Arc::new).collect()
    }
    fn retention_floor(&self, _: &LogId) -> u64 {
        u64::MAX
    }
    fn is_acknowledged(&self, _: &FolderName) -> bool {
        false
    }
    fn standing(&self, _: &FolderName, _: &PeerId) -> Standing {
        Standing::of_rank(Rank::Known)
    }
}

fn open_store(directory: &Path, network: NetworkTag) -> Store {
    let limits = StoreLimits {
        segment_bytes: SEGMENT_BYTES,
        total_bytes: Some(u64::MAX),
        ..StoreLimits::default()
    };
    Store::open(&history_dir(directory), network, alice(), limits).expect("a store")
}

/// The networks and folders of the directory.
fn folders() -> Vec<(NetworkTag, FolderName)> {
    let mut folders: Vec<(NetworkTag, FolderName)> = Vec::new();
    for stored in stored_batches() {
        let folder = (stored.network, folder_of(&stored.batch));
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// When alice first came into #general.
fn reader_began() -> Moment {
    Moment {
        wall: time("2026-11-21T10:31:04.123Z"),
        boot_id: "6f0c5a0e-3c1b-4d7e-9a55-2b1f0c9d8e7a".to_owned(),
        boot_ms: 86_400,
    }
}

fn printed() -> Position {
    Position {
        segment: 2,
        offset: 700,
        generation: 1,
    }
}

/// A backlog of #general, of which two batches are printed beyond [`printed`].
fn printed_backlog() -> PrintedBacklog {
    let batches = stored_batches();
    PrintedBacklog {
        folder_end: Position {
            segment: 3,
            offset: 1200,
            generation: 1,
        },
        first: LineKey::in_batch(&batches[2].batch, 0),
        end: LineKey::in_batch(&batches[3].batch, 1),
    }
}

fn known_peers() -> [KnownPeer; 3] {
    let known = |name, id, first_seen, trust| KnownPeer {
        nick: Nick::new(name).expect("a name"),
        id,
        first_seen: time(first_seen),
        trust,
    };
    [
        known("bob", id(2), "2026-11-21T10:31:04.123Z", TrustLevel::Bound),
        known("carol", id(3), "2026-11-21T10:31:05.000Z", TrustLevel::Seen),
        known(
            "dave",
            id(4),
            "2026-11-21T10:31:06.000Z",
            TrustLevel::Banned,
        ),
    ]
}

fn receipts() -> Vec<ReceiptRecord> {
    let record = |recipient, author, incarnation, acked_up_to, carry_left_ms| ReceiptRecord {
        log: LogId {
            target: Target::Peer(recipient),
            author,
            incarnation,
        },
        acked_up_to,
        carry_left_ms,
    };
    vec![
        record(id(2), id(1), INCARNATION, 2, 0),
        record(id(3), id(2), 7, 0, CARRY_DURATION_MS),
        record(id(3), id(2), 8, 5, -60_000),
    ]
}

/// What alice says about herself. The text is pinned by `profile_reply.txt`.
const PROFILE: &str = concat!(
    r#"{"type":"profile_reply","fields":[["status","busy"]],"avatar_type":"image/png","#,
    r#""avatar_bytes":3,"avatar":"iVBO"}"#,
    "\n"
);

/// The addresses at which bob and carol were linked.
fn addresses() -> String {
    let code = |peer, address: &str| ConnectionCode::new(peer, &[address.parse().expect("one")]);
    let bobs = code(id(2), "192.168.4.2:9999");
    let carols = code(id(3), "[2001:db8::7]:40123");
    format!("{bobs}\n{carols}\n")
}

fn resume_state() -> ResumeState {
    let mut heads = SortedMap::new();
    for stored in stored_batches() {
        let Stored { batch, network, .. } = stored;
        let is_own = batch.log.author == alice() && batch.log.incarnation == INCARNATION;
        if is_own && network == NetworkTag::OPEN {
            let head = (batch.last_sequence(), batch.hash);
            heads.insert(batch.log.target, head);
        }
    }
    ResumeState {
        incarnation: INCARNATION,
        heads,
    }
}

fn options_for(directory: &Path) -> Options {
    parse(vec!["--dir".into(), directory.into()], &|_| None, None).expect("options")
}

fn open_directory(directory: &Path) -> OpenedStateDir {
    StateDir::open(&options_for(directory)).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Writes the directory as programs of alice would.
fn write_directory(directory: &Path) {
    fs::copy(path("state/identity"), directory.join("identity")).expect("an identity");
    let mut state = open_directory(directory).state_dir;
    for known in known_peers() {
        assert!(state.append_known_peer(&known).expect("written"));
    }
    let mut text = String::new();
    receipts().iter().for_each(|record| record.write(&mut text));
    state
        .write_core_file(CoreFile::Receipts, &text)
        .expect("written");
    let written = state.write_core_file(CoreFile::Addresses(NetworkTag::OPEN), &addresses());
    written.expect("written");
    let written = state.write_core_file(CoreFile::Profile, PROFILE);
    written.expect("written");
    state.write_clean_marker(&resume_state()).expect("written");
    let ranges = Ranges::default();
    for network in [NetworkTag::OPEN, vector("network_keys.txt").network()] {
        let mut store = open_store(directory, network);
        for stored in stored_batches() {
            if stored.network == network {
                let folder = folder_of(&stored.batch);
                store.open_folder(&folder).expect("a folder");
                store.save(&stored.batch, stored.local).expect("saved");
                ranges.add(&stored.batch);
                store.enforce_limits(&ranges).expect("within the limits");
            }
        }
        if network == NetworkTag::OPEN {
            let general = FolderName::from(&Room::general());
            store.begin_reader(&general, None, &reader_began());
            store
                .record_printed(&general, None, printed(), Some(printed_backlog()))
                .expect("printed");
            let backup = backup();
            store.begin_reader(&general, Some(&backup), &reader_began());
            let printed = store.record_printed(&general, Some(&backup), printed(), None);
            printed.expect("printed");
        }
    }
}

/// The name of a reader beside the directory's own.
fn backup() -> Nick {
    Nick::new("backup").expect("a name")
}

/// The contents of all files below a directory, by their paths in it. The marker of a clean end
/// contains the creation time of its file, which is replaced.
fn contents(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let mut text = fs::read_to_string(&path).expect("text");
            let relative = path.strip_prefix(directory).expect("below");
            if relative == Path::new("clean") {
                text = with_creation_time(&text, 1_795_257_064_123_456_789);
            }
            files.insert(relative.to_owned(), text);
        }
    }
    files
}

/// The marker of a clean end, with another creation time.
fn with_creation_time(text: &str, created_ns: u128) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert!(lines[1].parse::<u64>().is_ok());
    lines[1] = created_ns.to_string();
    lines.join("\n") + "\n"
}

/// Copies the directory of the vectors. The marker of a clean end gets the creation time of the
/// copy.
fn copy_directory(to: &Path) {
    copy_vector_directory("state", to);
}

fn copy_vector_directory(name: &str, to: &Path) {
    for (relative, text) in contents(&path(name)) {
        let file = to.join(&relative);
        fs::create_dir_all(file.parent().expect("a folder")).expect("created");
        fs::write(&file, &text).expect("written");
        if relative == Path::new("clean") {
            let created = fs::metadata(&file).and_then(|meta| meta.created());
            let since = created
                .ok()
                .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let created_ns = since.map_or(0, |since| since.as_nanos());
            fs::write(&file, with_creation_time(&text, created_ns)).expect("written");
        }
    }
}

/// Checks that a directory has the same files as that of the vectors, byte by byte.
fn assert_directory(directory: &Path, vectors: &str) {
    let (actual, expected) = (contents(directory), contents(&path(vectors)));
    let names = |files: &BTreeMap<PathBuf, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&actual), names(&expected));
    for (file, text) in &expected {
        assert_eq!(&actual[file], text, "{}", file.display());
    }
}

#[test]
fn a_state_directory_is_written() {
    let folder = TempDir::new();
    write_directory(&folder.0);
    assert_directory(&folder.0, "state");
}

/// A start moves damaged lines to a file, cuts off a torn line, and restores a damaged line end. Of
/// damaged lines that the reader has printed, later starts know the parts.
#[test]
fn a_damaged_directory_is_repaired() {
    let folder = TempDir::new();
    copy_vector_directory("damaged_state", &folder.0);
    let mut store = open_store(&folder.0, NetworkTag::OPEN);
    for (network, name) in folders() {
        if network == NetworkTag::OPEN {
            store.open_folder(&name).expect("a folder");
        }
    }
    assert_directory(&folder.0, "repaired_state");
    drop(store);
    let general = FolderName::from(&Room::general());
    let mut store = open_store(&folder.0, NetworkTag::OPEN);
    store.open_folder(&general).expect("a folder");
    assert_eq!(store.take_printed_parts(&general).len(), 2);
}

#[test]
fn a_state_directory_is_read() {
    let folder = TempDir::new();
    copy_directory(&folder.0);
    let opened = open_directory(&folder.0);
    assert!(
        opened
            .warnings
            .iter()
            .all(|warning| warning.contains("readable by others"))
    );
    assert_eq!(opened.identity.id(), alice());
    assert_eq!(opened.known_peers, known_peers());
    let mut state = opened.state_dir;
    let marker = state.take_clean_marker().expect("a marker");
    assert_eq!(marker, Some(resume_state()));
    let of_network = |network| state.read_core_file(CoreFile::Addresses(network));
    assert_eq!(of_network(NetworkTag::OPEN), addresses());
    assert_eq!(of_network(vector("network_keys.txt").network()), "");
    assert_eq!(state.read_core_file(CoreFile::Profile), PROFILE);
    let text = state.read_core_file(CoreFile::Receipts);
    let read: Vec<ReceiptRecord> = text.lines().filter_map(ReceiptRecord::parse).collect();
    assert_eq!(read.len(), receipts().len());
    for (read, written) in read.iter().zip(receipts()) {
        assert_eq!(read.log, written.log);
        assert_eq!(read.acked_up_to, written.acked_up_to);
        assert_eq!(read.carry_left_ms, written.carry_left_ms);
    }
}

#[test]
fn the_history_of_a_state_directory_is_read() {
    let folder = TempDir::new();
    copy_directory(&folder.0);
    read_history(&folder);
}

/// The lines that earlier programs stored have no checksum.
#[test]
fn the_directory_of_an_earlier_version_is_read_and_continued() {
    let folder = TempDir::new();
    copy_vector_directory("earlier_state", &folder.0);
    read_history(&folder);
    let mut state = open_directory(&folder.0).state_dir;
    let marker = state.take_clean_marker().expect("a marker");
    assert_eq!(marker, Some(resume_state()));
    // The next line is stored behind the old ones, and the next start reads both.
    let general = FolderName::from(&Room::general());
    let mut store = open_store(&folder.0, NetworkTag::OPEN);
    let ranges = store.open_folder(&general).expect("a folder");
    let own = |range: &&Arc<LogRange>| range.log.author == alice();
    let head = ranges.iter().find(own).expect("a log of alice");
    let next = Batch::sign(
        &Identity::from_seed(&[1; 32]),
        &NetworkTag::OPEN,
        UnsignedBatch {
            log: head.log.clone(),
            username: Nick::new("alice").expect("a name"),
            sequence: head.high + 1,
            lamport: head.lamport + 1,
            timestamp: WallTime(1_000),
            run: 1,
            uptime: 0,
            previous: Some(head.hash),
            form: LineForm::Text,
            republishes: head.republishes.as_deref().copied(),
            lines: &vectors("batch_room.txt")[0].lines(),
            sealed: None,
            salt: 9,
        },
    );
    store.save(&next, LocalFields::default()).expect("saved");
    drop(store);
    let mut store = open_store(&folder.0, NetworkTag::OPEN);
    let ranges = store.open_folder(&general).expect("a folder");
    let range = ranges.iter().find(|range| range.log == next.log);
    assert_eq!(range.map(|range| range.high), Some(next.last_sequence()));
    assert_eq!(store.take_damage(), []);
}

/// Reads the batches of all folders, and compares them with those that were stored.
fn read_history(folder: &TempDir) {
    let core = Ranges::default();
    for (network, name) in folders() {
        let mut store = open_store(&folder.0, network);
        let of_folder =
            |stored: &Stored| stored.network == network && folder_of(&stored.batch) == name;
        let mut expected = stored_batches();
        expected.retain(of_folder);
        expected.iter().for_each(|stored| core.add(&stored.batch));
        let ranges = store.open_folder(&name).expect("a folder");
        let of_network = |range: &Arc<LogRange>| expected.iter().any(|s| s.batch.log == range.log);
        let mut frontier = core.frontier(&name);
        frontier.retain(of_network);
        if name.as_str() == "#ops" {
            // The only log that no frontier line names: its batches tell where news begin.
            let range = Arc::make_mut(&mut frontier[0]);
            range.news_from = Some(range.lamport);
        }
        assert_eq!(ranges.as_slice(), frontier, "{}", name.as_str());
        let mut at = Position::default();
        let read = store
            .read_from(&name, &mut at, usize::MAX)
            .expect("batches");
        assert_eq!(read.len(), expected.len());
        for (read, stored) in read.iter().zip(&expected) {
            assert_eq!(read.batch.as_bytes(), stored.batch.as_bytes());
            assert_eq!(read.local, stored.local);
            assert_eq!(read.batch.request, stored.batch.request);
            assert_eq!(shown_lines(&read.batch), shown_lines(&stored.batch));
        }
    }
}

#[test]
fn reader_and_waiting_lines_are_read() {
    let folder = TempDir::new();
    copy_directory(&folder.0);
    let mut store = open_store(&folder.0, NetworkTag::OPEN);
    assert_eq!(store.rooms_with_unacknowledged(), [Room::general()]);
    let general = FolderName::from(&Room::general());
    store.open_folder(&general).expect("a folder");
    assert_eq!(store.printed_position(&general, None), Some(printed()));
    assert_eq!(store.printed_backlogs(&general, None), [printed_backlog()]);
    assert_eq!(
        store.printed_position(&general, Some(&backup())),
        Some(printed())
    );
    assert_eq!(store.printed_backlogs(&general, Some(&backup())), []);
    let mut started = reader_began();
    started.boot_ms += 500;
    let start = store.reader_starts(&general, &started).first().copied();
    assert_eq!(start, Some(ReaderStart::SameBoot { at_ms: -500 }));
    let start = store
        .reader_starts(&general, &Moment::default())
        .first()
        .copied();
    let wall = reader_began().wall;
    assert_eq!(start, Some(ReaderStart::EarlierBoot { wall }));
}

/// A new identity is random, so its form is compared.
#[test]
fn a_new_identity_has_the_form_of_the_vector() {
    let folder = TempDir::new();
    let id = open_directory(&folder.0).identity.id();
    let words = |path: &Path| {
        let text = fs::read_to_string(path).expect("an identity");
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        assert_eq!(words.len(), 3);
        words
    };
    let (new, expected) = (
        words(&folder.0.join("identity")),
        words(&path("state/identity")),
    );
    assert_eq!(new[0], expected[0]);
    assert_eq!(new[1].len(), expected[1].len());
    assert_eq!(new[2], format!("{id}\n"));
    let read = load_own_identity(&options_for(&folder.0), &mut Vec::new());
    assert_eq!(read.map(|identity| identity.id()).ok(), Some(id));
}

/// Users edit the file: comments and a last line without an end are allowed.
#[test]
fn known_peers_are_appended_to_an_edited_file() {
    let folder = TempDir::new();
    let edited = folder.0.join("known_peers");
    fs::write(&edited, "# friends").expect("written");
    for known in known_peers() {
        assert!(append_known_peer(&folder.0, &known).expect("written"));
    }
    let expected = fs::read_to_string(path("state/known_peers"));
    let text = fs::read_to_string(&edited).expect("text");
    assert_eq!(text, format!("# friends\n{}", expected.expect("text")));
    let mut warnings = Vec::new();
    let read = read_known_peers(&folder.0, &mut warnings).expect("known peers");
    assert_eq!((read, warnings), (known_peers().to_vec(), Vec::new()));
}

/// A verified name has one more word. An edit changes only the lines that it means.
#[test]
fn known_peers_are_edited() {
    let folder = TempDir::new();
    let file = folder.0.join("known_peers");
    let peers = fs::read_to_string(path("state/known_peers")).expect("text");
    fs::write(&file, format!("# friends\n{peers}no peer\n{peers}")).expect("written");
    let [bob, carol, dave] = known_peers();
    let verified = KnownPeer {
        trust: TrustLevel::Verified,
        ..bob.clone()
    };
    let change = |known: &KnownPeer| match *known == bob {
        true => Some(verified.clone()),
        false => Some(known.clone()).filter(|known| *known == dave),
    };
    assert!(edit_known_peers(&folder.0, &change, Some(&carol)).expect("written"));
    let lines: Vec<&str> = peers.split_inclusive('\n').collect();
    let [bobs, carols, daves] = lines[..] else {
        panic!("three lines, not {lines:?}");
    };
    let verified_line = format!("{} verified\n", bobs.trim_end());
    let expected =
        format!("# friends\n{verified_line}{daves}no peer\n{verified_line}{daves}{carols}");
    assert_eq!(fs::read_to_string(&file).expect("text"), expected);
    let read = read_known_peers(&folder.0, &mut Vec::new()).expect("known peers");
    assert_eq!(read, [verified.clone(), dave.clone(), carol.clone()]);

    // A full file is not changed.
    let full = "#\n".repeat(KNOWN_PEERS_FILE_MAX_BYTES as usize / 2);
    fs::write(&file, &full).expect("written");
    assert!(!edit_known_peers(&folder.0, &change, Some(&carol)).expect("unchanged"));
    assert_eq!(
        fs::metadata(&file).expect("a file").len(),
        full.len() as u64
    );
}

/// A start writes a file with many surplus lines anew. All other lines stay.
#[test]
fn known_peers_are_compacted() {
    let folder = TempDir::new();
    let file = folder.0.join("known_peers");
    let peers = fs::read_to_string(path("state/known_peers")).expect("text");
    let first = peers.split_inclusive('\n').next().expect("a line");
    // The longest line that is read, with its line end.
    let comment = format!("#{}\n", "x".repeat(4094));
    let compacted = format!("{comment}no peer\n{peers}");
    let surplus = first.repeat(257);
    fs::write(&file, format!("{compacted}{surplus}")).expect("written");
    let read = read_and_compact_known_peers(&folder.0, &mut Vec::new()).expect("known peers");
    assert_eq!(read, known_peers());
    assert_eq!(fs::read_to_string(&file).expect("text"), compacted);
}

/// `join` writes the secret as `keygen` prints it, with a line end.
#[test]
fn a_secret_file_has_one_line() {
    let folder = TempDir::new();
    let file = folder.0.join("lan.key");
    secret_file::create(&file, b"correct horse battery staple").expect("written");
    let text = fs::read_to_string(&file).expect("text");
    assert_eq!(text, "correct horse battery staple\n");
}

/// The file of the keys whose lines are not printed. Users edit it: comments are passed over.
#[test]
fn ignored_keys_are_written_and_read() {
    let folder = TempDir::new();
    let peer = |name, id| Peer {
        nick: Nick::new(name).expect("a name"),
        id,
    };
    let ignored = [peer("bob", id(2)), peer("carol", id(3))];
    write_ignored(&folder.0, &ignored).expect("written");
    let file = folder.0.join("ignored");
    let text = fs::read_to_string(&file).expect("text");
    assert_eq!(text, format!("bob {}\ncarol {}\n", id(2), id(3)));
    fs::write(&file, format!("# nobody\n{text}")).expect("written");
    assert_eq!(read_ignored(&folder.0).expect("keys"), ignored);
}
