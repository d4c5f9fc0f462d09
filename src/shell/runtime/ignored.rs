//! Tells the store whose lines the user does not want to see.
use crate::shell::state::ignored_file::read_ignored;
use crate::shell::state::state_dir::StateDir;
use crate::shell::store::store::Store;

/// Reads the file `ignored`.
///
/// # Errors
/// The file can't be read; what the store knows stays. The error is a sentence for the user.
pub fn load_ignored(state: &StateDir, store: &mut Store) -> Result<(), String> {
    let Some(directory) = state.directory() else {
        return Ok(());
    };
    let ignored = read_ignored(directory).map_err(|error| {
        let path = directory.join("ignored");
        format!("{}: nobody is ignored: {error}", path.display())
    })?;
    store.set_ignored(ignored.iter().map(|peer| peer.id).collect());
    Ok(())
}
