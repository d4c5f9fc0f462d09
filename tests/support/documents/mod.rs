//! Reads the examples of a document.

/// The JSON objects in the `json` blocks of a Markdown text. A line that begins with `{` begins an
/// object. The document may break an object into further lines, which begin with blanks.
pub fn examples(document: &str) -> Vec<String> {
    let blocks = document.split("```json\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let mut objects: Vec<String> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match objects.last_mut() {
            Some(object) if !line.starts_with('{') => object.push_str(line.trim_start()),
            _ => objects.push(line.to_owned()),
        }
    }
    objects
}
