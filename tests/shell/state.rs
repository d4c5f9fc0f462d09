//! The state directory: identity, lock, known peers, clean marker and secret files.
use nix::sys::stat::Mode;
use p2pchat::base::table::SortedMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use p2pchat::base::event::output::KnownPeer;
use p2pchat::base::identity::{Hash, Identity, NetworkTag, PeerId};
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::time::WallTime;
use p2pchat::base::trust::level::TrustLevel;
use p2pchat::node::config::ResumeState;
use p2pchat::node::membership::known_peers::KEYS_PER_NAME_MAX;
use p2pchat::shell::config::failure::Failure;
use p2pchat::shell::config::options::{Options, parse};
use p2pchat::shell::state::core_files::CoreFile;
use p2pchat::shell::state::known_peers_file::{KNOWN_PEERS_FILE_MAX_BYTES, KNOWN_PEERS_MAX};
use p2pchat::shell::state::secret_file::read_secret;
use p2pchat::shell::state::state_dir::{OpenedStateDir, StateDir, load_own_identity};

/// A directory for one test, deleted when this is dropped.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> TestDir {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("state-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        TestDir(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The options of a program with this directory.
fn options_for(directory: &Path) -> Options {
    parse(vec!["--dir".into(), directory.into()], &|_| None, None).unwrap()
}

/// Opens a directory that must be usable.
fn open_state_dir(directory: &Path) -> OpenedStateDir {
    StateDir::open(&options_for(directory)).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The failure of an opening, with this exit status and one line of text.
fn open_failure(directory: &Path, status: u8) -> Failure {
    let failure = StateDir::open(&options_for(directory))
        .err()
        .expect("opened");
    assert_eq!(failure.exit_status.code(), status, "{failure}");
    assert!(!failure.message.chars().any(char::is_control), "{failure}");
    failure
}

/// The id in a directory, read without the lock, or the exit status of the failure.
fn load_identity(directory: &Path) -> Result<PeerId, u8> {
    let identity = load_own_identity(&options_for(directory), &mut Vec::new());
    let status = |failure: Failure| failure.exit_status.code();
    identity.map(|identity| identity.id()).map_err(status)
}

/// The permission bits.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The sorted names of the files in a directory.
fn file_names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The first start creates directory and identity, with modes 0700 and 0600; later starts load it.
#[test]
fn the_identity_is_created_once_and_readable_by_its_owner() {
    let folder = TestDir::new("identity");
    let directory = folder.join("deep/down");
    let first = open_state_dir(&directory).identity.id();
    assert_eq!(
        (mode(&directory), mode(&directory.join("identity"))),
        (0o700, 0o600)
    );
    assert_eq!(file_names(&directory), ["history", "identity", "lock"]);
    let again = open_state_dir(&directory);
    assert_eq!(again.identity.id(), first);
    assert!(again.warnings.is_empty() && again.known_peers.is_empty());
    assert!(
        fs::read_to_string(directory.join("identity"))
            .unwrap()
            .ends_with(&format!(" {first}\n"))
    );
    assert_ne!(open_state_dir(&folder.join("other")).identity.id(), first);
}

/// Programs that start at once in a new directory agree on the identity, and leave no other file.
#[test]
fn concurrent_first_starts_create_one_identity() {
    let folder = TestDir::new("race");
    for round in 0..20 {
        let directory = folder.join(&round.to_string());
        let ids = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| load_identity(&directory).unwrap()))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(file_names(&directory), ["identity"]);
    }
}

/// A program never takes a new identity for a damaged one: status 78, the file untouched.
#[test]
fn a_damaged_identity_is_an_error_and_never_replaced() {
    let folder = TestDir::new("damaged");
    let directory = folder.join("d");
    open_state_dir(&directory);
    let path = directory.join("identity");
    let whole = fs::read_to_string(&path).unwrap();
    let mut other = whole.clone().into_bytes();
    other[30] = if other[30] == b'a' { b'b' } else { b'a' };
    let cases: [Vec<u8>; 7] = [
        Vec::new(),
        whole.as_bytes()[..whole.len() - 1].to_vec(),
        whole.as_bytes()[..40].to_vec(),
        other,
        format!("{whole}{whole}").into_bytes(),
        whole.replace("key-1", "key-2").into_bytes(),
        vec![0xff; 5000],
    ];
    for bytes in cases {
        fs::write(&path, &bytes).unwrap();
        let failure = open_failure(&directory, 78);
        assert!(failure.message.contains("identity"), "{failure}");
        assert_eq!(load_identity(&directory), Err(78));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    open_failure(&directory, 78);
    fs::remove_dir(&path).unwrap();
    symlink("/nowhere/identity", &path).unwrap();
    assert!(
        open_failure(&directory, 78)
            .message
            .contains("leads nowhere")
    );
    fs::remove_file(&path).unwrap();
    fs::write(&path, whole).unwrap();
    open_state_dir(&directory);
}

/// The warning names the remedy.
#[test]
fn an_identity_readable_by_others_gives_a_warning() {
    let folder = TestDir::new("readable");
    open_state_dir(&folder.0);
    for bits in [0o640, 0o604] {
        chmod(&folder.join("identity"), bits);
        let opened = open_state_dir(&folder.0);
        assert_eq!(opened.warnings.len(), 1);
        assert!(
            opened.warnings[0].contains("chmod 600"),
            "{}",
            opened.warnings[0]
        );
    }
}

/// The lock is the kernel's and not the file's; commands that only need the identity still get it.
#[test]
fn a_locked_directory_is_refused_and_a_stale_lock_file_is_not() {
    let folder = TestDir::new("lock");
    fs::write(folder.join("lock"), "left by a crash").unwrap();
    let running = open_state_dir(&folder.0);
    let failure = open_failure(&folder.0, 1);
    assert!(failure.message.contains("--dir") && failure.message.contains("--ephemeral"));
    assert_eq!(load_identity(&folder.0), Ok(running.identity.id()));
    drop(running);
    open_state_dir(&folder.0);
}

/// A file, or a directory that cannot be created, ends the start with status 78.
#[test]
fn an_unusable_directory_is_a_configuration_error() {
    let folder = TestDir::new("unusable");
    fs::write(folder.join("file"), "").unwrap();
    for directory in [
        folder.join("file"),
        folder.join("file/below"),
        PathBuf::from("/proc/p2pchat"),
    ] {
        let failure = open_failure(&directory, 78);
        assert!(failure.message.contains("--dir"), "{failure}");
        assert_eq!(load_identity(&directory), Err(78));
    }
    let directory = folder.join("d");
    fs::create_dir_all(directory.join("known_peers")).unwrap();
    open_failure(&directory, 78);
}

/// `--ephemeral` has an identity of its own in each run, and no directory.
#[test]
fn an_ephemeral_run_writes_no_file() {
    let folder = TestDir::new("ephemeral");
    let env = |name: &str| (name == "P2PCHAT_DIR").then(|| folder.0.clone().into_os_string());
    let options = parse(vec!["--ephemeral".into()], &env, None).unwrap();
    let mut one = StateDir::open(&options).unwrap();
    let two = StateDir::open(&options).unwrap();
    assert_ne!(one.identity.id(), two.identity.id());
    one.state_dir
        .append_known_peer(&known_peer("bob", 1))
        .unwrap();
    one.state_dir
        .write_clean_marker(&ResumeState::default())
        .unwrap();
    assert_eq!(one.state_dir.take_clean_marker().unwrap(), None);
    assert_eq!(one.state_dir.directory(), None);
    assert!(file_names(&folder.0).is_empty());
}

fn known_peer(nick: &str, seed: u8) -> KnownPeer {
    KnownPeer {
        nick: Nick::new(nick).unwrap(),
        id: Identity::from_seed(&[seed; 32]).id(),
        first_seen: WallTime(1_795_256_464_123 + seed as i64),
        trust: TrustLevel::Seen,
    }
}

/// Of several lines about one name and key, a ban counts; else the highest level. Bans are read
/// beyond the bounds, as what is bound.
#[test]
fn a_ban_outweighs_other_lines() {
    let folder = TestDir::new("bans");
    let opened = open_state_dir(&folder.0);
    let (bob, carol) = (known_peer("bob", 2), known_peer("carol", 3));
    let line = |known: &KnownPeer, words: &str| {
        format!("{} {} {} {words}\n", known.nick, known.id, known.first_seen)
    };
    let mut text = line(&bob, "bound verified") + &line(&bob, "banned") + &line(&bob, "bound");
    text += &(line(&carol, "") + &line(&carol, "bound"));
    (0..20).for_each(|n| text += &line(&known_peer("eve", 10 + n), ""));
    text += &line(&known_peer("eve", 40), "banned");
    fs::write(folder.join("known_peers"), &text).unwrap();
    let known = opened.state_dir.read_known_peers(&mut Vec::new()).unwrap();
    let level = |of: &KnownPeer| known.iter().find(|it| it.id == of.id).map(|it| it.trust);
    assert_eq!(level(&bob), Some(TrustLevel::Banned));
    assert_eq!(level(&carol), Some(TrustLevel::Bound));
    assert_eq!(level(&known_peer("eve", 25)), Some(TrustLevel::Seen));
    assert_eq!(level(&known_peer("eve", 26)), None);
    assert_eq!(level(&known_peer("eve", 40)), Some(TrustLevel::Banned));
}

/// Comments, damaged lines and torn ends are skipped with one warning, and never rewritten.
#[test]
fn known_peers_are_stored_one_a_line() {
    let folder = TestDir::new("known");
    let (alice, bob, carol) = (
        known_peer("alice", 1),
        known_peer("bob", 2),
        known_peer("carol", 3),
    );
    let opened = open_state_dir(&folder.0);
    assert!(opened.state_dir.append_known_peer(&alice).unwrap());
    assert!(opened.state_dir.append_known_peer(&bob).unwrap());
    let text = fs::read_to_string(folder.join("known_peers")).unwrap();
    assert_eq!(
        text,
        format!(
            "alice {} {}\nbob {} {}\n",
            alice.id, alice.first_seen, bob.id, bob.first_seen
        )
    );
    drop(opened);
    let opened = open_state_dir(&folder.0);
    assert_eq!(opened.known_peers, [alice.clone(), bob.clone()]);

    // A file as people and crashes leave it.
    let id = alice.id;
    let text = format!(
        "# mine\n\nnobody\nbad~name {id} 2026-11-21T10:31:04Z\nbob notanid 2026-11-21T10:31:04Z\nbob {id} yesterday\n{}\nalice\t{id}  {} verified by hand\nbob {} {}",
        "x".repeat(10_000),
        alice.first_seen,
        bob.id,
        bob.first_seen
    );
    fs::write(folder.join("known_peers"), &text).unwrap();
    let mut warnings = Vec::new();
    assert_eq!(
        opened.state_dir.read_known_peers(&mut warnings).unwrap(),
        [alice.clone(), bob.clone()]
    );
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains(": 5 lines") && warnings[0].ends_with("line 3"),
        "{}",
        warnings[0]
    );
    opened.state_dir.append_known_peer(&carol).unwrap();
    assert!(
        fs::read_to_string(folder.join("known_peers"))
            .unwrap()
            .starts_with(&format!("{text}\ncarol "))
    );
    assert_eq!(
        opened.state_dir.read_known_peers(&mut Vec::new()).unwrap(),
        [alice, bob, carol]
    );
}

/// A line of `known_peers` about throwaway identity `n`.
fn throwaway_line(name: &str, n: usize) -> String {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    let id = Identity::from_seed(&seed).id();
    format!("{name} {id} {}\n", known_peer("alice", 1).first_seen)
}

/// A start writes the file anew if it has many lines that are not read. The lines of bound and of
/// older peers stay, and so do comments and malformed lines.
#[test]
fn a_start_compacts_known_peers() {
    let folder = TestDir::new("compacted");
    let path = folder.join("known_peers");
    drop(open_state_dir(&folder.0));
    let alice = known_peer("alice", 1);
    let mut text = format!("# mine\nno peer\nalice {} {}\n", alice.id, alice.first_seen);
    let carol = throwaway_line("carol", 1).replace('\n', " verified by hand\n");
    text += &carol;
    (0..300).for_each(|n| text += &throwaway_line("cron", n));
    text += &format!("alice {} {} bound\n", alice.id, alice.first_seen);
    // A later version may add words.
    let trusted = format!("alice {} {} bound trusted\n", alice.id, alice.first_seen);
    text += &trusted;
    text += &throwaway_line("carol", 1).replace('\n', " bound\n");
    text += &throwaway_line("cron", 299).replace('\n', " bound\n");
    fs::write(&path, &text).unwrap();

    let opened = open_state_dir(&folder.0);
    let list = opened.state_dir.read_known_peers(&mut Vec::new()).unwrap();
    assert_eq!(list.len(), 2 + KEYS_PER_NAME_MAX + 1);
    assert!(list[1].nick.as_str() == "carol" && list[1].is_bound());
    assert!(list[0].id == alice.id && list[0].is_bound());
    assert!(list.last().unwrap().is_bound());
    assert_eq!(opened.known_peers, list);
    let compacted = fs::read_to_string(&path).unwrap();
    assert_eq!(compacted.lines().count(), 4 + list.len(), "{compacted}");
    assert!(compacted.contains(&carol) && compacted.contains(&trusted));
    assert!(compacted.starts_with("# mine\nno peer\nalice "));
    assert!(compacted.contains(&throwaway_line("cron", 0)));
}

/// A file with few surplus lines stays as the user wrote it.
#[test]
fn a_start_leaves_a_short_file_alone() {
    let folder = TestDir::new("short");
    let path = folder.join("known_peers");
    let text: String = (0..100).map(|n| throwaway_line("cron", n)).collect();
    drop(open_state_dir(&folder.0));
    fs::write(&path, &text).unwrap();
    let opened = open_state_dir(&folder.0);
    assert_eq!(opened.known_peers.len(), KEYS_PER_NAME_MAX);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// The list is bounded in peers and the file in bytes.
#[test]
fn known_peers_are_bounded() {
    let folder = TestDir::new("many");
    let opened = open_state_dir(&folder.0);
    let peer = known_peer("alice", 1);
    let line = |i: usize| format!("n{i} {} {}\n", peer.id, peer.first_seen);
    let many: String = (0..KNOWN_PEERS_MAX + 10).map(line).collect();
    fs::write(folder.join("known_peers"), many).unwrap();
    let list = opened.state_dir.read_known_peers(&mut Vec::new()).unwrap();
    assert_eq!((list.len(), list[0].nick.as_str()), (KNOWN_PEERS_MAX, "n0"));

    fs::write(
        folder.join("known_peers"),
        vec![b'#'; KNOWN_PEERS_FILE_MAX_BYTES as usize],
    )
    .unwrap();
    assert!(!opened.state_dir.append_known_peer(&peer).unwrap());
    assert_eq!(
        fs::metadata(folder.join("known_peers")).unwrap().len(),
        KNOWN_PEERS_FILE_MAX_BYTES
    );
    assert!(
        opened
            .state_dir
            .read_known_peers(&mut Vec::new())
            .unwrap()
            .is_empty()
    );
}

/// A marker that was read, copied, restored or damaged is void, and is deleted.
#[test]
fn a_clean_marker_is_valid_once_and_in_its_own_file() {
    let folder = TestDir::new("clean");
    let mut state = open_state_dir(&folder.0).state_dir;
    assert_eq!(state.take_clean_marker().unwrap(), None);
    let room = |name: &str| Target::Room(Room::new(name).unwrap());
    let resume = ResumeState {
        incarnation: 0x00ab_cdef_0123_4567,
        heads: SortedMap::from_iter([
            (room("ops"), (12, Hash::of(&[b"ops"]))),
            (room("general"), (1, Hash::of(&[b"general"]))),
            (Target::Peer(PeerId([7; 32])), (3, Hash::of(&[b"bob"]))),
        ]),
    };
    state.write_clean_marker(&ResumeState::default()).unwrap();
    state.write_clean_marker(&resume).unwrap();
    let text = fs::read(folder.join("clean")).unwrap();
    assert!(text.starts_with(b"00abcdef01234567\n"));
    assert_eq!(
        file_names(&folder.0),
        ["clean", "history", "identity", "lock"]
    );
    assert_eq!(state.take_clean_marker().unwrap(), Some(resume.clone()));
    assert_eq!(file_names(&folder.0), ["history", "identity", "lock"]);
    assert_eq!(state.take_clean_marker().unwrap(), None);

    // A marker from a backup has the modification time of the original.
    state.write_clean_marker(&resume).unwrap();
    let marker = fs::File::options().write(true).open(folder.join("clean"));
    let marker = marker.unwrap();
    marker
        .set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    assert_eq!(state.take_clean_marker().unwrap(), None);
    assert!(!folder.join("clean").exists());

    // A marker that was copied is another file.
    state.write_clean_marker(&resume).unwrap();
    fs::copy(folder.join("clean"), folder.join("copy")).unwrap();
    fs::rename(folder.join("copy"), folder.join("clean")).unwrap();
    assert_eq!(state.take_clean_marker().unwrap(), None);
    assert!(!folder.join("clean").exists());

    // A truncated or foreign marker is void, and is deleted.
    for bad in (0..text.len()).map(|end| text[..end].to_vec()).chain([
        b"\xff\n".to_vec(),
        b"+0abcdef01234567\nend\n".to_vec(),
        vec![b'0'; 3 << 20],
    ]) {
        state.write_clean_marker(&resume).unwrap();
        // The marker contains the creation time of its file, so a prefix must be of this one.
        let own = fs::read(folder.join("clean")).unwrap();
        let bad = match text.starts_with(&bad) {
            true => own[..bad.len()].to_vec(),
            false => bad,
        };
        fs::write(folder.join("clean"), &bad).unwrap();
        assert_eq!(state.take_clean_marker().unwrap(), None, "{bad:?}");
        assert!(!folder.join("clean").exists());
    }
}

/// Whatever the umask, nobody else reads the files of the directory.
#[test]
fn files_are_private() {
    let folder = TestDir::new("private");
    let mut state = open_state_dir(&folder.0).state_dir;
    state.append_known_peer(&known_peer("bob", 1)).unwrap();
    // A draft that a crash left keeps its mode for no file.
    for name in ["clean.new", "receipts.new", "addresses.open.new"] {
        fs::write(folder.join(name), "torn").unwrap();
        chmod(&folder.join(name), 0o666);
    }
    for file in [CoreFile::Receipts, CoreFile::Addresses(NetworkTag::OPEN)] {
        state.write_core_file(file, "").unwrap();
    }
    state.write_clean_marker(&ResumeState::default()).unwrap();
    let mut files = file_names(&folder.0);
    files.retain(|name| name != "history");
    assert_eq!(
        files,
        [
            "addresses.open",
            "clean",
            "identity",
            "known_peers",
            "lock",
            "receipts"
        ]
    );
    files.push("history/format".to_owned());
    for name in files {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
    }
}

/// A damaged byte costs no other line, and the addresses of a network stay apart from those of
/// another one.
#[test]
fn a_damaged_byte_costs_one_line() {
    let folder = TestDir::new("damaged-byte");
    let state = open_state_dir(&folder.0).state_dir;
    let closed = CoreFile::Addresses(NetworkTag([7; 32]));
    state.write_core_file(closed, "closed").unwrap();
    let open = CoreFile::Addresses(NetworkTag::OPEN);
    for (file, name) in [(CoreFile::Receipts, "receipts"), (open, "addresses.open")] {
        fs::write(folder.join(name), b"first\nsec\xffond\nthird\n").unwrap();
        let text = state.read_core_file(file);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("first", "third"));
    }
    assert_eq!(state.read_core_file(closed), "closed");
    let files = file_names(&folder.0);
    assert!(files.contains(&"addresses.0707070707070707".to_owned()));
}

/// A link or a FIFO under the name of a file is neither read nor written through, and never waited
/// for. The file that a link leads to stays as it is.
#[test]
fn planted_links_are_not_followed() {
    let folder = TestDir::new("planted");
    let directory = folder.join("d");
    let mut state = open_state_dir(&directory).state_dir;
    let victim = folder.join("victim");
    let fifo = |name: &str| nix::unistd::mkfifo(&directory.join(name), Mode::S_IRWXU).unwrap();
    for is_link in [true, false] {
        fs::write(&victim, "precious").unwrap();
        for name in [
            "clean",
            "clean.new",
            "receipts",
            "receipts.new",
            "addresses.open",
            "addresses.open.new",
            "known_peers",
        ] {
            let _ = fs::remove_file(directory.join(name));
            match is_link {
                true => symlink(&victim, directory.join(name)).unwrap(),
                false => fifo(name),
            }
        }
        assert!(state.take_clean_marker().is_err());
        let core_files = [CoreFile::Receipts, CoreFile::Addresses(NetworkTag::OPEN)];
        for file in core_files {
            assert_eq!(state.read_core_file(file), "");
        }
        assert!(state.append_known_peer(&known_peer("bob", 1)).is_err());
        let failure = state.read_known_peers(&mut Vec::new()).unwrap_err();
        assert!(failure.message.ends_with("is no regular file"), "{failure}");
        for file in core_files {
            state.write_core_file(file, "mine").unwrap();
            assert_eq!(state.read_core_file(file), "mine");
        }
        state.write_clean_marker(&ResumeState::default()).unwrap();
        assert!(state.take_clean_marker().unwrap().is_some());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
    drop(state);
    for name in ["lock", "known_peers"] {
        for name in ["lock", "known_peers"] {
            let _ = fs::remove_file(directory.join(name));
        }
        symlink(&victim, directory.join(name)).unwrap();
        let failure = open_failure(&directory, 78);
        assert!(failure.message.contains("is no regular file"), "{failure}");
        assert_eq!(
            failure.message.matches(&format!("/{name}")).count(),
            1,
            "{failure}"
        );
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}

/// A secret has 16 to 4096 bytes, and a file that others can read gives a warning.
#[test]
fn secret_files_are_checked_and_read() {
    let folder = TestDir::new("secret");
    let path = folder.join("secret");
    let read = |warnings: &mut Vec<String>| read_secret(&path, warnings);
    let text = "correct horse battery staple";
    fs::write(&path, format!("{text}\n")).unwrap();
    chmod(&path, 0o600);
    let mut warnings = Vec::new();
    let network = read(&mut warnings).unwrap().network();
    assert!(warnings.is_empty());
    chmod(&path, 0o644);
    assert_eq!(read(&mut warnings).unwrap().network(), network);
    assert!(warnings.len() == 1 && warnings[0].contains("chmod 600"));
    let cases: [(Vec<u8>, &str); 4] = [
        (Vec::new(), "keygen"),
        (b"too short\n".to_vec(), "16 bytes"),
        (vec![b'x'; 4097], "at most"),
        (vec![b'x'; 100_000], "at most"),
    ];
    for (content, reason) in cases {
        fs::write(&path, content).unwrap();
        let failure = read(&mut Vec::new()).err().unwrap();
        assert_eq!(failure.exit_status.code(), 78);
        assert!(
            failure.message.contains(reason) && !failure.message.contains('\n'),
            "{failure}"
        );
    }
    fs::write(&path, [&[b'x'; 4096][..], b"\r\n"].concat()).unwrap();
    assert!(read(&mut Vec::new()).is_ok());
    fs::remove_file(&path).unwrap();
    assert_eq!(
        read(&mut Vec::new()).err().map(|f| f.exit_status.code()),
        Some(78)
    );
    assert_eq!(
        read_secret(&folder.0, &mut Vec::new())
            .err()
            .map(|f| f.exit_status.code()),
        Some(78)
    );
}
