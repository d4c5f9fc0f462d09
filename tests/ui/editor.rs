//! The line editor: keys, editing, and a screen on which output does not damage the typed line.
use std::io::Write;

use p2pchat::base::identity::PeerId;
use p2pchat::base::lines::LINE_MAX_BYTES;
use p2pchat::base::name::{Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::ui::editor::keys::{KeyDecoder, TerminalInput};
use p2pchat::ui::editor::line_editor::{EditOutcome, LineEditor};
use p2pchat::ui::editor::line_history::{HISTORY_MAX_BYTES, HISTORY_MAX_LINES};
use p2pchat::ui::editor::paste::{PASTE_MAX_BYTES, Paste};
use p2pchat::ui::editor::prompt::{Prompt, TypingPeer};
use p2pchat::ui::editor::terminal::Terminal;
use termion::event::Key;
use unicode_width::UnicodeWidthStr as _;

/// Types a text that the editor accepts.
fn type_text(editor: &mut LineEditor, text: &str) {
    for c in text.chars() {
        assert_eq!(editor.handle_key(Key::Char(c)), EditOutcome::Edited);
    }
}

/// Presses Enter; returns the line.
fn submit(editor: &mut LineEditor) -> String {
    match editor.handle_key(Key::Char('\n')) {
        EditOutcome::Line(line) => line,
        other => panic!("{other:?}"),
    }
}

/// Keys act on grapheme clusters and words, as in readline.
#[test]
fn editing_keys_change_the_line() {
    use Key::{Alt, Backspace, Char, Ctrl, Delete, End, Home, Left, Right};
    let x = Char('x');
    let cases: &[(&str, &[Key], &str)] = &[
        ("helo", &[Left, Char('l')], "hello"),
        ("hellox", &[Backspace], "hello"),
        ("xhello", &[Home, Delete], "hello"),
        ("yhello", &[Ctrl('a'), Ctrl('d'), End, x], "hellox"),
        ("ab", &[Home, Right, Right, Right, x], "abx"),
        ("rest gone", &[Left, Left, Ctrl('u')], "ne"),
        ("rest", &[Home, Right, Ctrl('k'), Ctrl('e'), x], "rx"),
        ("one two  ", &[Ctrl('w')], "one "),
        ("one two", &[Home, Alt('d'), End, Ctrl('y')], " twoone"),
        ("a b c", &[Ctrl('w'), Ctrl('w'), x, Ctrl('y')], "a xb c"),
        ("a b c", &[Ctrl('w'), Left, Ctrl('w'), Ctrl('y')], "a b "),
        ("ab", &[Left, Ctrl('k'), Ctrl('y'), Ctrl('y')], "abb"),
        ("one two", &[Alt('\u{7f}'), Ctrl('a'), Ctrl('y')], "twoone "),
        ("one two", &[Alt('b'), x], "one xtwo"),
        ("one two", &[Home, Alt('f'), x], "onex two"),
        ("e\u{301}", &[Backspace, x], "x"),
        ("日本", &[Left, Delete], "日"),
        // A family of joined emoji, a skin tone, two flags, a heart with its selector.
        ("a👩\u{200d}👩\u{200d}👧", &[Backspace, x], "ax"),
        ("👍\u{1f3fd}b", &[Left, Left, Delete], "b"),
        ("🇫🇷🇩🇪", &[Left, x, Home, Delete], "x🇩🇪"),
        ("\u{2764}\u{fe0f}", &[Left, x, Delete, Backspace, x], "x"),
        ("\u{301}", &[Home, Char('e'), x], "e\u{301}x"),
        ("", &[Backspace, Delete, Left, Right, Ctrl('u'), x], "x"),
        ("", &[Ctrl('k'), Ctrl('w'), Alt('b'), Alt('f'), x], "x"),
        ("a", &[Key::F(3), Key::Esc, Key::Null, Alt('q')], "a"),
    ];
    for (typed, keys, result) in cases {
        let mut editor = LineEditor::default();
        type_text(&mut editor, typed);
        for key in *keys {
            editor.handle_key(*key);
        }
        assert_eq!(submit(&mut editor), *result, "{typed} {keys:?}");
    }
}

/// ^C clears a line before it interrupts, ^D ends an empty line only, a line is bounded in bytes.
#[test]
fn interrupt_end_of_input_and_the_line_bound() {
    let mut editor = LineEditor::default();
    let enter = editor.handle_key(Key::Char('\n'));
    assert_eq!(enter, EditOutcome::Edited, "an empty line is not submitted");
    type_text(&mut editor, "half");
    assert_eq!(editor.handle_key(Key::Ctrl('d')), EditOutcome::Edited);
    assert_eq!(editor.handle_key(Key::Ctrl('c')), EditOutcome::Edited);
    assert!(editor.is_empty());
    assert_eq!(editor.handle_key(Key::Ctrl('c')), EditOutcome::Interrupt);
    assert_eq!(editor.handle_key(Key::Ctrl('d')), EditOutcome::EndOfInput);
    assert_eq!(
        editor.handle_key(Key::Char('\u{9b}')),
        EditOutcome::Rejected
    );
    for _ in 0..LINE_MAX_BYTES / 2 {
        assert_eq!(editor.handle_key(Key::Char('é')), EditOutcome::Edited);
    }
    assert_eq!(editor.handle_key(Key::Char('x')), EditOutcome::Rejected);
    editor.handle_key(Key::Backspace);
    type_text(&mut editor, "x");
    let wide = editor.handle_key(Key::Char('é'));
    assert_eq!(
        wide,
        EditOutcome::Rejected,
        "the character has two bytes, one is left"
    );
    type_text(&mut editor, "y");
    assert_eq!(submit(&mut editor).len(), LINE_MAX_BYTES);
}

/// The draft comes back below the newest recalled line.
#[test]
fn up_and_down_recall_the_last_1000_lines() {
    let mut editor = LineEditor::default();
    assert_eq!(editor.handle_key(Key::Up), EditOutcome::Rejected);
    for i in 0..1500 {
        type_text(&mut editor, &format!("line {i}"));
        submit(&mut editor);
    }
    type_text(&mut editor, "draft");
    editor.handle_key(Key::Up);
    assert_eq!(editor.visible_line(40).text, "line 1499");
    editor.handle_key(Key::Down);
    assert_eq!(editor.visible_line(40).text, "draft");
    assert_eq!(editor.handle_key(Key::Down), EditOutcome::Rejected);
    let mut steps = 0;
    while editor.handle_key(Key::Up) == EditOutcome::Edited {
        steps += 1;
    }
    assert_eq!(steps, HISTORY_MAX_LINES);
    assert_eq!(submit(&mut editor), "line 500");
    assert_eq!(editor.handle_key(Key::Down), EditOutcome::Rejected);

    // Long lines take the place of more than one.
    for i in 0..40 {
        let long = format!("{i} {}", "x".repeat(LINE_MAX_BYTES - 3));
        type_text(&mut editor, &long);
        submit(&mut editor);
    }
    let mut bytes = 0;
    while editor.handle_key(Key::Up) == EditOutcome::Edited {
        bytes += LINE_MAX_BYTES - 1;
    }
    let is_full = bytes + LINE_MAX_BYTES > HISTORY_MAX_BYTES;
    assert!(is_full && bytes <= HISTORY_MAX_BYTES, "{bytes}");
}

/// C-r finds older lines while the pattern grows; each key ends the search as in readline.
#[test]
fn ctrl_r_searches_the_typed_lines_backwards() {
    use Key::{Backspace, Char, Ctrl, Esc, Left, Up};
    let x = Char('x');
    let (r, o, n, e) = (Ctrl('r'), Char('o'), Char('n'), Char('e'));
    // Keys, the prompt while searching, the line that is shown, and what Enter returns after x.
    let cases: &[(&[Key], &str, &str, &str)] = &[
        (&[r, o, n], "(search) on: ", "zone one", "zxone one"),
        (&[r, o, n, Esc], "", "zone one", "zxone one"),
        (&[r, o, n, e, r], "(search) one: ", "one two", "xone two"),
        (&[r, o, r, r], "(search) o: ", "two", "twxo"),
        (&[r, o, r, r, r, r], "(failed search) o: ", "one", "xone"),
        (&[r, n, o], "(failed search) no: ", "zone one", "zoxne one"),
        (
            &[r, n, o, Backspace, r],
            "(search) n: ",
            "one two",
            "oxne two",
        ),
        (&[r, o, Backspace], "(search) : ", "draft", "draftx"),
        (&[r, o, Ctrl('g')], "", "draft", "draftx"),
        (&[r, o, Ctrl('c')], "", "", "x"),
        (&[r, n, Left], "", "zone one", "zxone one"),
        (&[r, n, Up], "", "one two", "one twox"),
        (&[r, n, Up, Key::Down, Key::Down], "", "draft", "draftx"),
        (&[r, r, Char('q')], "(failed search) q: ", "draft", "draftx"),
    ];
    for (keys, prompt, shown, line) in cases {
        let mut editor = LineEditor::default();
        editor.load_history(&["one", "two", "one two", "zone one"].map(str::to_owned));
        type_text(&mut editor, "draft");
        for key in *keys {
            editor.handle_key(*key);
        }
        assert_eq!(editor.prompt().unwrap_or_default(), *prompt, "{keys:?}");
        assert_eq!(editor.visible_line(40).text, *shown, "{keys:?}");
        if editor.prompt().is_some() {
            editor.handle_key(Esc);
        }
        editor.handle_key(x);
        assert_eq!(submit(&mut editor), *line, "{keys:?}");
    }
    // Enter says what was found.
    let mut editor = LineEditor::default();
    editor.load_history(&["one".to_owned()]);
    editor.handle_key(r);
    editor.handle_key(n);
    assert_eq!(submit(&mut editor), "one");
    // The pattern is bounded.
    editor.handle_key(r);
    for _ in 0..1000 {
        editor.handle_key(x);
    }
    assert_eq!(
        editor.prompt().unwrap().len(),
        "(failed search) : ".len() + 256
    );
}

/// Marks show where a line is cut, on a screen that has room for them.
#[test]
fn marks_show_where_a_line_is_cut() {
    let mut editor = LineEditor::default();
    type_text(&mut editor, "0123456789");
    let shown = |editor: &mut LineEditor, width| {
        let view = editor.visible_line(width);
        assert_eq!(view.text.width(), view.width);
        assert!(view.width <= width && view.cursor < width, "{view:?}");
        (view.text.clone(), view.cursor)
    };
    assert_eq!(shown(&mut editor, 11), ("0123456789".into(), 10));
    assert_eq!(shown(&mut editor, 10), ("<3456789".into(), 8));
    editor.handle_key(Key::Home);
    assert_eq!(shown(&mut editor, 10), ("01234567>".into(), 0));
    for _ in 0..5 {
        editor.handle_key(Key::Right);
    }
    assert_eq!(shown(&mut editor, 6), ("<2345>".into(), 4));
    // A character of two columns is not cut in halves.
    editor.handle_key(Key::Ctrl('c'));
    type_text(&mut editor, "日本語日本語");
    assert_eq!(shown(&mut editor, 10), ("<日本語".into(), 7));
    editor.handle_key(Key::Home);
    assert_eq!(shown(&mut editor, 9), ("日本語>".into(), 0));
}

/// The visible part fits the width, contains the cursor, and has no control character.
#[test]
fn a_long_line_scrolls_sideways() {
    let mut editor = LineEditor::default();
    type_text(&mut editor, "0123456789");
    let view = editor.visible_line(5);
    assert_eq!((view.text.as_str(), view.cursor), ("6789", 4));
    editor.handle_key(Key::Left);
    editor.handle_key(Key::Left);
    assert_eq!(
        editor.visible_line(5).cursor,
        2,
        "the view does not scroll without need"
    );
    editor.handle_key(Key::Home);
    let view = editor.visible_line(5);
    assert_eq!((view.text.as_str(), view.cursor), ("01234", 0));
    editor.handle_key(Key::End);
    for _ in 0..7 {
        editor.handle_key(Key::Backspace);
        assert!(
            editor.visible_line(5).cursor > 0,
            "some text is visible left of the cursor"
        );
    }
    paste(&mut editor, "日本語\t\u{202e}");
    let view = editor.visible_line(40);
    assert_eq!(view.text, "012日本語\u{2409}\u{fffd}");
    assert_eq!((view.width, view.cursor), (11, 11));
    for width in 0..14 {
        let view = editor.visible_line(width);
        assert!(view.width <= width.max(2) && view.cursor < width.max(2));
    }
}

/// The keys that the decoder finds in these reads.
fn keys(reads: &[&[u8]]) -> Vec<Key> {
    let inputs = inputs(reads).into_iter();
    inputs
        .map(|input| match input {
            TerminalInput::Key(key) => key,
            TerminalInput::Paste(paste) => panic!("{paste:?}"),
        })
        .collect()
}

/// The keys and pastes that the decoder finds in these reads.
fn inputs(reads: &[&[u8]]) -> Vec<TerminalInput> {
    let mut decoder = KeyDecoder::default();
    let mut inputs = Vec::new();
    for read in reads {
        decoder.feed(read, |input| inputs.push(input));
    }
    inputs
}

/// Pastes this text.
fn paste(editor: &mut LineEditor, text: &str) -> EditOutcome {
    editor.handle_input(TerminalInput::Paste(Paste {
        text: text.to_owned(),
        is_cut: false,
    }))
}

/// A paste is one input wherever reads cut it, and its length is bounded.
#[test]
fn a_paste_is_one_bounded_input() {
    let pasted = |text: &str, is_cut| {
        let text = text.to_owned();
        TerminalInput::Paste(Paste { text, is_cut })
    };
    let key = |c| TerminalInput::Key(Key::Char(c));
    let expected = [key('a'), pasted("/quit\r\x1b[Aé\u{fffd}", false), key('b')];
    let bytes = b"a\x1b[200~/quit\r\x1b[A\xc3\xa9\xff\x1b[201~b";
    assert_eq!(inputs(&[bytes]), expected);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    // A read of one Esc byte is the key.
    assert_eq!(
        inputs(&[&single[..2].concat(), &single[2..].concat()]),
        expected
    );
    for cut in 2..bytes.len() {
        assert_eq!(inputs(&[&bytes[..cut], &bytes[cut..]]), expected, "{cut}");
    }
    assert_eq!(inputs(&[b"\x1b[200~\x1b[201~"]), [pasted("", false)]);
    let whole = "x".repeat(PASTE_MAX_BYTES);
    for (more, is_cut) in [("", false), ("y", true), (&*"y".repeat(100_000), true)] {
        let bytes = ["\x1b[200~", &whole, more, "\x1b[201~"].concat();
        let is_bounded = inputs(&[bytes.as_bytes()]) == [pasted(&whole, is_cut)];
        assert!(is_bounded, "{} bytes", bytes.len());
    }
}

/// One pasted line is inserted, without control characters. Several lines ask.
#[test]
fn several_pasted_lines_ask_what_to_do() {
    let lines = |lines: &[&str]| {
        EditOutcome::PastedLines(
            lines.iter().map(|line| (*line).to_owned()).collect(),
            LineForm::Text,
        )
    };
    let mut editor = LineEditor::default();
    type_text(&mut editor, "ac");
    editor.handle_key(Key::Left);
    paste(&mut editor, "b\x1b[2J\x07\u{9b}\tx\r\n");
    assert_eq!(submit(&mut editor), "ab[2J\txc", "its line end is no Enter");

    // Say all: as text, whatever it begins with. No other key answers.
    paste(&mut editor, "/quit\r\n\n//x\ry\n\n");
    assert_eq!(
        editor.prompt().unwrap(),
        "4 lines pasted: (s)ay all, in one (b)lock, (e)dit each, (c)ancel? "
    );
    assert_eq!(editor.visible_line(40).text, "");
    for key in [Key::Char('\n'), Key::Char('x'), Key::Ctrl('d'), Key::Up] {
        assert_eq!(editor.handle_key(key), EditOutcome::Rejected);
    }
    assert_eq!(paste(&mut editor, "a\nb"), EditOutcome::Rejected);
    let said = editor.handle_key(Key::Char('s'));
    assert_eq!(said, lines(&["/quit", "", "//x", "y"]));
    assert!(editor.is_empty() && editor.prompt().is_none());

    // All as one message.
    paste(&mut editor, "one\n/two");
    let block = ["one", "/two"].map(str::to_owned).into();
    assert_eq!(
        editor.handle_key(Key::Char('b')),
        EditOutcome::PastedLines(block, LineForm::Block)
    );

    // Into typed text: the lines after the first would not go where a command goes.
    type_text(&mut editor, "/msg bob !");
    editor.handle_key(Key::Left);
    paste(&mut editor, "one\n\ntwo");
    assert_eq!(
        editor.prompt().unwrap(),
        "3 lines pasted: (e)dit each, (c)ancel? "
    );
    assert_eq!(editor.handle_key(Key::Char('s')), EditOutcome::Rejected);
    assert_eq!(editor.handle_key(Key::Char('b')), EditOutcome::Rejected);
    assert_eq!(editor.handle_key(Key::Char('c')), EditOutcome::Edited);
    assert_eq!(editor.visible_line(40).text, "/msg bob !");
    paste(&mut editor, "one\n\ntwo");
    editor.handle_key(Key::Char('e'));
    assert_eq!(submit(&mut editor), "/msg bob one");
    assert_eq!(submit(&mut editor), "two!");
    assert!(editor.is_empty());

    // Ctrl-C drops the lines that are still to be edited.
    paste(&mut editor, "one\ntwo\nthree");
    editor.handle_key(Key::Char('e'));
    assert_eq!(submit(&mut editor), "one");
    editor.handle_key(Key::Ctrl('c'));
    assert!(editor.is_empty());
    assert_eq!(editor.handle_key(Key::Ctrl('c')), EditOutcome::Interrupt);
}

/// Sequences of common terminals become keys, wherever a read cuts them.
#[test]
fn escape_sequences_are_decoded_across_reads() {
    use Key::{Alt, Backspace, Char, Ctrl, CtrlLeft, Delete, Down, End, Esc, Home, Up};
    assert_eq!(
        keys(&[b"a\x1b[A\x1bOB\x1b[3~\x1b[1;5D\x1b[H\x1bOF\x7f\r\x03\x1bb"]),
        [
            Char('a'),
            Up,
            Down,
            Delete,
            CtrlLeft,
            Home,
            End,
            Backspace,
            Char('\n'),
            Ctrl('c'),
            Alt('b')
        ]
    );
    assert_eq!(
        keys(&[b"\xc3", b"\xa9\x1b", b"[A\x1b", b"h"]),
        [Char('é'), Up, Esc, Char('h')],
        "a sequence cut by reads is one key, and a bare Esc swallows no letter"
    );
    assert_eq!(
        keys(&[b"\xffx\xc3y"]),
        [Char('\u{fffd}'), Char('x'), Char('\u{fffd}'), Char('y')]
    );
}

/// Unknown and endless sequences are skipped without a panic or unbounded memory.
#[test]
fn the_key_decoder_accepts_any_bytes() {
    let odd = b"\x1b[999~\x1b[<1;;3M\x1b[1;;2M\x1b[M\x1b[201~a\x1b[;~\x1b[300A";
    assert_eq!(keys(&[odd]), [Key::Char('a')]);
    let endless = [b"\x1b[".as_slice(), &[b'1'; 100_000], b"~x"].concat();
    assert_eq!(keys(&[&endless]), [Key::Char('x')]);
    let mut state = 1u32;
    let noise: Vec<u8> = (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"\x1b[[O<;0129~MAmZ\xc3\xa9\xffx"[(state >> 24) as usize % 19]
        })
        .collect();
    assert!(!inputs(&[&noise]).is_empty());
}

/// A screen of unlimited height: rows of cells, a cursor, and the escape sequences in use.
struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    columns: usize,
}

impl Screen {
    /// Prints output of the program.
    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = std::str::from_utf8(bytes).unwrap();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\r' => self.column = 0,
                '\n' => self.row += 1,
                '\u{1b}' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let (sequence, after) = rest.split_at(end + 1);
                    rest = after;
                    self.execute(sequence);
                }
                c => self.put(c),
            }
        }
    }

    /// Executes an escape sequence.
    fn execute(&mut self, sequence: &str) {
        match sequence
            .strip_prefix('[')
            .unwrap()
            .split_at(sequence.len() - 2)
        {
            ("?2004", "h" | "l") => {}
            ("", "C") => self.column = (self.column + 1).min(self.columns - 1),
            ("", "K") => {
                if let Some(row) = self.rows.get_mut(self.row) {
                    row.truncate(self.column);
                }
            }
            // tmux takes this for the end of a screen, and keeps it in its history.
            ("", "J") if (self.row, self.column) == (0, 0) => panic!("erases all"),
            ("", "J") => {
                self.rows.truncate(self.row + 1);
                if let Some(row) = self.rows.get_mut(self.row) {
                    row.truncate(self.column);
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Prints one character at the cursor, with a pending wrap as in a VT100.
    fn put(&mut self, c: char) {
        if self.column == self.columns {
            (self.row, self.column) = (self.row + 1, 0);
        }
        self.rows
            .resize(self.rows.len().max(self.row + 1), Vec::new());
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + 1), ' ');
        row[self.column] = c;
        self.column += 1;
    }
}

/// A writer that records each write on its own.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Each update is one write that leaves the prompt and the typed line whole below the output.
#[test]
fn output_is_printed_above_the_line_being_typed() {
    let mut terminal = Terminal::new(Writes::default(), 20);
    let mut screen = Screen {
        rows: Vec::new(),
        row: 0,
        column: 0,
        columns: 20,
    };
    let mut editor = LineEditor::default();
    let mut update = |terminal: &mut Terminal<Writes>, editor: &mut LineEditor, text: &str| {
        terminal.redraw(text.as_bytes(), editor).unwrap();
        let writes = std::mem::take(terminal.writer_mut()).0;
        assert_eq!(writes.len(), 1, "one write per update");
        screen.feed(&writes[0]);
        let rows: Vec<String> = screen.rows.iter().map(|row| row.iter().collect()).collect();
        (rows, screen.row, screen.column)
    };
    let (rows, row, column) = update(&mut terminal, &mut editor, "");
    assert_eq!((rows, row, column), (vec!["> ".to_owned()], 0, 2));
    type_text(&mut editor, "half");
    editor.handle_key(Key::Left);
    let (rows, row, column) = update(&mut terminal, &mut editor, "one\ntwo\n");
    assert_eq!(rows, ["one", "two", "> half"]);
    assert_eq!((row, column), (2, 5));
    let exact = "e".repeat(20);
    let wide = format!("{exact}\n{exact}12345\n");
    let (rows, row, _) = update(&mut terminal, &mut editor, &wide);
    assert_eq!(rows[2..], [&exact, &exact, "12345", "> half"]);
    assert_eq!(row, 5);
    terminal.set_prompts(&["#ops> ".to_owned()]);
    editor.handle_key(Key::End);
    type_text(&mut editor, " a line longer than the screen");
    let (rows, row, column) = update(&mut terminal, &mut editor, "three\n");
    assert_eq!(rows[5..], ["three", "#ops> <the screen"]);
    assert_eq!((row, column), (6, 17));
    terminal.resize(10);
    let (rows, row, _) = update(&mut terminal, &mut editor, "");
    assert_eq!((rows[6].as_str(), row), ("> <reen", 6));
    terminal.close(b"bye\n").unwrap();
    let last = std::mem::take(terminal.writer_mut()).0.concat();
    assert_eq!(last, b"\r\x1b[K\x1b[C\x1b[J\rbye\r\n\x1b[?2004l");
}

/// On a narrow screen the prompt says less: first not who types, then not what is unread, then not
/// how many are here, and at last not the room.
#[test]
fn a_prompt_says_less_on_a_narrow_screen() {
    let mut prompt = Prompt {
        room: Some(Room::general()),
        others_here: 2,
        unread: 1,
        ..Prompt::default()
    };
    for name in ["alexander", "bartholo"] {
        let peer = TypingPeer {
            id: PeerId([name.len() as u8; 32]),
            name: name.to_owned(),
            target: Target::Room(Room::general()),
        };
        prompt.set_typing(peer, true);
    }
    let shown = |columns| {
        let mut terminal = Terminal::new(Vec::new(), columns);
        terminal.set_prompts(&prompt.texts());
        terminal.redraw(b"", &mut LineEditor::default()).unwrap();
        let out = String::from_utf8_lossy(terminal.writer_mut()).into_owned();
        out.rsplit("J\r").next().unwrap().to_owned()
    };
    let whole = "#general 3 (1 unread, alexander and bartholo are typing)> ";
    assert_eq!(shown(2 * whole.len() as u16), whole);
    for (columns, prompt) in [
        (80, "#general 3 (1 unread)> "),
        (46, "#general 3 (1 unread)> "),
        (45, "#general 3> "),
        (24, "#general 3> "),
        (23, "#general> "),
        (20, "#general> "),
        (19, "> "),
    ] {
        assert_eq!(shown(columns), prompt, "{columns}");
    }
}
