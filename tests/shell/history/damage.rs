//! A history of damaged, forged, removed or hostile files.

use std::{fs, io};

use p2pchat::base::batch::batch::{Batch, LocalFields};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::lines::Lines;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::frontend::renderer::Renderer;
use p2pchat::shell::session::history_query::{HistoryQuery, run_query};
use p2pchat::ui::session_event::SessionEvent;

use super::support::{
    Author, NET, append, contents, contents_of, disk_source, last_lines, pipe, query_lines,
    store_on_disk, whole_history,
};
use crate::folders::TempDir;

/// Damaged, forged and foreign batches are left out; what they displaced is a gap.
#[test]
fn batches_without_a_valid_signature_are_not_shown() {
    let mut bob = Author::new("bob", "general", 1);
    let batches: Vec<Batch> = (1..60)
        .map(|n| bob.say(n, &[&format!("good {n}")]))
        .collect();
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let before = whole_history(&folder);
    assert_eq!(before.len(), 59);
    let segments = folder.segments("#general");
    // Damage in the middle of a log and at its end, and a torn line behind.
    for good in ["good 12", "good 59"] {
        let (path, text) = segments
            .iter()
            .map(|path| (path, fs::read_to_string(path).unwrap()))
            .find(|(_, text)| text.contains(&format!("\"{good}\"")))
            .unwrap();
        fs::write(path, text.replace(good, "evil 00")).unwrap();
    }
    append(segments.last().unwrap(), &batches[0].as_bytes()[..50]);
    let lines = whole_history(&folder);
    let texts = contents(&lines);
    assert!(
        texts.iter().all(|line| line.starts_with("good ")),
        "{texts:?}"
    );
    assert_eq!(texts.len(), 57);
    // The damaged line in the middle is a gap.
    assert_eq!(lines.len(), 58, "{lines:#?}");

    // Batches of another network, another room and no room, and garbage.
    let folder = TempDir::new();
    store_on_disk(&folder, &batches[..2]);
    let path = folder.segments("#general").remove(0);
    let mut foreign = Author::new("carol", "general", 1);
    let draft = foreign.say(5, &["elsewhere"]);
    let other = NetworkTag([1; 32]);
    let mut text = Lines::default();
    text.push(b"elsewhere").unwrap();
    let foreign_batch = Batch::sign(
        &foreign.identity,
        &other,
        UnsignedBatch {
            log: draft.log.clone(),
            username: draft.username.clone(),
            sequence: 1,
            lamport: 5,
            timestamp: WallTime(0),
            run: 1,
            uptime: 0,
            republishes: None,
            salt: 9,
            previous: None,
            form: LineForm::Text,
            lines: &text,
            sealed: None,
        },
    );
    let mut line = Vec::new();
    foreign_batch.write_stored(LocalFields::default(), &mut line);
    append(&path, &line);
    line.clear();
    Author::new("carol", "ops", 1)
        .say(5, &["in #ops"])
        .write_stored(LocalFields::default(), &mut line);
    append(&path, &line);
    append(&path, b"\n{}\nnonsense\n\xff\xfe\n{\"type\":\"chat\"}\n");
    for name in ["ops", "@", "#Ops", "#a b"] {
        fs::create_dir(folder.0.join("open").join(name)).unwrap();
        fs::write(
            folder.0.join("open").join(name).join("000001.ndjson"),
            &line,
        )
        .unwrap();
    }
    fs::write(folder.0.join("open/#file"), "x").unwrap();
    assert_eq!(contents_of(&folder), ["good 1", "good 2"]);
}

/// Stored text of others cannot control the terminal.
#[test]
fn control_characters_of_history_are_replaced() {
    let mut eve = Author::new("eve", "general", 1);
    let folder = TempDir::new();
    store_on_disk(&folder, &[eve.say(1, &["a\u{1b}[2J\u{202e}b\t"])]);
    assert!(whole_history(&folder)[0].ends_with(": a␛[2J\u{fffd}b\t"));
    let json = query_lines(
        &disk_source(&folder),
        &HistoryQuery::default(),
        Renderer::json(),
    );
    assert!(json[0].ends_with(r#""content":"a\u001b[2J\u202eb\t"}"#));
}

/// A query goes on when the running program evicts segments under it.
#[test]
fn segments_evicted_during_a_query_become_gaps() {
    let mut bob = Author::new("bob", "general", 1);
    let long = "x".repeat(1000);
    let batches: Vec<Batch> = (1..400)
        .map(|n| bob.say(n, &[&format!("{n} {long}")]))
        .collect();
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let segments = folder.segments("#general");
    assert!(segments.len() > 60);
    let (mut out, mut renderer) = (Vec::new(), pipe());
    let mut collect = |kind| {
        if out.is_empty() {
            for path in segments.iter().skip(1).step_by(2) {
                fs::remove_file(path).unwrap();
            }
        }
        let event = SessionEvent::new(None, kind);
        renderer.append_event(&event, WallTime(0), &mut out);
        io::Result::Ok(())
    };
    run_query(
        &disk_source(&folder),
        NET,
        &HistoryQuery::default(),
        &mut |_| {},
        &mut collect,
    )
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = text.lines().filter(|line| line.contains(": ")).count();
    assert!((200..399).contains(&lines), "{lines}");
    assert!(text.contains(" are missing\n"));
}

/// A directory without this network is no error.
#[test]
fn a_missing_folder_has_an_empty_history() {
    let folder = TempDir::new();
    assert!(whole_history(&folder).is_empty());
    assert!(last_lines(&folder, 5).is_empty());
}
