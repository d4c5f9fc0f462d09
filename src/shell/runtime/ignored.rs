//! Tells the store whose lines the user does not want to see.
use crate::shell::state::state_dir::StateDir;
use crate::shell::store::store::Store;

/// Reads the file `ignored`.
///
/// # Errors
/// The file can't be read; what the store knows stays. The error is a sentence for the user.
pub fn load_ignored(state: &StateDir, store: &mut Store) -> Result<(), String> {
    let trust = state.trust();
    let ignored = trust.read_ignored().map_err(|error| {
        let path = trust.describe("ignored");
        format!("{path}: nobody is ignored: {error}")
    })?;
    store.set_ignored(ignored.iter().map(|peer| peer.id).collect());
    Ok(())
}
