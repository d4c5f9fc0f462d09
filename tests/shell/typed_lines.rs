//! The file of typed lines.
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use p2pchat::base::lines::LINE_MAX_BYTES;
use p2pchat::shell::state::typed_lines_file::TypedLinesFile;
use p2pchat::ui::editor::line_history::HISTORY_MAX_BYTES;

use crate::folders::TempDir;

/// The file of typed lines is private and bounded, keeps the newest lines, and mends a torn end; a
/// file that somebody else wrote does no harm.
#[test]
fn typed_lines_are_kept_in_a_bounded_file() {
    let folder = TempDir::new();
    let file = TypedLinesFile::new(&folder.0);
    let path = folder.0.join("typed_lines");
    assert!(file.load().unwrap().is_empty());
    file.append("one").unwrap();
    file.append("two\tcolumns").unwrap();
    assert_eq!(file.load().unwrap(), ["one", "two\tcolumns"]);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // A torn last line, bytes that are not UTF-8, control characters, a line that is too long.
    let long = "x".repeat(LINE_MAX_BYTES + 1);
    let odd = [b"\n\xff\xfe\n\x1b[2J\n", long.as_bytes(), b"\nto"].concat();
    std::fs::write(&path, odd).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    file.append("three").unwrap();
    assert_eq!(file.load().unwrap(), ["to", "three"]);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let long = "y".repeat(LINE_MAX_BYTES);
    for _ in 0..100 {
        file.append(&long).unwrap();
        let len = std::fs::metadata(&path).unwrap().len();
        assert!(len <= 2 * HISTORY_MAX_BYTES as u64, "{len}");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.split_terminator('\n').all(|line| line == long));
    file.append("last").unwrap();
    let lines = file.load().unwrap();
    assert!(lines.len() > 10 && lines.last().unwrap() == "last");
    // A larger file of an editor is read from its end.
    std::fs::write(&path, "z\n".repeat(HISTORY_MAX_BYTES * 2)).unwrap();
    assert!(file.load().unwrap().len() <= HISTORY_MAX_BYTES);
    // A directory in its place is an error, not a panic.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(file.load().is_err() && file.append("no").is_err());
}
