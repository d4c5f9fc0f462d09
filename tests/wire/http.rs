//! The answers of HTTP: those of a Grape and of a gateway are pinned.
use p2pchat::wire::http::HttpAnswer;

use super::vector_files::vector;

/// An answer without a length is whole when the stream ends. One with a length is whole with it, and
/// not a byte before.
#[test]
fn answers_are_pinned() {
    for (file, name, status, is_whole) in [
        ("grenache.txt", "http_answer", 200, false),
        ("upnp.txt", "http_refusal", 500, true),
    ] {
        let text = vector(file).text(name).replace('↵', "\r\n");
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        for text in [&text, &text.replace('\r', "")] {
            let answer = HttpAnswer::parse(text.as_bytes()).expect(name);
            assert_eq!((answer.status, &*answer.body), (status, body));
            assert_eq!(answer.is_whole(), is_whole, "{name}");
            let cut = HttpAnswer::parse(&text.as_bytes()[..text.len() - 1]);
            assert!(!cut.expect(name).is_whole(), "{name}");
        }
    }
}

#[test]
fn other_answers_are_none() {
    for other in [
        "",
        "\r\n\r\n",
        "HTTP/2 200\n\n",
        "HTTP/1.1 200",
        "HTTP/1.1 x\n\n",
    ] {
        assert_eq!(HttpAnswer::parse(other.as_bytes()), None, "{other}");
    }
}
