//! Checks the state directory and its disk. Nothing is created or changed.
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access, geteuid};

use crate::base::text::bound_name::quote_for_shell;
use crate::shell::state::state_dir::{check_directory, history_dir};
use crate::ui::doctor_check::Check;

/// A disk with less free space than this many bytes is nearly full. The store keeps on writing
/// until the disk refuses it.
const FREE_MIN_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum number of files and folders of the history that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// Maximum number of files that are named.
const NAMED_FILES_MAX: usize = 3;

/// Checks the directory, its history and its disk.
pub fn check_state(directory: &Path) -> Vec<Check> {
    let shown = directory.display();
    if let Err(failure) = check_directory(directory) {
        let is_own = fs::metadata(directory).is_ok_and(|it| it.uid() == geteuid().as_raw());
        let place = quote_for_shell(&shown.to_string());
        let mend = match is_own {
            true => format!("chmod o-w {place}"),
            false => format!("ls -ld {place}"),
        };
        return vec![Check::finding("directory", failure.message, mend)];
    }
    if !directory.exists() {
        return vec![
            Check::ok("directory", format!("{shown} does not exist yet")),
            check_disk(directory),
        ];
    }
    vec![check_history(directory), check_disk(directory)]
}

fn check_history(directory: &Path) -> Check {
    let mut found = Files::default();
    let history = history_dir(directory);
    found.search(&history);
    let name_some = |files: &[PathBuf]| {
        let named = files.iter().take(NAMED_FILES_MAX);
        let mut named: Vec<String> = named.map(|file| format!("'{}'", file.display())).collect();
        if files.len() > NAMED_FILES_MAX {
            named.push("…".to_owned());
        }
        named.join(" ")
    };
    if !found.unreadable.is_empty() {
        let files = name_some(&found.unreadable);
        return Check::finding(
            "history",
            format!("{} files cannot be read: {files}", found.unreadable.len()),
            format!(
                "chmod -R u+rwX '{}'; dmesg | grep -i error",
                history.display()
            ),
        );
    }
    if !found.damaged.is_empty() {
        let files = name_some(&found.damaged);
        return Check::finding(
            "history",
            format!(
                "the disk has damaged lines, which are set aside in {} files: {files}",
                found.damaged.len()
            ),
            format!(
                "find '{}' -name '*.damaged' -delete  # once `dmesg` names no error of the disk",
                history.display()
            ),
        );
    }
    Check::ok("history", format!("{} is undamaged", history.display()))
}

/// What a search through the history found.
#[derive(Default)]
struct Files {
    damaged: Vec<PathBuf>,
    unreadable: Vec<PathBuf>,
    seen: usize,
}

impl Files {
    fn search(&mut self, folder: &Path) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(_) => return self.unreadable.push(folder.to_owned()),
        };
        for entry in entries {
            self.seen += 1;
            if self.seen > ENTRIES_MAX {
                return;
            }
            let Ok(entry) = entry else {
                return self.unreadable.push(folder.to_owned());
            };
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.search(&path),
                Ok(kind) if kind.is_file() => self.look_at(path),
                _ => {}
            }
        }
    }

    fn look_at(&mut self, path: PathBuf) {
        if path.extension().is_some_and(|it| it == "damaged") {
            self.damaged.push(path);
        } else if fs::File::open(&path).is_err_and(|error| error.kind() != ErrorKind::NotFound) {
            self.unreadable.push(path);
        }
    }
}

/// Checks the free space where the directory is, or will be.
#[allow(clippy::unnecessary_cast)] // The types are narrower on 32-bit systems.
fn check_disk(directory: &Path) -> Check {
    let existing = directory.ancestors().find(|path| path.exists());
    let place = existing.unwrap_or(Path::new("/"));
    let shown = place.display();
    if let Err(error) = access(place, AccessFlags::W_OK | AccessFlags::X_OK) {
        let what = format!("{shown} cannot be written: {}", error.desc());
        let mend = format!("ls -ld '{shown}'; df '{shown}'; mount | grep -w ro");
        return Check::finding("disk", what, mend);
    }
    let Ok(disk) = statvfs(place) else {
        return Check::ok("disk", format!("the free space of {shown} is not known"));
    };
    let free = (disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64);
    // A file system without a table of inodes has 0 of them.
    let lacks_inodes = disk.files() > 0 && disk.files_available() == 0;
    let kib = free / 1024;
    if free >= FREE_MIN_BYTES && !lacks_inodes {
        return Check::ok("disk", format!("{kib} KiB are free at {shown}"));
    }
    let what = match lacks_inodes {
        true => format!("no further file fits on the disk of {shown}"),
        false => format!("the disk of {shown} is nearly full: {kib} KiB are free"),
    };
    let mend = format!("df -h '{shown}'; du -xh '{shown}' | sort -h | tail");
    Check::finding("disk", what, mend)
}
