//! Direct batches: the recipient alone opens the sealed text, and all others verify the header.
use p2pchat::base::batch::batch::{
    BATCH_MAX_BYTES, Batch, DIRECT_BATCH_MAX_BYTES, LocalFields, LogId,
};
use p2pchat::base::batch::batch_parsing::MalformedBatch;
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Hash, Identity, NetworkTag, PeerId};
use p2pchat::base::lines::{BATCH_TEXT_MAX_BYTES, Lines};
use p2pchat::base::name::{Nick, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::wire::sealed;

const NETWORK: NetworkTag = NetworkTag::OPEN;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn lines(texts: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for text in texts {
        lines.push(text.as_bytes()).expect("a fit line");
    }
    lines
}

fn log(author: &Identity, recipient: PeerId) -> LogId {
    LogId {
        target: Target::Peer(recipient),
        author: author.id(),
        incarnation: 7,
    }
}

/// An unsigned batch of alice.
fn draft<'a>(log: LogId, sequence: u64, lines: &'a Lines, sealed: &'a str) -> UnsignedBatch<'a> {
    UnsignedBatch {
        log,
        username: Nick::new("alice").expect("a fit name"),
        sequence,
        lamport: 40,
        timestamp: WallTime(1_700_000_000_000),
        run: 1,
        uptime: 0,
        republishes: None,
        salt: 9,
        previous: (sequence > 1).then_some(Hash([9; 32])),
        form: LineForm::Text,
        lines,
        sealed: Some(sealed),
    }
}

/// A direct batch as its author has it, with the plaintext.
fn message(author: &Identity, recipient: PeerId, sequence: u64, lines: &Lines) -> Batch {
    let log = log(author, recipient);
    let sealed = sealed::seal([3; 32], &NETWORK, &log, sequence, lines).expect("a recipient");
    Batch::sign(author, &NETWORK, draft(log, sequence, lines, &sealed))
}

/// The batch as another peer receives it.
fn received(batch: &Batch) -> Batch {
    Batch::parse(batch.as_bytes().to_vec(), &NETWORK).expect("a batch")
}

fn line_texts(batch: &Batch) -> Vec<String> {
    let mut lines = Vec::new();
    batch.for_each_line(|line| lines.push(line.to_owned()));
    lines
}

/// Carriers and the author's other programs see the header, and none of the text.
#[test]
fn only_the_recipient_opens_a_direct_batch() {
    let (alice, bob, carol) = (identity(1), identity(2), identity(3));
    for texts in [&["psst"][..], &["", "two", "\u{1}\t\"three\""]] {
        let batch = message(&alice, bob.id(), 5, &lines(texts));
        assert_eq!(line_texts(&batch), texts, "the author has the plaintext");
        assert_eq!(batch.last_sequence(), 4 + texts.len() as u64);
        let text = String::from_utf8_lossy(batch.as_bytes()).into_owned();
        assert!(!text.contains("two") && !text.contains("psst"), "{text}");

        let mut sealed_batch = received(&batch);
        assert!(sealed_batch.verify(&alice.id().verifying_key().expect("a key")));
        assert_eq!(
            (sealed_batch.count, sealed_batch.last_sequence()),
            (batch.count, batch.last_sequence())
        );
        assert_eq!(
            line_texts(&sealed_batch),
            Vec::<String>::new(),
            "a sealed batch has no text"
        );
        for other in [&carol, &alice] {
            assert_eq!(sealed::open(other, &NETWORK, &sealed_batch), None);
        }
        let opened = sealed::open(&bob, &NETWORK, &sealed_batch).expect("bob is the recipient");
        assert!(sealed_batch.set_plaintext(opened));
        assert_eq!(line_texts(&sealed_batch), texts);
    }
}

/// A sealed text that is signed again elsewhere does not open: there is no replay.
#[test]
fn a_seal_is_bound_to_its_network_log_and_sequence() {
    let (alice, bob, mallory) = (identity(1), identity(2), identity(4));
    let text = lines(&["psst"]);
    let alice_log = log(&alice, bob.id());
    let sealed = sealed::seal([3; 32], &NETWORK, &alice_log, 5, &text).expect("a recipient");
    let opens = |author: &Identity, network: &NetworkTag, log: LogId, sequence| {
        let batch = Batch::sign(author, network, draft(log, sequence, &text, &sealed));
        sealed::open(&bob, network, &batch).is_some()
    };
    assert!(opens(&alice, &NETWORK, alice_log.clone(), 5));
    assert!(!opens(&alice, &NETWORK, alice_log.clone(), 6), "sequence");
    assert!(
        !opens(&mallory, &NETWORK, log(&mallory, bob.id()), 5),
        "author"
    );
    assert!(
        !opens(&alice, &NetworkTag([1; 32]), alice_log.clone(), 5),
        "network"
    );
    let other = LogId {
        incarnation: 8,
        ..alice_log
    };
    assert!(!opens(&alice, &NETWORK, other, 5), "incarnation");
}

/// Whoever carries two messages cannot see that their texts are equal.
#[test]
fn equal_texts_have_different_seals() {
    let (alice, bob) = (identity(1), identity(2));
    let alice_log = log(&alice, bob.id());
    let seal = |seed| sealed::seal([seed; 32], &NETWORK, &alice_log, 1, &lines(&["psst"]));
    assert_ne!(seal(1), seal(2));
}

/// The sealed lines must be as many as the signed header says.
#[test]
fn a_seal_with_another_number_of_lines_is_refused() {
    let (alice, bob) = (identity(1), identity(2));
    let alice_log = log(&alice, bob.id());
    let sealed =
        sealed::seal([3; 32], &NETWORK, &alice_log, 1, &lines(&["a", "b"])).expect("a recipient");
    let three = lines(&["a", "b", "c"]);
    let mut sealed_batch = received(&Batch::sign(
        &alice,
        &NETWORK,
        draft(alice_log, 1, &three, &sealed),
    ));
    let opened = sealed::open(&bob, &NETWORK, &sealed_batch).expect("it opens");
    assert!(!sealed_batch.set_plaintext(opened));
    assert!(line_texts(&sealed_batch).is_empty());
}

/// The stored form contains the opened text beside the signed bytes; the wire refuses that form.
#[test]
fn the_plaintext_is_in_the_stored_form_only() {
    let (alice, bob) = (identity(1), identity(2));
    for texts in [&["psst"][..], &["one", "\",\"signature\":\"two"]] {
        let batch = message(&alice, bob.id(), 1, &lines(texts));
        let local = LocalFields {
            received: WallTime(1_700_000_000_123),
            late: true,
            ..LocalFields::default()
        };
        let mut line = Vec::new();
        batch.write_stored(local, &mut line);
        line.pop();
        let (stored, found) = Batch::parse_stored(&line, &NETWORK).expect("a stored batch");
        assert_eq!((line_texts(&stored), found), (line_texts(&batch), local));
        assert_eq!(stored.as_bytes(), batch.as_bytes());
        let header = Batch::parse_header(&line).expect("a stored batch");
        let numbers = (header.count, header.last_sequence);
        let count = texts.len() as u64;
        assert_eq!((header.log, numbers), (batch.log, (count, count)));
        assert!(Batch::parse(line, &NETWORK).is_err());
    }
}

/// The size limit has room for the worst escaping of a full batch.
#[test]
fn the_largest_direct_batch_fits_and_a_larger_one_is_refused() {
    let (alice, bob) = (identity(1), identity(2));
    let line = "\u{1}".repeat(BATCH_TEXT_MAX_BYTES / 4 - 1);
    let mut text = lines(&[&line, &line, &line, &line, "x"]);
    let text = text.take_batch();
    assert_eq!(text.len(), BATCH_TEXT_MAX_BYTES);
    let batch = message(&alice, bob.id(), 1, &text);
    assert!(batch.as_bytes().len() <= DIRECT_BATCH_MAX_BYTES);
    let opened = sealed::open(&bob, &NETWORK, &received(&batch));
    assert_eq!(opened, Some(text.clone()));
    let room = LogId {
        target: Target::parse("#general").expect("a room"),
        ..log(&alice, bob.id())
    };
    let to_room = Batch::sign(&alice, &NETWORK, draft(room, 1, &text, "AAAA"));
    assert!(to_room.as_bytes().len() <= BATCH_MAX_BYTES);

    let alice_log = log(&alice, bob.id());
    let long = "A".repeat(DIRECT_BATCH_MAX_BYTES);
    let batch = Batch::sign(&alice, &NETWORK, draft(alice_log, 1, &lines(&["x"]), &long));
    let parsed = Batch::parse(batch.as_bytes().to_vec(), &NETWORK);
    assert_eq!(parsed.map(|_| ()), Err(MalformedBatch));
}

/// The stored form would contain such a field twice: recovery could not parse it, and would
/// truncate the segment there.
#[test]
fn a_signed_field_named_as_a_local_field_is_refused() {
    let alice = identity(1);
    let alice_log = LogId {
        target: Target::parse("#general").expect("a room"),
        ..log(&alice, alice.id())
    };
    let text = lines(&["hello"]);
    let batch = Batch::sign(&alice, &NETWORK, draft(alice_log, 1, &text, "AAAA"));
    let json = String::from_utf8(batch.as_bytes().to_vec()).expect("text");
    assert!(Batch::parse(json.clone().into_bytes(), &NETWORK).is_ok());
    for field in [
        "\"late\":true",
        "\"before\":false",
        "\"backfill\":false",
        "\"received\":\"x\"",
        "\"plain\":\"x\"",
        "\"late\":null",
        "\"plain\":null",
    ] {
        let json = json.replacen(",\"content\"", &format!(",{field},\"content\""), 1);
        assert!(
            Batch::parse(json.into_bytes(), &NETWORK).is_err(),
            "{field}"
        );
    }
}
