//! Fingerprints: what two people read to each other.
use p2pchat::base::identity::Identity;
use p2pchat::base::trust::fingerprint::{Fingerprint, FingerprintError};

fn fingerprint(seed: u8) -> Fingerprint {
    Fingerprint::of(&Identity::from_seed(&[seed; 32]).id())
}

/// A person may type it in capitals, without blanks, with dashes, or without check digits.
#[test]
fn a_fingerprint_is_read_as_people_type_it() {
    let bobs = fingerprint(2);
    let shown = bobs.to_string();
    let groups: Vec<&str> = shown.split(' ').collect();
    assert!(groups.len() == 10 && groups.iter().all(|group| group.len() == 5));
    let short: String = groups.iter().map(|group| &group[..4]).collect();
    for text in [
        shown.clone(),
        shown.to_uppercase(),
        groups.concat(),
        groups.join("-"),
        short,
    ] {
        assert_eq!(Fingerprint::parse(&text), Ok(bobs), "{text}");
    }
    for text in [
        "",
        "x",
        &shown[1..],
        &groups.concat()[..45],
        &format!("{shown} 0"),
        "é",
    ] {
        assert_eq!(
            Fingerprint::parse(text),
            Err(FingerprintError::Form),
            "{text}"
        );
    }
}

/// Each single wrong digit, and each swap of two neighbours but 0 and f, is noticed where it is.
#[test]
fn a_misread_group_is_named() {
    let shown = fingerprint(2).to_string();
    for (at, digit) in shown.char_indices().filter(|(_, c)| *c != ' ') {
        let misread = Err(FingerprintError::Misread(at / 6 + 1));
        for wrong in "0123456789abcdef".chars().filter(|c| *c != digit) {
            let mut text = shown.clone();
            text.replace_range(at..at + 1, wrong.encode_utf8(&mut [0; 4]));
            assert_eq!(Fingerprint::parse(&text), misread, "{text}");
        }
        let next = shown[at + 1..].chars().next().filter(|next| *next != ' ');
        let Some(next) = next.filter(|next| *next != digit) else {
            continue;
        };
        if [digit, next] != ['0', 'f'] && [digit, next] != ['f', '0'] {
            let mut text = shown.clone();
            text.replace_range(at..at + 2, &format!("{next}{digit}"));
            assert_eq!(Fingerprint::parse(&text), misread, "{text}");
        }
    }
}
