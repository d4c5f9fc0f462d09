//! The calls with which the store reads segments and changes its files. A test can put faults in
//! between: full and broken disks, short writes, failed syncs.
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

/// The calls of the store.
pub trait StoreIo: Send + Sync {
    /// Writes a part of `bytes`, as [`Write::write`] does.
    ///
    /// # Errors
    /// The disk is full or broken.
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        (&*file).write(bytes)
    }

    /// Reads a part of a segment, as [`read_at`](std::os::unix::fs::FileExt::read_at) does.
    ///
    /// # Errors
    /// The disk is broken.
    fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(bytes, offset)
    }

    /// Cuts a file at this length.
    ///
    /// # Errors
    /// The disk is broken.
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    /// Waits until the data of a file is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// The calls of the system.
struct SystemIo;

impl StoreIo for SystemIo {}

static INSTALLED: OnceLock<Box<dyn StoreIo>> = OnceLock::new();

/// Replaces the calls of the system for the whole process. Only the first call has an effect. For
/// tests.
pub fn install(io: Box<dyn StoreIo>) {
    let _ = INSTALLED.set(io);
}

fn calls() -> &'static dyn StoreIo {
    match INSTALLED.get() {
        Some(installed) => &**installed,
        None => &SystemIo,
    }
}

/// Writes all bytes.
///
/// # Errors
/// The disk is full or broken. A part of the bytes may be written.
pub fn write_all(file: &File, bytes: &[u8]) -> io::Result<()> {
    struct Writer<'a>(&'a File);
    impl Write for Writer<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            calls().write(self.0, bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    Writer(file).write_all(bytes)
}

/// See [`StoreIo::read_at`].
///
/// # Errors
/// The disk is broken.
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    calls().read_at(file, bytes, offset)
}

/// See [`StoreIo::set_len`].
///
/// # Errors
/// The disk is broken.
pub fn set_len(file: &File, bytes: u64) -> io::Result<()> {
    calls().set_len(file, bytes)
}

/// See [`StoreIo::sync`].
///
/// # Errors
/// The disk reports an error.
pub fn sync(file: &File) -> io::Result<()> {
    calls().sync(file)
}
