//! One spelling for each name. Unicode can write many letters in two ways, such as `é`: as one
//! character, or as `e` and a combining accent. Only one of two such spellings may be a name.
//! Otherwise two names that look the same would be different.
//!
//! Of two texts that are canonically equivalent (UAX #15), at most one passes
//! [`find_respellable`]. The rule is stricter than the normalization form NFC: the accents of
//! Latin, Greek and Cyrillic letters must be part of the letter. The crate for NFC
//! (`unicode-normalization`) adds 125 KB to a program. The tables here have less than 2 KB, and
//! are derived from the Unicode character database, version 14.
use unicode_width::UnicodeWidthChar as _;

/// Characters that may not stand in a name, as pairs of the first and the last one. Some have a
/// canonical decomposition that NFC does not undo. The others combine with the letter before them
/// to a character that exists.
const RESPELLABLE: &str = "\
    \u{300}\u{36f}\u{374}\u{374}\u{37e}\u{37e}\u{387}\u{387}\u{653}\u{655}\u{958}\u{95f}\
    \u{9d7}\u{9df}\u{a33}\u{a33}\u{a36}\u{a36}\u{a59}\u{a5b}\u{a5e}\u{a5e}\u{b56}\u{b5d}\
    \u{bd7}\u{bd7}\u{c56}\u{c56}\u{cd5}\u{cd6}\u{d57}\u{d57}\u{f43}\u{f43}\u{f4d}\u{f4d}\
    \u{f52}\u{f52}\u{f57}\u{f57}\u{f5c}\u{f5c}\u{f69}\u{f69}\u{f73}\u{f73}\u{f75}\u{f76}\
    \u{f78}\u{f78}\u{f81}\u{f81}\u{f93}\u{f93}\u{f9d}\u{f9d}\u{fa2}\u{fa2}\u{fa7}\u{fa7}\
    \u{fac}\u{fac}\u{fb9}\u{fb9}\u{1160}\u{11ff}\u{1ab0}\u{1aff}\u{1b35}\u{1b35}\
    \u{1dc0}\u{1dff}\u{1f71}\u{1f71}\u{1f73}\u{1f73}\u{1f75}\u{1f75}\u{1f77}\u{1f77}\
    \u{1f79}\u{1f79}\u{1f7b}\u{1f7b}\u{1f7d}\u{1f7d}\u{1fbb}\u{1fbb}\u{1fbe}\u{1fbe}\
    \u{1fc9}\u{1fc9}\u{1fcb}\u{1fcb}\u{1fd3}\u{1fd3}\u{1fdb}\u{1fdb}\u{1fe3}\u{1fe3}\
    \u{1feb}\u{1feb}\u{1fee}\u{1fef}\u{1ff9}\u{1ff9}\u{1ffb}\u{1ffb}\u{1ffd}\u{1ffd}\
    \u{20d0}\u{20ff}\u{2126}\u{2126}\u{212a}\u{212b}\u{2329}\u{232a}\u{2adc}\u{2adc}\
    \u{3099}\u{309a}\u{d7b0}\u{d7ff}\u{f900}\u{fa0d}\u{fa10}\u{fa10}\u{fa12}\u{fa12}\
    \u{fa15}\u{fa1e}\u{fa20}\u{fa20}\u{fa22}\u{fa22}\u{fa25}\u{fa26}\u{fa2a}\u{faff}\
    \u{fb1d}\u{fb4f}\u{fe20}\u{fe2f}\u{110ba}\u{110ba}\u{11127}\u{11127}\u{1133e}\u{1133e}\
    \u{11357}\u{11357}\u{114b0}\u{114b0}\u{114ba}\u{114ba}\u{114bd}\u{114bd}\
    \u{115af}\u{115af}\u{11930}\u{11930}\u{1d15e}\u{1d164}\u{1d1bb}\u{1d1c0}\
    \u{2f800}\u{2fa1f}";

/// The characters below U+10000 whose canonical combining class is not 0, as pairs of the first and
/// the last one. Characters of [`RESPELLABLE`] between them are left out or included. Canonically
/// equivalent texts may have such marks of one letter in another order.
const MARKS: &str = "\
    \u{483}\u{487}\u{591}\u{5bd}\u{5bf}\u{5bf}\u{5c1}\u{5c2}\u{5c4}\u{5c5}\u{5c7}\u{5c7}\
    \u{610}\u{61a}\u{64b}\u{65f}\u{670}\u{670}\u{6d6}\u{6dc}\u{6df}\u{6e4}\u{6e7}\u{6e8}\
    \u{6ea}\u{6ed}\u{711}\u{711}\u{730}\u{74a}\u{7eb}\u{7f3}\u{7fd}\u{7fd}\u{816}\u{819}\
    \u{81b}\u{823}\u{825}\u{827}\u{829}\u{82d}\u{859}\u{85b}\u{898}\u{89f}\u{8ca}\u{8e1}\
    \u{8e3}\u{8ff}\u{93c}\u{93c}\u{94d}\u{94d}\u{951}\u{954}\u{9bc}\u{9bc}\u{9cd}\u{9cd}\
    \u{9fe}\u{9fe}\u{a3c}\u{a3c}\u{a4d}\u{a4d}\u{abc}\u{abc}\u{acd}\u{acd}\u{b3c}\u{b3c}\
    \u{b4d}\u{b4d}\u{bcd}\u{bcd}\u{c3c}\u{c3c}\u{c4d}\u{c55}\u{cbc}\u{cbc}\u{ccd}\u{ccd}\
    \u{d3b}\u{d3c}\u{d4d}\u{d4d}\u{dca}\u{dca}\u{e38}\u{e3a}\u{e48}\u{e4b}\u{eb8}\u{eba}\
    \u{ec8}\u{ece}\u{f18}\u{f19}\u{f35}\u{f35}\u{f37}\u{f37}\u{f39}\u{f39}\u{f71}\u{f74}\
    \u{f7a}\u{f7d}\u{f80}\u{f84}\u{f86}\u{f87}\u{fc6}\u{fc6}\u{1037}\u{1037}\u{1039}\u{103a}\
    \u{108d}\u{108d}\u{135d}\u{135f}\u{1714}\u{1715}\u{1734}\u{1734}\u{17d2}\u{17d2}\
    \u{17dd}\u{17dd}\u{18a9}\u{18a9}\u{1939}\u{193b}\u{1a17}\u{1a18}\u{1a60}\u{1a60}\
    \u{1a75}\u{1a7f}\u{1b34}\u{1b34}\u{1b44}\u{1b44}\u{1b6b}\u{1b73}\u{1baa}\u{1bab}\
    \u{1be6}\u{1be6}\u{1bf2}\u{1bf3}\u{1c37}\u{1c37}\u{1cd0}\u{1cd2}\u{1cd4}\u{1ce0}\
    \u{1ce2}\u{1ce8}\u{1ced}\u{1ced}\u{1cf4}\u{1cf4}\u{1cf8}\u{1cf9}\u{2cef}\u{2cf1}\
    \u{2d7f}\u{2d7f}\u{2de0}\u{2dff}\u{302a}\u{302f}\u{a66f}\u{a66f}\u{a674}\u{a67d}\
    \u{a69e}\u{a69f}\u{a6f0}\u{a6f1}\u{a806}\u{a806}\u{a82c}\u{a82c}\u{a8c4}\u{a8c4}\
    \u{a8e0}\u{a8f1}\u{a92b}\u{a92d}\u{a953}\u{a953}\u{a9b3}\u{a9b3}\u{a9c0}\u{a9c0}\
    \u{aab0}\u{aab0}\u{aab2}\u{aab4}\u{aab7}\u{aab8}\u{aabe}\u{aabf}\u{aac1}\u{aac1}\
    \u{aaf6}\u{aaf6}\u{abed}\u{abed}";

/// Pairs of a letter and a sign that form another character. Alone, each of the two is needed.
const COMPOSABLE: &str = "\
    \u{928}\u{93c}\u{930}\u{93c}\u{933}\u{93c}\u{9c7}\u{9be}\u{b47}\u{b3e}\u{bc6}\u{bbe}\
    \u{bc7}\u{bbe}\u{cc6}\u{cc2}\u{d46}\u{d3e}\u{d47}\u{d3e}\u{dd9}\u{dca}\u{dd9}\u{dcf}\
    \u{dd9}\u{ddf}\u{ddc}\u{dca}\u{1025}\u{102e}";

/// Finds the first character because of which the text can be spelled in another way: it may not
/// stand here. `None`: the text is the only spelling.
pub fn find_respellable(text: &str) -> Option<char> {
    let (mut letter, mut mark) = (None, None);
    text.chars().find(|c| {
        let c = *c;
        if c.is_ascii() {
            (letter, mark) = (Some(c), None);
            return false;
        }
        let is_mark = is_in(MARKS, c) || c > '\u{ffff}' && c.width() == Some(0);
        // In one order only, whatever the combining classes are.
        let is_misplaced = is_mark && mark.is_some_and(|before| before > c);
        let composes = pairs(COMPOSABLE).any(|pair| (letter, c) == (Some(pair.0), pair.1));
        match is_mark {
            true => mark = Some(c),
            false => (letter, mark) = (Some(c), None),
        }
        is_misplaced || composes || is_in(RESPELLABLE, c)
    })
}

fn pairs(table: &str) -> impl Iterator<Item = (char, char)> {
    let mut chars = table.chars();
    std::iter::from_fn(move || Some((chars.next()?, chars.next()?)))
}

/// Whether one of the ranges in the table contains the character.
fn is_in(table: &str, c: char) -> bool {
    pairs(table).any(|(first, last)| (first..=last).contains(&c))
}
