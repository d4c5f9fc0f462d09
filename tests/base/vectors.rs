//! The bytes of batches and identities, pinned by the files in `tests/vectors`.
use p2pchat::base::batch::batch::Batch;
use p2pchat::base::batch::batch_layout::identifying_parts;
use p2pchat::base::identity::{Identity, PeerId};
use p2pchat::base::trust::fingerprint::Fingerprint;

use crate::batches;
use crate::vector_files::{Vector, shown_lines, vector, vectors};

/// The program signs exactly the bytes of the vector, and reads its fields from them.
fn assert_batch(vector: &Vector) {
    let signed = vector.sign(None);
    vector.check(
        "json",
        std::str::from_utf8(signed.as_bytes()).expect("JSON"),
    );
    vector.check("hash", &signed.hash.to_string());
    vector.check_content_hash(&signed);
    let json = vector.text("json").as_bytes().to_vec();
    let parsed = Batch::parse(json, &vector.network()).expect("a batch");
    vector.assert_fields(&parsed);
    assert_eq!(shown_lines(&parsed), vector.line_texts());
    assert!(!parsed.is_withheld());
}

#[test]
fn batches_to_a_room() {
    let vectors = vectors("batch_room.txt");
    assert_eq!(vectors.len(), 4);
    vectors.iter().for_each(assert_batch);
    let [first, second] = [&vectors[0], &vectors[1]];
    assert_eq!(second.text("previous"), first.text("hash"));
}

#[test]
fn a_batch_of_a_block() {
    assert_batch(&vector("batch_block.txt"));
}

#[test]
fn a_batch_that_republishes_lines() {
    assert_batch(&vector("batch_republishing.txt"));
}

#[test]
fn a_batch_whose_content_is_withheld() {
    let vector = vector("batch_withheld.txt");
    let whole = vector.sign(None);
    vector.check_content_hash(&whole);
    vector.check("hash", &whole.hash.to_string());
    let json = vector.text("json").as_bytes().to_vec();
    assert_eq!(json, batches::withheld(&whole));
    let parsed = Batch::parse(json, &vector.network()).expect("a batch");
    vector.assert_fields(&parsed);
    assert!(parsed.is_withheld() && shown_lines(&parsed).is_empty());
}

/// A damaged line is recognised by its header or by its signature, with its content or without.
#[test]
fn the_parts_that_identify_a_batch() {
    for vector in [&vectors("batch_room.txt")[0], &vector("batch_withheld.txt")] {
        let json = vector.text("json");
        let (header, rest) = json.split_once(",\"content").expect("a content");
        let (_, signature) = rest.split_once(",\"signature\":\"").expect("a signature");
        let parts = [header, signature.trim_end_matches("\"}")].map(str::as_bytes);
        let found: Vec<&[u8]> = identifying_parts(json.as_bytes()).collect();
        assert_eq!(found, parts);
    }
}

#[test]
fn identities() {
    for vector in vectors("identity.txt") {
        let identity = Identity::from_seed(&vector.key("seed"));
        let id = identity.id();
        vector.check_bytes("public_key", &id.0);
        vector.check("id", &id.to_string());
        vector.check_bytes("noise_secret", &identity.noise_secret());
        vector.check_bytes("noise_public", &id.noise_key().expect("a key"));
        vector.check("fingerprint", &Fingerprint::of(&id).to_string());
        assert_eq!(vector.text("id").parse::<PeerId>(), Ok(id));
    }
}
