//! Reads `tests/FEATURES.md`: each row names tests that exist, or says why there is none.

/// The rows of `table` that name a missing test, or neither a test nor a reason. `read` returns the
/// text of a file in `tests/`.
pub fn feature_violations(table: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let rows = table.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|row| !row.starts_with("|---") && !row.starts_with("| feature |"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", feature, how, tests, ""] = cells[..] else {
            return Some(format!("no three cells: {row}"));
        };
        if tests.is_empty() {
            let has_reason = how.starts_with("no: ") || how.starts_with("not yet");
            return (!has_reason).then(|| format!("{feature}: neither a test nor a reason"));
        }
        let mut tests = tests.split(", ");
        let missing = tests.find(|test| !is_test(test, &read));
        missing.map(|test| format!("{feature}: there is no test {test}"))
    })
    .collect()
}

/// Whether `name`, as `` `TARGET MODULE::NAME` ``, is a test that runs by default.
fn is_test(name: &str, read: &impl Fn(&str) -> Option<String>) -> bool {
    let name = name.strip_prefix('`').and_then(|it| it.strip_suffix('`'));
    let Some((target, path)) = name.and_then(|it| it.split_once(' ')) else {
        return false;
    };
    let (files, function) = match path.rsplit_once("::") {
        Some((module, function)) => {
            let folder = format!("{target}/{}", module.replace("::", "/"));
            (
                vec![format!("{folder}.rs"), format!("{folder}/mod.rs")],
                function,
            )
        }
        None => (vec![format!("{target}/main.rs")], path),
    };
    let texts = files.iter().filter_map(|file| read(file));
    let mut found = false;
    for text in texts {
        let Some((before, _)) = text.split_once(&format!("fn {function}(")) else {
            continue;
        };
        // The attributes stand between the end of the item before and the function.
        let attributes: Vec<&str> = before
            .lines()
            .rev()
            .take_while(|line| line.starts_with("#["))
            .collect();
        let has = |attribute| attributes.iter().any(|line| line.starts_with(attribute));
        found |= has("#[test]") && !has("#[ignore");
    }
    found
}
