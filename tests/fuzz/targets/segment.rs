//! A segment of a room. A start mends the folder. The next start finds the same lines, and nothing
//! more to mend.
#![no_main]
use std::fs;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use p2pchat::base::event::load::Position;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::name::{FolderName, Room};
use p2pchat::base::range::LogRanges;
use p2pchat::shell::store::damage::DamageReport;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;

/// Many batches are read at a time.
const BUDGET_BYTES: usize = 1 << 20;

/// What a start finds in a folder.
#[derive(PartialEq, Debug)]
struct Found {
    ranges: LogRanges,
    batches: Vec<Vec<u8>>,
}

fn start(history: &Path) -> (Found, Vec<DamageReport>) {
    let own = Identity::from_seed(&[1; 32]).id();
    let limits = StoreLimits {
        total_bytes: Some(u64::MAX),
        ..StoreLimits::default()
    };
    let mut store = Store::open(history, NetworkTag::OPEN, own, limits).expect("a directory");
    let general = FolderName::from(&Room::general());
    let ranges = store.open_folder(&general).expect("a folder");
    let (mut at, mut batches) = (Position::default(), Vec::new());
    loop {
        let stored = store.read_from(&general, &mut at, BUDGET_BYTES);
        let stored = stored.expect("a readable segment");
        if stored.is_empty() {
            break;
        }
        let bytes = stored.iter().map(|stored| stored.batch.as_bytes().to_vec());
        batches.extend(bytes);
    }
    (Found { ranges, batches }, store.take_damage())
}

fuzz_target!(|bytes: &[u8]| {
    let name = format!("p2pchat-fuzz-{}-history", std::process::id());
    let history: PathBuf = std::env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&history);
    let folder = history.join("open/#general");
    fs::create_dir_all(&folder).expect("a directory");
    fs::write(folder.join("000001.ndjson"), bytes).expect("a file");
    let (found, _) = start(&history);
    let (again, damage) = start(&history);
    assert_eq!(found, again);
    assert!(damage.is_empty(), "{damage:?}");
    let _ = fs::remove_dir_all(&history);
});
