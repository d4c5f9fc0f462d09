//! Lines as JSON strings.
use p2pchat::base::batch::batch_content::write_json_string;

/// Every ASCII character survives, at every place of a word and beyond the last word. Quotation
/// marks and backslashes are escaped there, and so is each control character.
#[test]
fn each_character_is_escaped_at_each_place() {
    for length in 1..20 {
        for c in (0..0x80).map(char::from) {
            for at in 0..length {
                let text: String = (0..length).map(|i| if i == at { c } else { 'x' }).collect();
                let mut json = Vec::new();
                write_json_string(&mut json, &text);
                let json = String::from_utf8(json).expect("JSON is UTF-8");
                assert_eq!(serde_json::from_str::<String>(&json).ok(), Some(text));
                assert!(!json.contains(|c: char| c.is_ascii_control()), "{json:?}");
            }
        }
    }
}
