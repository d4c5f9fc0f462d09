//! Batches: what is signed, and which bytes are accepted.
use p2pchat::base::batch::batch::{Batch, LocalFields, LogId, MAX_SAFE_INTEGER};
use p2pchat::base::batch::batch_layout::{HEADER_MAX_BYTES, Proof};
use p2pchat::base::batch::batch_parsing::MalformedBatch;
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Hash, Identity, NetworkTag};
use p2pchat::base::lines::{BATCH_LINES_MAX, Lines};
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::republished_lines::RepublishedLines;
use p2pchat::base::request_id::RequestId;
use p2pchat::base::text::control_chars::is_control;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;

use crate::batches;

const NETWORK: NetworkTag = NetworkTag::OPEN;
const SALT: u64 = 0x5a17;

fn alice() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn lines(texts: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for text in texts {
        lines.push(text.as_bytes()).expect("a fit line");
    }
    lines
}

/// A batch of alice in #general, to be signed.
fn draft(sequence: u64, lines: &Lines) -> UnsignedBatch<'_> {
    UnsignedBatch {
        log: LogId {
            target: Target::Room(Room::general()),
            author: alice().id(),
            incarnation: 7,
        },
        username: Nick::new("alice").expect("a fit name"),
        sequence,
        lamport: 40,
        timestamp: WallTime(1_700_000_000_000),
        run: 0xabc,
        uptime: 1234,
        previous: (sequence > 1).then_some(Hash([9; 32])),
        form: LineForm::Text,
        lines,
        sealed: None,
        republishes: None,
        salt: SALT,
    }
}

fn batch(texts: &[&str]) -> Batch {
    Batch::sign(&alice(), &NETWORK, draft(1, &lines(texts)))
}

fn parse(json: &str) -> Result<Batch, MalformedBatch> {
    Batch::parse(json.as_bytes().to_vec(), &NETWORK)
}

fn json_of(batch: &Batch) -> String {
    String::from_utf8(batch.as_bytes().to_vec()).expect("JSON")
}

/// The batch whose JSON has `to` in place of `from`.
fn with(from: &str, to: &str) -> Result<Batch, MalformedBatch> {
    let json = json_of(&batch(&["good day"]));
    assert!(json.contains(from), "{json}");
    parse(&json.replacen(from, to, 1))
}

fn is_signed(batch: &Batch) -> bool {
    batch.verify(&alice().id().verifying_key().expect("a key"))
}

fn texts_of(batch: &Batch) -> Vec<String> {
    let mut texts = Vec::new();
    batch.for_each_line(|line| texts.push(line.to_owned()));
    texts
}

/// The signature covers the exact bytes of the header, and the hash of the salt and the content's
/// exact bytes: a second implementation signs the same bytes.
#[test]
fn the_signature_covers_the_header_and_the_hash_of_the_content() {
    for texts in [&["good day"][..], &["", "two", "\u{1}\t\"three\" é"]] {
        let batch = batch(texts);
        let parts = batches::parts(&batch);
        assert_eq!(parts.salt, "0000000000005a17");
        let json = batches::signed(&alice(), &parts.header, &parts.content, &parts.salt);
        assert_eq!(json, json_of(&batch));
        let parsed = parse(&json).expect("a batch");
        assert!(is_signed(&parsed));
        assert_eq!(parsed.hash, batch.hash);
        assert_eq!(texts_of(&parsed), texts);
    }
}

/// The lines of an array without escapes and white space are found at its quotes. They are the same
/// as those that a parser finds.
#[test]
fn a_plain_content_needs_no_parser() {
    let own = batch(&["one", "two"]);
    assert!(!own.is_plain(), "no peer has sent it");
    let parts = batches::parts(&own);
    let signed = |content| batches::signed(&alice(), &parts.header, content, &parts.salt);
    for (content, texts, is_plain) in [
        (r#"["one","two"]"#, ["one", "two"], true),
        (r#"["",""]"#, ["", ""], true),
        (r#"["é","],["]"#, ["é", "],["], true),
        (r#"["one", "two"]"#, ["one", "two"], false),
        (r#"[ "one","two"]"#, ["one", "two"], false),
        (r#"["one","two" ]"#, ["one", "two"], false),
        (r#"["o\"ne","two"]"#, ["o\"ne", "two"], false),
        (r#"["one","t\twö"]"#, ["one", "t\twö"], false),
    ] {
        let json = signed(content);
        let received = parse(&json).expect(content);
        assert_eq!(received.is_plain(), is_plain, "{content}");
        assert_eq!(texts_of(&received), texts);
        if is_plain {
            assert_eq!(received.plain_lines().collect::<Vec<_>>(), texts);
        }
        let stored = Batch::parse_stored(json.as_bytes(), &NETWORK);
        let (stored, _) = stored.expect("a line without a checksum");
        assert!(
            !stored.is_plain(),
            "an earlier version may have stored control characters"
        );
    }
    for content in [
        r#"["one","two"#,
        r#"["one","two""#,
        r#"["one","two",]"#,
        r#"["one"]"#,
    ] {
        assert!(parse(&signed(content)).is_err(), "{content}");
    }
    let header = parts
        .header
        .replacen("#general", &format!("@{}", own.log.author), 1);
    let header = header.replacen(",\"count\":2", "", 1);
    let direct = batches::signed(&alice(), &header, r#"["c2VhbGVk"]"#, &parts.salt);
    assert!(!parse(&direct).expect("a batch").is_plain(), "it is sealed");
}

#[test]
fn no_signed_byte_can_be_changed() {
    let json = json_of(&batch(&["good day"]));
    for (from, to) in [
        ("good", "bad!"),
        ("abc\"", "abd\""),
        ("1234", "1235"),
        (":40", ":41"),
        ("5a17", "5a18"),
        ("alice", "alicf"),
        ("\"sequence\":1,", "\"sequence\": 1,"),
    ] {
        assert!(json.contains(from), "{json}");
        let changed = parse(&json.replacen(from, to, 1)).expect("well-formed");
        assert!(!is_signed(&changed), "{to}");
    }
    assert!(is_signed(&parse(&json).expect("a batch")));
}

#[test]
fn another_network_has_other_hashes_and_signatures() {
    let batch = batch(&["good day"]);
    let other = Batch::parse(batch.as_bytes().to_vec(), &NetworkTag([1; 32])).expect("a batch");
    assert_ne!(other.hash, batch.hash);
    assert!(!is_signed(&other));
}

/// All receivers accept the same batches, so a time has the form that p2pchat writes.
#[test]
fn times_have_one_form() {
    let written = "2023-11-14T22:13:20.000Z";
    let stored = r#","received":"2026-01-01T00:00:00.000Z"}"#;
    let json = json_of(&batch(&["good day"])).replace('}', stored);
    let received = |json: &str| {
        let (_, local) = Batch::parse_stored(json.as_bytes(), &NETWORK).expect("a batch");
        local.received
    };
    assert_eq!(received(&json), WallTime(1_767_225_600_000));
    for other in [
        "2023-11-14t22:13:20.000Z",
        "2023-11-14 22:13:20.000Z",
        "2023-11-14T22:13:20.000z",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.0000Z",
        "2023-11-14T22:13:20.000+00:00",
        "2023-11-14T22:13:60.000Z",
    ] {
        assert_eq!(with(written, other).err(), Some(MalformedBatch), "{other}");
        let json = json.replace("2026-01-01T00:00:00.000Z", other);
        assert_eq!(received(&json), WallTime::default(), "received {other}");
    }
}

#[test]
fn hexadecimal_fields_have_one_form() {
    for (from, to) in [
        ("\"0000000000000abc\"", "\"abc\""),
        ("\"0000000000000abc\"", "\"+000000000000abc\""),
        ("\"0000000000000abc\"", "\"0000000000000ABC\""),
        ("\"0000000000000abc\"", "2748"),
        ("\"0000000000000007\"", "\"7\""),
        ("\"0000000000000007\"", "\"+000000000000007\""),
        ("\"0000000000005a17\"", "\"0000000000005A17\""),
        ("\"0000000000005a17\"", "\"5a17\""),
    ] {
        assert_eq!(with(from, to).err(), Some(MalformedBatch), "{to}");
    }
}

#[test]
fn numbers_are_bounded_so_that_every_json_reader_keeps_them_exact() {
    assert!(with("1234", &MAX_SAFE_INTEGER.to_string()).is_ok());
    for number in ["9007199254740992", "18446744073709551616", "-1", "1.5"] {
        assert!(with("1234", number).is_err(), "{number}");
    }
}

/// However an author writes its lines in JSON, they are those that a JSON parser finds, each once.
#[test]
fn all_forms_of_json_are_the_same_lines() {
    let max = BATCH_LINES_MAX;
    for content in [
        r#"["a","b"]"#,
        r#"["a", "b"]"#,
        r#"["a","b" ,"c"]"#,
        r#"[ "a","b"]"#,
        r#"["a","b","c" ]"#,
        r#"["","",""]"#,
        r#"["a]","[",",","],["]"#,
        r#"["Ünïcode","日本語"]"#,
        r#"["a","\\","\\\"","b"]"#,
        r#"["a","b","\u0041\u00e9"]"#,
        &format!("[{}\"x\"]", "\"x\",".repeat(max - 1)),
        &format!("[{} \"x\"]", "\"x\",".repeat(max - 1)),
    ] {
        let lines: Vec<String> = serde_json::from_str(content).expect("JSON");
        let parsed = parse(&with_content(lines.len(), content)).expect(content);
        assert_eq!(texts_of(&parsed), lines, "{content}");
    }
    for content in [
        r#"["a",7]"#,
        r#"["a",["b"]]"#,
        r#"["a",null]"#,
        r#"["a",{}]"#,
    ] {
        for count in 1..=2 {
            let parsed = parse(&with_content(count, content)).map(|b| b.count);
            assert_eq!(parsed, Err(MalformedBatch), "{content}");
        }
    }
}

/// A signed batch with this content, whose header says that there are `count` lines.
fn with_content(count: usize, content: &str) -> String {
    let header = batches::parts(&batch(&["one"])).header;
    let count = format!("\"sequence\":1,\"count\":{count},");
    let header = header.replacen("\"sequence\":1,", &count, 1);
    batches::signed(&alice(), &header, content, "0000000000000000")
}

/// The header says how many lines the batch has; the content must have as many.
#[test]
fn the_number_of_lines_stands_in_the_header() {
    let (one, three) = (batch(&["one"]), batch(&["one", "two", "three"]));
    assert!(!json_of(&one).contains("\"count\""), "absent means 1");
    assert!(json_of(&three).contains(",\"sequence\":1,\"count\":3,"));
    assert_eq!((three.count, three.last_sequence()), (3, 3));
    let with_count = |count: &str, content: &str| {
        let header = batches::parts(&one).header;
        let sequence = format!("\"sequence\":1,{count}");
        let header = header.replacen("\"sequence\":1,", &sequence, 1);
        parse(&batches::signed(
            &alice(),
            &header,
            content,
            "0000000000000000",
        ))
        .map(|b| b.count)
    };
    assert_eq!(with_count("\"count\":2,", r#"["a","b"]"#), Ok(2));
    assert_eq!(with_count("\"count\":1,", r#""a""#), Ok(1));
    assert_eq!(with_count("\"count\":1,", r#"["a"]"#), Ok(1));
    let max = BATCH_LINES_MAX;
    let full = format!("[{}\"\"]", "\"\",".repeat(max - 1));
    assert_eq!(
        with_count(&format!("\"count\":{max},"), &full),
        Ok(max as u64)
    );
    let overfull = format!("[{}\"\"]", "\"\",".repeat(max));
    for (count, content) in [
        ("\"count\":2,", r#""a""#),
        ("\"count\":1,", r#"["a","b"]"#),
        ("", r#"["a","b"]"#),
        ("\"count\":0,", "[]"),
        ("", "[]"),
        ("\"count\":0,", r#""a""#),
        ("\"count\":null,", r#""a""#),
        ("\"count\":\"1\",", r#""a""#),
        ("\"count\":1,\"count\":1,", r#""a""#),
        (&format!("\"count\":{},", max + 1), &overfull),
    ] {
        assert_eq!(with_count(count, content), Err(MalformedBatch), "{count}");
    }
}

/// What was withheld can't be shown; the batch keeps its hash, its signature and its place.
#[test]
fn a_batch_verifies_and_chains_without_its_content() {
    for texts in [&["good day"][..], &["one", "two", "three"]] {
        let whole = Batch::sign(&alice(), &NETWORK, draft(5, &lines(texts)));
        let withheld = Batch::parse(batches::withheld(&whole), &NETWORK).expect("a batch");
        assert!(withheld.is_withheld() && !whole.is_withheld());
        assert!(is_signed(&withheld));
        assert_eq!(withheld.hash, whole.hash);
        assert_eq!(withheld.previous, whole.previous);
        assert_eq!(withheld.count, texts.len() as u64);
        assert_eq!(withheld.last_sequence(), whole.last_sequence());
        assert_eq!(
            (withheld.shown_count(), whole.shown_count()),
            (0, whole.count)
        );
        assert_eq!(texts_of(&withheld), [""; 0]);
        assert_eq!(withheld.sealed_content(), b"");
        assert_eq!(withheld.as_bytes(), batches::withheld(&whole));
        let mut stored = Vec::new();
        let local = LocalFields {
            late: true,
            published: Some(WallTime(1_795_257_064_123)),
            ..LocalFields::default()
        };
        withheld.write_stored(local, &mut stored);
        let line = stored.strip_suffix(b"\n").expect("a line");
        let (read, read_local) = Batch::parse_stored(line, &NETWORK).expect("a stored batch");
        assert_eq!(read.as_bytes(), withheld.as_bytes());
        assert_eq!((read.hash, read_local), (whole.hash, local));
        let header = Batch::parse_header(line).expect("a header");
        assert_eq!(header.last_sequence, whole.last_sequence());
    }
}

/// Equal texts have different hashes, so nobody can guess a withheld text from its hash.
#[test]
fn the_salt_hides_what_was_withheld() {
    let text = lines(&["yes"]);
    let with_salt = |salt| {
        let batch = Batch::sign(
            &alice(),
            &NETWORK,
            UnsignedBatch {
                salt,
                ..draft(1, &text)
            },
        );
        String::from_utf8(batches::withheld(&batch)).expect("JSON")
    };
    let hash_of = |json: String| json.split("\"content_hash\":\"").nth(1).map(str::to_owned);
    assert_ne!(hash_of(with_salt(1)), hash_of(with_salt(2)));
    assert!(!with_salt(1).contains("salt"));
}

/// Each mix of content, salt and hash but the two whole ones is no batch, whoever signed it.
#[test]
fn content_salt_and_hash_come_together_or_not_at_all() {
    let whole = batch(&["good day"]);
    let batches::Parts {
        header,
        content,
        salt,
        signature,
    } = batches::parts(&whole);
    let hash = batches::content_hash(&salt, &content);
    let field = |name: &str, value: &str| format!(",\"{name}\":\"{value}\"");
    let content = format!(",\"content\":{content}");
    let salt = field("salt", &salt);
    let hash = field("content_hash", &hash.to_string());
    let signature = field("signature", &signature);
    let json = |fields: &[&str]| format!("{header}{}}}", fields.concat());
    for fields in [
        [&*content, &salt, &signature].as_slice(),
        &[&hash, &signature],
    ] {
        let batch = parse(&json(fields)).expect("a batch");
        assert!(is_signed(&batch));
    }
    let unknown = field("later", "x");
    for fields in [
        // Something is missing.
        [&*signature].as_slice(),
        &[&content, &signature],
        &[&salt, &signature],
        &[&content, &salt],
        &[&hash],
        // Something is there twice.
        &[&content, &salt, &hash, &signature],
        &[&hash, &content, &salt, &signature],
        &[&hash, &salt, &signature],
        &[&salt, &hash, &signature],
        &[&content, &content, &salt, &signature],
        &[&content, &salt, &salt, &signature],
        &[&hash, &hash, &signature],
        &[&content, &salt, &signature, &signature],
        // The order differs.
        &[&salt, &content, &signature],
        &[&signature, &content, &salt],
        &[&content, &signature, &salt],
        &[&signature, &hash],
        // Something lies between or after, which no signature would cover.
        &[&content, &unknown, &salt, &signature],
        &[&content, &salt, &unknown, &signature],
        &[&hash, &unknown, &signature],
        &[&content, &salt, &signature, &unknown],
        &[&hash, &signature, &unknown],
        &[&content, &salt, &signature, " "],
        &[&content, " ", &salt, &signature],
        &[&content, &salt, " ", &signature],
        &[&hash, " ", &signature],
        // JSON in another form.
        &[&content.replace(':', ": "), &salt, &signature],
        &[&content.replace(',', ", "), &salt, &signature],
        &[
            &content.replace("content", "c\\u006fntent"),
            &salt,
            &signature,
        ],
        &[&content, &salt.replace(':', ": "), &signature],
        &[&content, &salt, &signature.replace(':', " :")],
        &[&hash.replace(':', ": "), &signature],
        &[&hash.replace("\"content", " \"content"), &signature],
        &[",\"content\":null", &salt, &signature],
        &[&content, ",\"salt\":null", &signature],
        &[",\"content_hash\":null", &signature],
        &[",\"content\":7", &salt, &signature],
        &[",\"content\":[\"a\",7]", &salt, &signature],
        &[",\"content\":{\"a\":\"b\"}", &salt, &signature],
    ] {
        assert!(parse(&json(fields)).is_err(), "{}", json(fields));
    }
}

/// The header ends where the parsed field `content` begins, whatever its strings and unknown fields
/// look like.
#[test]
fn no_text_in_the_header_moves_its_end() {
    let parts = batches::parts(&batch(&["good day"]));
    let salt = "0000000000000000";
    for added in [
        // Ends of headers, batches and signatures inside strings and nested objects.
        r#""later":",\"content\":\"fake\",\"salt\":\"0000000000000000\",\"signature\":\"x\"}""#,
        r#""later":{"a":1,"content":"fake","salt":"0000000000000000","signature":"x"}"#,
        r#""later":["x",{"a":1,"content_hash":"00","signature":"x"}]"#,
        r#""content ":"fake","Content":"fake""#,
    ] {
        let header = format!("{},{added}", parts.header);
        let json = batches::signed(&alice(), &header, r#""good day""#, salt);
        let batch = parse(&json).expect("a batch with unknown fields");
        assert!(is_signed(&batch), "{json}");
        assert_eq!(texts_of(&batch), ["good day"]);
        let hash = batches::content_hash(salt, r#""good day""#);
        let signature = batches::signature(&alice(), &header, &hash);
        let json = format!("{header},\"content_hash\":\"{hash}\",\"signature\":\"{signature}\"}}");
        let withheld = parse(&json);
        assert_eq!(withheld.expect("a batch").hash, batch.hash);
    }
    // A name is a claim, and may contain anything.
    let name = r#","content":"fake","salt":"0000000000000000"#;
    let quoted = format!("{name:?}");
    let header = parts.header.replacen("\"alice\"", &quoted, 1);
    let batch = parse(&batches::signed(&alice(), &header, r#""good day""#, salt));
    let batch = batch.expect("a batch");
    assert!(is_signed(&batch));
    assert_eq!(texts_of(&batch), ["good day"]);
}

/// No flipped bit of a stored line goes unnoticed: the line is refused, or the batch is whole.
#[test]
fn a_damaged_stored_line_never_passes_for_another_batch() {
    let mut stored = Vec::new();
    let batch = batch(&["good day", "good night"]);
    batch.write_stored(LocalFields::default(), &mut stored);
    stored.pop();
    let signed = batch.as_bytes().len() - 1;
    for at in 0..stored.len() {
        let mut damaged = stored.clone();
        damaged[at] ^= 1;
        match Batch::parse_stored(&damaged, &NETWORK) {
            Ok((read, _)) => {
                assert!(at >= signed, "byte {at}");
                assert_eq!(read.as_bytes(), batch.as_bytes());
            }
            Err(_) => assert!(Batch::parse_stored(&stored, &NETWORK).is_ok()),
        }
    }
    // Without its checksum, the line of an earlier program needs a valid signature.
    let text = String::from_utf8(stored).expect("JSON");
    let (earlier, _) = text.split_once(",\"check\"").expect("a checksum");
    let earlier = format!("{earlier}}}");
    let parse = |line: &str| Batch::parse_stored(line.as_bytes(), &NETWORK).is_ok();
    assert!(parse(&earlier) && !parse(&earlier.replace("day", "dax")));
    // Its author may have signed what nobody should store.
    let content = r#"["a","b"]"#;
    assert!(parse(&with_content(2, content)) && !parse(&with_content(1, content)));
}

/// The checksum of a stored line tells whether a signature was verified. If it was not, it may be
/// false.
#[test]
fn a_stored_line_tells_how_its_batch_is_proven() {
    let signed = batch(&["good day"]);
    for (proof, check) in [(Proof::Signature, "68683023"), (Proof::Chain, "6f3cc5ca")] {
        let mut falsified = batches::falsified(&signed);
        falsified.proof = proof;
        let mut stored = Vec::new();
        falsified.write_stored(LocalFields::default(), &mut stored);
        let line = stored.strip_suffix(b"\n").expect("a line");
        let text = std::str::from_utf8(line).expect("JSON");
        assert!(
            text.ends_with(&format!(",\"check\":\"{check}\"}}")),
            "{text}"
        );
        let (read, _) = Batch::parse_stored(line, &NETWORK).expect("a stored batch");
        assert_eq!(read.proof, proof);
        assert_eq!(read.is_sendable(), proof == Proof::Signature);
        let mut whole = signed.clone();
        whole.proof = proof;
        assert!(whole.is_sendable());
    }
}

/// The id of a client's request is stored beside its lines, as the client wrote it, and not sent.
#[test]
fn the_id_of_a_request_is_stored_and_not_sent() {
    for json in ["7", "-1.5e3", r#""a\"b""#, r#""0123456789abcdef-1""#] {
        let mut batch = batch(&["good day"]);
        let sent = json_of(&batch);
        batch.request = RequestId::parse(json);
        assert_eq!(json_of(&batch), sent);
        let mut stored = Vec::new();
        batch.write_stored(LocalFields::default(), &mut stored);
        let line = stored.strip_suffix(b"\n").expect("a line");
        let text = std::str::from_utf8(line).expect("JSON");
        assert!(
            text.contains(&format!(",\"request\":{json},\"check\":")),
            "{text}"
        );
        let (read, _) = Batch::parse_stored(line, &NETWORK).expect("a stored batch");
        assert_eq!(read.request, batch.request);
        assert_eq!(json_of(&read), sent);
        assert!(is_signed(&read));
    }
}

/// What is no short number or string is no id, and cannot break the line of the store.
#[test]
fn ids_of_requests_are_bounded() {
    let string = |length: usize| format!("\"{}\"", "x".repeat(length));
    assert!(RequestId::parse(&string(62)).is_some());
    assert!(RequestId::parse(&string(63)).is_none());
    for json in [
        "",
        "x",
        "null",
        "[1]",
        "{}",
        "1,2",
        "\"a",
        "\"a\nb\"",
        "7\n8",
        "\"a\",\"b\":\"c\"",
        "\"a\u{9b}b\"",
    ] {
        assert_eq!(RequestId::parse(json), None, "{json}");
    }
}

/// Local fields are appended by the store. A batch from the wire can't bring its own.
#[test]
fn local_fields_never_come_from_outside() {
    for field in [
        r#""received":"2026-01-01T00:00:00.000Z""#,
        r#""late":true"#,
        r#""before":null"#,
        r#""backfill":false"#,
        r#""request":7"#,
        r#""plain":"x""#,
    ] {
        assert!(with("}", &format!(",{field}}}")).is_err(), "after: {field}");
        let header = batches::parts(&batch(&["good day"])).header;
        let header = format!("{header},{field}");
        let json = batches::signed(&alice(), &header, r#""a""#, "0000000000000000");
        assert!(parse(&json).is_err(), "in the header: {field}");
    }
}

/// Each batch of a repaired log says under the signature which lines it publishes again.
#[test]
fn the_link_to_a_forked_log_is_signed() {
    let lines_again = RepublishedLines {
        incarnation: 0xf0,
        sequence: 12,
        hash: Hash([7; 32]),
    };
    let text = lines(&["again"]);
    let batch = Batch::sign(
        &alice(),
        &NETWORK,
        UnsignedBatch {
            republishes: Some(lines_again),
            ..draft(1, &text)
        },
    );
    let json = json_of(&batch);
    let hash = "07".repeat(32);
    let field = format!(
        r#""republishes":{{"incarnation":"00000000000000f0","sequence":12,"hash":"{hash}"}}"#
    );
    assert!(json.contains(&field), "{json}");
    let parsed = parse(&json).expect("a batch");
    assert_eq!(parsed.republishes, Some(lines_again));
    assert!(is_signed(&parsed));
    let with = |from: &str, to: &str| parse(&json.replacen(from, to, 1));
    let changed = with("\"sequence\":12", "\"sequence\":13").expect("a batch");
    assert!(!is_signed(&changed));
    for (from, to) in [
        (&*field, "\"republishes\":null"),
        (&field, "\"republishes\":{}"),
        ("00000000000000f0", "f0"),
        ("\"sequence\":12", "\"sequence\":0"),
        ("\"sequence\":12", "\"sequence\":9007199254740991"),
        (&hash, "07"),
    ] {
        assert!(with(from, to).is_err(), "{to}");
    }
}

/// The store has one line for each batch, so neither the JSON nor a line may break it.
#[test]
fn a_line_feed_is_refused() {
    assert!(with("\"sequence\":1", "\"sequence\": 1").is_ok());
    assert!(with("\"sequence\":1", "\"sequence\":\n1").is_err());
    assert!(with("good day", "good\\tday").is_ok());
    assert!(with("good day", "good\\nday").is_err());
}

/// What could control a terminal. Each character for which the rule holds is here, or near one.
fn control_characters() -> impl Iterator<Item = char> {
    ('\0'..'\u{2100}').filter(|c| is_control(*c) && *c != '\n' && *c != '\r')
}

/// The store is plain text: what we sign and store can be shown at a terminal, byte by byte.
#[test]
fn control_characters_are_escaped_in_what_we_sign_and_store() {
    let controls: String = control_characters().collect();
    assert!(controls.chars().count() > 70);
    let text = format!("\tä…{controls}\"\\日本");
    let lines = lines(&[&text, "plain"]);
    let room = Batch::sign(&alice(), &NETWORK, draft(1, &lines));
    let direct = UnsignedBatch {
        log: LogId {
            target: Target::Peer(Identity::from_seed(&[2; 32]).id()),
            ..draft(1, &lines).log
        },
        sealed: Some("AAAA"),
        ..draft(1, &lines)
    };
    for batch in [room, Batch::sign(&alice(), &NETWORK, direct)] {
        let mut stored = Vec::new();
        batch.write_stored(LocalFields::default(), &mut stored);
        stored.pop();
        for bytes in [batch.as_bytes(), &stored] {
            let json = std::str::from_utf8(bytes).expect("UTF-8");
            assert!(!json.contains(|c| c == '\t' || is_control(c)), "{json:?}");
        }
        let parsed = parse(&json_of(&batch)).expect("a batch");
        assert!(is_signed(&parsed) && !parsed.is_unstorable());
        let (read, _) = Batch::parse_stored(&stored, &NETWORK).expect("a stored batch");
        assert_eq!(texts_of(&read), [&text, "plain"]);
    }
}

/// A batch with raw control characters, or with a long header, is verified and never used. Lines
/// that an earlier program stored stay readable.
#[test]
fn raw_control_characters_and_long_headers_are_unstorable() {
    let parts = batches::parts(&batch(&["good day"]));
    let signed =
        |header: &str, content: &str| batches::signed(&alice(), header, content, &parts.salt);
    let with_header = |field: &str| signed(&format!("{}{field}", parts.header), &parts.content);
    let mut unstorable = Vec::new();
    for c in control_characters().filter(|c| *c >= '\u{7f}') {
        unstorable.push(signed(&parts.header, &format!("\"good {c} day\"")));
        unstorable.push(with_header(&format!(",\"later\":\"{c}\"")));
        unstorable.push(with_header(&format!(",\"{c}\":1")));
    }
    unstorable.push(with_header("\r"));
    unstorable.push(signed(&parts.header, "[\r\"good day\"]"));
    let field = |bytes: usize| format!(",\"later\":\"{}\"", "x".repeat(bytes - 11));
    let room_for_more = HEADER_MAX_BYTES - parts.header.len();
    unstorable.push(with_header(&field(room_for_more + 1)));
    for json in &unstorable {
        let parsed = parse(json).expect("a batch");
        assert!(is_signed(&parsed), "{json:?}");
        assert!(parsed.is_unstorable() && parsed.is_withheld(), "{json:?}");
        assert_eq!(texts_of(&parsed), [""; 0]);
        let (stored, _) = Batch::parse_stored(json.as_bytes(), &NETWORK).expect("a stored batch");
        assert!(!stored.is_unstorable() && texts_of(&stored)[0].starts_with("good"));
        assert_eq!(stored.hash, parsed.hash);
    }
    let withheld = batches::withheld(&batch(&["good day"]));
    let withheld = Batch::parse(withheld, &NETWORK).expect("a batch");
    assert!(!withheld.is_unstorable());
    for json in [
        with_header(&field(room_for_more)),
        with_header(r#","later":"\t\u009b""#),
        with_header("\t"),
        with_header(",\"later\":\"é…日本\u{200d}\u{200f}\""),
        signed(&parts.header, r#""\u0000\u001b\u007f\u009b\u2028\u202e""#),
    ] {
        let parsed = parse(&json).expect("a batch");
        assert!(is_signed(&parsed) && !parsed.is_withheld(), "{json:?}");
    }
}

/// Earlier versions signed any JSON in the unknown field `block`: such a batch is no violation, and
/// its lines are plain ones.
#[test]
fn only_one_true_marks_blocks() {
    let lines = lines(&["one\u{b}two"]);
    let block = UnsignedBatch {
        form: LineForm::Block,
        ..draft(1, &lines)
    };
    let json = json_of(&Batch::sign(&alice(), &NETWORK, block));
    let form_of = |value: &str| {
        let changed = json.replace("\"block\":true", &format!("\"block\":{value}"));
        parse(&changed).expect("a batch").form
    };
    assert_eq!(form_of("true"), LineForm::Block);
    for other in [
        "false",
        "null",
        "1",
        "\"true\"",
        "{}",
        "[true]",
        "true,\"block\":true",
    ] {
        assert_eq!(form_of(other), LineForm::Text, "{other}");
    }
    // Another field may contain what follows a content.
    let changed = json.replace("{\"type\"", "{\"x\":{\"a\":1,\"salt\":\"0\"},\"type\"");
    assert_ne!(changed, json);
    assert_eq!(parse(&changed).expect("a batch").form, LineForm::Block);
    // Only what is signed counts, which stands before the content.
    let text = json_of(&Batch::sign(&alice(), &NETWORK, draft(1, &lines)));
    for field in [",\"salt\":", ",\"signature\":"] {
        let changed = text.replace(field, &format!(",\"block\":true{field}"));
        assert_ne!(changed, text);
        let form = parse(&changed).map(|batch| batch.form).ok();
        assert_ne!(form, Some(LineForm::Block), "{field}");
    }
}

/// What becomes of a JSON text: refused, unstorable, or accepted with so many actions.
fn outcome(json: &str) -> Option<(bool, u64)> {
    let batch = parse(json).ok()?;
    assert_eq!(batch.form, LineForm::Action);
    Some((batch.is_unstorable(), batch.count))
}

#[test]
fn a_long_content_is_parsed_as_a_short_one() {
    // A short content is parsed with the other fields, a long one apart.
    let action = |count: usize| {
        let lines = lines(&vec!["first good day"; count]);
        let form = LineForm::Action;
        json_of(&Batch::sign(
            &alice(),
            &NETWORK,
            UnsignedBatch {
                form,
                ..draft(1, &lines)
            },
        ))
    };
    let (short, long) = (action(2), action(200));
    let nested = r#"{"x":{"a":1,"content":["first"],"salt":"0000000000000000"},"#;
    for (from, to, expected) in [
        ("good", "good", Some(false)),
        ("good", "g\\u0041d", Some(false)),
        ("good", "g\u{e9}d", Some(false)),
        ("good", "g\u{7f}d", Some(true)),
        ("good", "g\u{2028}d", Some(true)),
        ("good", "g\td", None),
        ("good", "g\u{1}d", None),
        ("good", "g\"d", None),
        ("good", "g\\d", None),
        ("good", "g\\nd", None),
        ("day\"]", "day\",\"more\"]", None),
        ("day\"]", "day\"],\"content\":[\"first\"]", None),
        ("day\"]", "day\"],\"y\":1", None),
        ("day\"]", "day\"] ", None),
        ("day\"],", "day\"],,", None),
        ("\"content\":", "\"content\": ", None),
        ("\"content\":[", "\"content\":5,\"content\":[", None),
        ("\"content\":[", "\"content\":{\"salt\":[", None),
        ("\"content\":[\"", "\"content\":\"[", None),
        ("\"salt\":\"", "\"salt\":\"0", None),
        ("\"salt\":", "\"salt\":\"0000000000000000\",\"salt\":", None),
        (
            "\"signature\":",
            "\"content\":[\"first\"],\"signature\":",
            None,
        ),
        ("{", "{\"content\":[\"first\"],", None),
        ("{", nested, Some(false)),
        (
            "{",
            "{\"x\":[{\"a\":1,\"content\":\"first\"}],",
            Some(false),
        ),
        (
            "{",
            "{\"x\":\"{\\\"a\\\":1,\\\"content\\\":\",",
            Some(false),
        ),
    ] {
        for (json, count) in [(&short, 2), (&long, 200)] {
            assert!(json.contains(from), "{from}");
            let expected = expected.map(|is_unstorable| (is_unstorable, count));
            assert_eq!(
                outcome(&json.replacen(from, to, 1)),
                expected,
                "{from}: {to}"
            );
        }
    }
    // The signature does not cover what is behind it.
    for json in [&short, &long] {
        let mut stored = Vec::new();
        let batch = parse(json).expect("a batch");
        batch.write_stored(LocalFields::default(), &mut stored);
        let stored = String::from_utf8(stored).expect("JSON");
        let read = |line: &str| Batch::parse_stored(line.trim_end().as_bytes(), &NETWORK);
        assert!(is_signed(&read(&stored).expect("a batch").0));
        let second = "\"content\":[\"first\"],\"received\":";
        assert!(read(&stored.replacen("\"received\":", second, 1)).is_err());
    }
    let texts = texts_of(&parse(&long).expect("a batch"));
    assert_eq!(texts, ["first good day"; 200]);
    let whole = long.replacen('{', nested, 1);
    assert_eq!(texts_of(&parse(&whole).expect("a batch")), texts);
}

/// A damaged line end joins two batches in one line, which is no batch then.
#[test]
fn two_batches_in_one_line_are_none() {
    let of = |count: usize| json_of(&batch(&vec!["{ good } day {"; count]));
    for (first, second) in [(1, 1), (1, 200), (200, 1), (200, 200)] {
        let joined = format!("{}*{}", of(first), of(second));
        assert!(Batch::parse_header(joined.as_bytes()).is_none());
        assert!(Batch::parse_stored(joined.as_bytes(), &NETWORK).is_err());
        assert!(parse(&joined).is_err());
    }
    let header = Batch::parse_header(of(200).as_bytes()).expect("a batch");
    assert_eq!(header.last_sequence, 200);
}

/// The header of a long batch is read without its content, which may be damaged.
#[test]
fn a_header_is_read_beside_a_damaged_content() {
    let json = json_of(&batch(&vec!["good day"; 200]));
    let at = json.find("good").expect("a line");
    for byte in [0x07, b'\\', 0xff] {
        let mut damaged = json.clone().into_bytes();
        damaged[at] = byte;
        let header = Batch::parse_header(&damaged).expect("a header");
        assert_eq!(header.last_sequence, 200);
        assert!(Batch::parse_stored(&damaged, &NETWORK).is_err());
    }
    let content = json.find(",\"content\":").expect("a content");
    assert!(Batch::parse_header(&json.as_bytes()[content..]).is_none());
}
