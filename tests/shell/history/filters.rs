//! Queries by room, time and text.

use p2pchat::base::name::Room;
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::frontend::renderer::Renderer;
use p2pchat::shell::session::history_query::HistoryQuery;

use super::support::{Author, contents, disk_source, pipe, query_lines, store_on_disk};
use crate::folders::TempDir;

/// Search ignores case, also beyond ASCII, and a count applies last.
#[test]
fn queries_filter_by_room_time_and_text() {
    let mut alice = Author::new("alice", "general", 1);
    let mut ops = Author::new("alice", "ops", 1);
    let batches = [
        alice.say(1, &["Grüße an ALLE", "two"]),
        ops.say(3, &["in ops"]),
        alice.say(4, &["GRÜSSE, all", "four"]),
    ];
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let contents_by = |query: HistoryQuery| {
        let lines = query_lines(&disk_source(&folder), &query, pipe());
        contents(&lines)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let room = |name: &str| HistoryQuery {
        folders: vec![(&Room::new(name).unwrap()).into()],
        ..HistoryQuery::default()
    };
    assert_eq!(contents_by(room("ops")), ["in ops"]);
    assert_eq!(contents_by(room("general")).len(), 4);
    assert!(contents_by(room("nowhere")).is_empty());
    let search = |text: &str, last| HistoryQuery {
        search: Some(text.into()),
        limit: last,
        ..HistoryQuery::default()
    };
    assert_eq!(
        contents_by(search("all", None)),
        ["Grüße an ALLE", "GRÜSSE, all"]
    );
    assert_eq!(contents_by(search("all", Some(1))), ["GRÜSSE, all"]);
    assert_eq!(contents_by(search("GRÜ", None)).len(), 2);
    assert!(contents_by(search("nothing", None)).is_empty());
    let since = |ms| HistoryQuery {
        since: Some(WallTime(ms)),
        ..HistoryQuery::default()
    };
    assert_eq!(contents_by(since(3_000)), ["in ops", "GRÜSSE, all", "four"]);
    let both = HistoryQuery {
        limit: Some(2),
        ..since(3_000)
    };
    assert_eq!(contents_by(both), ["GRÜSSE, all", "four"]);
    let json = query_lines(&disk_source(&folder), &room("ops"), Renderer::json());
    let id = batches[0].log.author;
    assert_eq!(
        json,
        [format!(
            r##"{{"type":"chat","timestamp":"1970-01-01T00:00:03.000Z","target":"#ops","sender":"{id}","username":"alice","name":"alice~{}","incarnation":"0000000000000001","sequence":1,"lamport":3,"content":"in ops"}}"##,
            id.short()
        )]
    );
    let json = query_lines(
        &disk_source(&folder),
        &search("four", None),
        Renderer::json(),
    );
    assert!(json[0].contains(r#""sequence":4,"lamport":5,"content":"four"}"#));
}
