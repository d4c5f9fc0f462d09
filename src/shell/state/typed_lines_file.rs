//! The file `typed_lines`: the lines that were typed at a terminal, one a line, the oldest first.
//! Every terminal of this directory appends to it.
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::base::lines::LINE_MAX_BYTES;
use crate::shell::os::file::{
    Access, PRIVATE_FILE_MODE, append_private_file, if_exists, open_regular, replace_file,
};
use crate::ui::editor::line_history::HISTORY_MAX_BYTES;

/// Size in bytes from which on the file is rewritten with its newest half.
const FILE_MAX_BYTES: u64 = 2 * HISTORY_MAX_BYTES as u64;

/// The file `typed_lines` of a state directory.
#[derive(Debug)]
pub struct TypedLinesFile {
    path: PathBuf,
}

impl TypedLinesFile {
    /// The file in this directory, which need not exist.
    pub fn new(directory: &Path) -> TypedLinesFile {
        TypedLinesFile {
            path: directory.join("typed_lines"),
        }
    }

    /// The newest lines, the oldest first. Skips what the editor could not have written.
    ///
    /// # Errors
    /// The file can't be read, or is no regular file.
    pub fn load(&self) -> io::Result<Vec<String>> {
        let Some(mut file) = if_exists(open_regular(&self.path, Access::Read))? else {
            return Ok(Vec::new());
        };
        let skipped = file.metadata()?.len().saturating_sub(FILE_MAX_BYTES);
        file.seek(SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
        let lines = bytes.split(|byte| *byte == b'\n');
        // The first line may be cut.
        let whole = lines.skip(usize::from(skipped > 0));
        Ok(whole.filter_map(parse_line).collect())
    }

    /// Appends a line. Keeps the file bounded.
    ///
    /// # Errors
    /// The file can't be written, or is no regular file.
    pub fn append(&self, line: &str) -> io::Result<()> {
        let mut file = append_private_file(&self.path)?;
        let metadata = file.metadata()?;
        if metadata.permissions().mode() & 0o777 != PRIVATE_FILE_MODE {
            file.set_permissions(Permissions::from_mode(PRIVATE_FILE_MODE))?;
        }
        let begins_line = ends_line(&file, metadata.len())?;
        // One write, so that lines of two terminals do not mix.
        let start = if begins_line { "" } else { "\n" };
        file.write_all(format!("{start}{line}\n").as_bytes())?;
        match file.metadata()?.len() > FILE_MAX_BYTES {
            true => self.shorten(),
            false => Ok(()),
        }
    }

    fn shorten(&self) -> io::Result<()> {
        let lines = self.load()?;
        let (mut kept, mut bytes) = (0, 0);
        for line in lines.iter().rev() {
            bytes += line.len() + 1;
            if bytes > HISTORY_MAX_BYTES {
                break;
            }
            kept += 1;
        }
        let newest = lines.get(lines.len() - kept..).unwrap_or_default();
        let text = newest.join("\n") + "\n";
        replace_file(&self.path, &mut |file| file.write_all(text.as_bytes()))
    }
}

/// Whether the file is empty, or ends with a line end. A full disk may have cut the last line.
fn ends_line(file: &File, len: u64) -> io::Result<bool> {
    let Some(last) = len.checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

fn parse_line(bytes: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(bytes).ok()?;
    let is_typed = !line.is_empty()
        && line.len() <= LINE_MAX_BYTES
        && !line.chars().any(|c| c.is_control() && c != '\t');
    is_typed.then(|| line.to_owned())
}
