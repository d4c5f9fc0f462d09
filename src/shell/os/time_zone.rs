//! The local time zone, as the environment variable `TZ` names it (tzset(3)).
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use jiff::tz::TimeZone;

/// The system's time zone, for programs without `TZ`.
const SYSTEM_ZONE_FILE: &str = "/etc/localtime";
/// Directories with one file for each time zone, such as `Europe/Berlin`. The first one is right
/// almost everywhere.
const ZONE_DIRECTORIES: [&str; 2] = ["/usr/share/zoneinfo", "/etc/zoneinfo"];
/// Maximum number of bytes read from the file of a time zone. Real files have less than 4 KiB.
const ZONE_FILE_MAX_BYTES: u64 = 64 * 1024;

/// The time zone of this user. UTC if it is unknown.
///
/// `TZ` is the name of a file in the zone directory (or in `$TZDIR`), an absolute path, or a POSIX
/// rule such as `CET-1CEST,M3.5.0,M10.5.0/3`. A `:` may stand before a name. Does not use the
/// search of the crate `jiff`, which reads the names of all zones and needs much more code.
pub fn local_time_zone() -> TimeZone {
    let Some(value) = std::env::var_os("TZ") else {
        return read_zone(Path::new(SYSTEM_ZONE_FILE)).unwrap_or(TimeZone::UTC);
    };
    let name = value.as_bytes();
    let name = name.strip_prefix(b":").unwrap_or(name);
    if name.is_empty() {
        return TimeZone::UTC;
    }
    find_zone(Path::new(OsStr::from_bytes(name)))
        .or_else(|| TimeZone::posix(std::str::from_utf8(name).ok()?).ok())
        .unwrap_or(TimeZone::UTC)
}

/// Reads the file of a time zone. `name` is an absolute path, or a name in a zone directory.
fn find_zone(name: &Path) -> Option<TimeZone> {
    let own = std::env::var_os("TZDIR");
    let directories = ZONE_DIRECTORIES.iter().map(OsStr::new);
    let mut directories = own.as_deref().into_iter().chain(directories);
    directories.find_map(|directory| read_zone(&Path::new(directory).join(name)))
}

/// Reads a file in the TZif format (RFC 9636). `None`: it is missing or not such a file.
fn read_zone(path: &Path) -> Option<TimeZone> {
    let mut content = Vec::new();
    let file = File::open(path).ok()?;
    file.take(ZONE_FILE_MAX_BYTES)
        .read_to_end(&mut content)
        .ok()?;
    TimeZone::tzif("local", &content).ok()
}
