//! Tab in the line editor.
use p2pchat::ui::editor::completion::{Completion, KnownWords};
use p2pchat::ui::editor::line_editor::{EditOutcome, LineEditor};
use termion::event::Key;

fn known_words() -> KnownWords {
    KnownWords {
        names: ["bob", "Bobby", "alice~x2fe", "dörte"]
            .map(str::to_owned)
            .into(),
        rooms: ["#general", "#ops", "#games"].map(str::to_owned).into(),
    }
}

/// An editor into which this text was typed.
fn typed(text: &str) -> LineEditor {
    let mut editor = LineEditor::default();
    for c in text.chars() {
        editor.handle_key(Key::Char(c));
    }
    editor
}

/// Presses Tab; returns the list that is printed.
fn tab(editor: &mut LineEditor) -> Option<String> {
    assert_eq!(editor.handle_key(Key::Char('\t')), EditOutcome::Complete);
    editor.complete(&known_words())
}

/// Tab completes commands, their arguments, names and rooms, in either case of letters.
#[test]
fn tab_completes_the_word_before_the_cursor() {
    let cases = [
        ("/jo", "/join "),
        ("/JO", "/join "),
        ("/na", "/names "),
        ("/join #o", "/join #ops "),
        ("/join #g", "/join #g"),
        ("/part #ge", "/part #general "),
        ("/W al", "/W alice~x2fe "),
        ("/msg @AL", "/msg @alice~x2fe "),
        ("/msg #o", "/msg #ops "),
        ("/msg bob ask dö", "/msg bob ask dörte "),
        ("/me greets dö", "/me greets dörte "),
        ("/lsnp PR", "/lsnp PROFILE "),
        ("dö", "dörte: "),
        ("DÖ", "dörte: "),
        ("ask dö", "ask dörte "),
        ("#o", "#ops "),
        ("see #o", "see #ops "),
        ("B", "bob"),
        ("//jo", "//jo"),
        ("/unknown bo", "/unknown bo"),
        ("/nick bo", "/nick bo"),
        ("/set be", "/set bell "),
        ("/ex", "/exit "),
        ("/history b", "/history b"),
        ("", ""),
        ("text ", "text "),
        ("nobody", "nobody"),
    ];
    for (text, expected) in cases {
        let mut editor = typed(text);
        assert_eq!(tab(&mut editor), None, "{text}");
        let line = editor.visible_line(80);
        assert_eq!(line.text, expected, "{text}");
        assert_eq!(line.cursor, line.width, "{text}");
    }
    // Text after the cursor stays.
    let mut editor = typed("see dö today");
    (0..6).for_each(|_| drop(editor.handle_key(Key::Left)));
    tab(&mut editor);
    assert_eq!(editor.visible_line(80).text, "see dörte  today");
}

/// A second Tab lists the candidates; another key in between begins anew.
#[test]
fn a_second_tab_lists_the_candidates() {
    let mut editor = typed("bo");
    assert_eq!(tab(&mut editor), None);
    assert_eq!(editor.visible_line(80).text, "bob");
    assert_eq!(tab(&mut editor), None);
    assert_eq!(tab(&mut editor).as_deref(), Some("bob  Bobby"));
    editor.handle_key(Key::Char('b'));
    assert_eq!(tab(&mut editor), None);
    assert_eq!(editor.visible_line(80).text, "Bobby: ");
    for key in [Key::Left, Key::Right] {
        let mut editor = typed("/join #g");
        assert_eq!(tab(&mut editor), None);
        editor.handle_key(key);
        editor.handle_key(Key::End);
        assert_eq!(tab(&mut editor), None, "{key:?}");
        assert_eq!(tab(&mut editor).as_deref(), Some("#games  #general"));
    }
    let mut editor = typed("/msg ");
    tab(&mut editor);
    let list = "#games  #general  #ops  alice~x2fe  bob  Bobby  dörte";
    assert_eq!(tab(&mut editor).as_deref(), Some(list));
}

/// A list of thousands is cut, and every command of /help can be completed.
#[test]
fn a_long_list_is_cut() {
    let words = KnownWords {
        names: (0..4000).map(|n| format!("n{n:04}")).collect(),
        rooms: Vec::new(),
    };
    let list = Completion::find("n", &words).list();
    assert!(list.starts_with("n0000  n0001  ") && list.ends_with("n0099  … and 3900 more"));
    let commands = Completion::find("/", &words).candidates;
    for command in ["/help", "/users", "/who", "/quit", "/dm", "/w", "/history"] {
        assert!(
            commands.iter().any(|it| it == command),
            "{command} {commands:?}"
        );
    }
}
