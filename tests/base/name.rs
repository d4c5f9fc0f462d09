//! Names of peers and rooms: what they may contain, and that each has one spelling.
use p2pchat::base::name::{FolderName, NameError, Nick, PeerSelector, Room, Target};

/// Names as their owners write them: letters with accents, and scripts with combining marks.
const NAMES: [&str; 28] = [
    "bob",
    "Zoë",
    "Åsa",
    "Ñandú",
    "Nguyễn",
    "Ольга",
    "Андрей",
    "Ἀθηνᾶ",
    "山﨑",
    "がぎ",
    "한국",
    "कुंवर",
    "क्षेत्र",
    "বাংলা",
    "தமிழ்",
    "മലയാളം",
    "සිංහල",
    "ಕನ್ನಡ",
    "తెలుగు",
    "ગુજરાતી",
    "กู้",
    "ລາວ",
    "မြန်မာ",
    "ខ្មែរ",
    "שָׁלוֹם",
    "محمّد",
    "አማርኛ",
    "İsmail",
];

/// A name of any script is valid, shown as it is, and found by its selector.
#[test]
fn names_of_all_scripts_are_valid() {
    for text in NAMES {
        let nick = Nick::new(text).unwrap_or_else(|error| panic!("{text} {error}"));
        assert_eq!(Nick::sanitize(text), Some(nick.clone()));
        let selector = PeerSelector::parse(&format!("@{text}")).expect(text);
        let id = p2pchat::base::identity::Identity::from_seed(&[1; 32]).id();
        assert!(selector.matches(&nick, &id), "{text}");
        let room = Room::new(text).expect(text);
        assert_eq!(Target::parse(room.as_str()), Some(Target::Room(room)));
    }
}

/// Of two spellings that look the same, at most one is a name.
#[test]
fn another_spelling_is_refused() {
    for (text, culprit) in [
        // Letters and accents that are one character.
        ("Zoe\u{308}", '\u{308}'),
        ("e\u{323}\u{302}", '\u{323}'),
        ("か\u{3099}", '\u{3099}'),
        ("\u{1112}\u{1161}\u{11ab}", '\u{1161}'),
        ("\u{627}\u{653}", '\u{653}'),
        ("\u{928}\u{93c}", '\u{93c}'),
        ("\u{995}\u{9c7}\u{9be}", '\u{9be}'),
        ("\u{b95}\u{bc6}\u{bbe}", '\u{bbe}'),
        // Characters that NFC replaces by others.
        ("\u{212a}ate", '\u{212a}'),
        ("\u{2126}", '\u{2126}'),
        ("\u{f900}", '\u{f900}'),
        ("\u{958}", '\u{958}'),
        // Two marks of one letter in the other order.
        ("\u{e01}\u{e49}\u{e39}", '\u{e39}'),
        ("\u{5e9}\u{5c1}\u{5b8}", '\u{5b8}'),
        ("\u{915}\u{94d}\u{93c}", '\u{93c}'),
        // A mark between the two parts of a letter changes nothing.
        ("\u{dd9}\u{93c}\u{dca}", '\u{dca}'),
    ] {
        let error = NameError::InvalidCharacter(culprit);
        assert_eq!(Nick::new(text), Err(error), "{text:?}");
        assert_eq!(Room::new(text), Err(error), "{text:?}");
        assert_eq!(Nick::new_or_placeholder(text).as_str(), "?");
        if let Some(fit) = Nick::sanitize(text) {
            assert_eq!(Nick::new(fit.as_str()).as_ref(), Ok(&fit), "{text:?}");
        }
    }
    assert_eq!(
        Nick::sanitize("Zoe\u{308}").expect("a name").as_str(),
        "Zoe"
    );
}

/// A name begins with a visible character and contains no invisible one.
#[test]
fn what_shows_as_nothing_is_refused() {
    for c in [
        '\u{ad}',
        '\u{34f}',
        '\u{200b}',
        '\u{200d}',
        '\u{200f}',
        '\u{202e}',
        '\u{2028}',
        '\u{2060}',
        '\u{2800}',
        '\u{3164}',
        '\u{feff}',
        '\u{fe0f}',
        '\u{13430}',
        '\u{16fe4}',
        '\u{1d159}',
        '\u{e0041}',
        '\u{e0100}',
        '\u{85}',
        '\u{a0}',
        '\u{3000}',
    ] {
        for text in [format!("{c}"), format!("a{c}"), format!("a{c}b")] {
            assert_eq!(
                Nick::new(&text),
                Err(NameError::InvalidCharacter(c)),
                "{text:?}"
            );
        }
    }
    for text in [
        "\u{941}",
        "\u{e39}a",
        "\u{5b8}",
        "\u{1037}x",
        "\u{483}\u{430}",
    ] {
        let first = text.chars().next().expect("a character");
        assert_eq!(
            Nick::new(text),
            Err(NameError::InvalidCharacter(first)),
            "{text:?}"
        );
    }
}

/// Programs of an earlier version are in rooms whose names have another spelling. Their batches
/// parse, and their folders are read.
#[test]
fn rooms_of_earlier_versions_are_read() {
    let old = "#cafe\u{301}";
    assert!(Room::new(old).is_err());
    assert_eq!(
        Target::parse(old)
            .map(|target| target.to_string())
            .as_deref(),
        Some(old)
    );
    assert_eq!(FolderName::parse(old).expect("a folder").as_str(), old);
    for other in ["#Cafe", "cafe", "#a b", "#\u{202e}"] {
        assert!(
            Target::parse(other).is_none() && FolderName::parse(other).is_none(),
            "{other:?}"
        );
    }
}
