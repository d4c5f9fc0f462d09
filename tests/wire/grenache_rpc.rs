//! Requests of Grenache: pinned bytes, and what is made of payloads that others choose.
use p2pchat::base::lines::LINE_MAX_BYTES;
use p2pchat::wire::grenache::rpc::{
    RPC_NAME_MAX_BYTES, RpcRequest, parse_answer, write_answer, write_request,
};

use super::vector_files::vector;

const ID: &str = "3dcaf636-8965-4463-aad7-38d78f2c3e6a";

/// The messages have exactly these bytes.
#[test]
fn requests_and_answers_are_pinned() {
    let vector = vector("grenache_rpc.txt");
    let request = write_request(ID, "bob", "alice", "hi \"bob\"");
    vector.check("rpc_request", &request);
    let parsed = RpcRequest::parse(&request).expect("a request");
    assert_eq!((&*parsed.id, &*parsed.service), (ID, "bob"));
    assert_eq!(parsed.name.as_deref(), Some("alice"));
    assert_eq!(parsed.text, "hi \"bob\"");
    vector.check("rpc_answer", &write_answer(ID, None));
    let error = write_answer(ID, Some("ERR_P2PCHAT_NO_SERVICE"));
    vector.check("rpc_error", &error);
    assert_eq!(
        parse_answer(vector.text("rpc_answer")),
        Some((ID.to_owned(), true))
    );
    assert_eq!(parse_answer(&error), Some((ID.to_owned(), false)));
}

/// The text and the name come from the fields that programs use for them. Else the payload is the
/// text.
#[test]
fn a_payload_is_read_as_its_sender_means_it() {
    for (payload, name, text) in [
        (r#""hi""#, None, "hi"),
        (r#"{"message":"hi"}"#, None, "hi"),
        (r#"{"text":"hi","from":"bob"}"#, Some("bob"), "hi"),
        (
            r#"{"user":"u","content":"c","message":"m"}"#,
            Some("u"),
            "m",
        ),
        (r#"{"sender":"s","content":"c"}"#, Some("s"), "c"),
        (r#"{"username":"u","text":"t"}"#, Some("u"), "t"),
        (r#"{"name":"n","text":"t"}"#, Some("n"), "t"),
        (r#"{"message":"one\r\ntwo"}"#, None, "one  two"),
        (
            r#"{"message":7,"from":{}}"#,
            None,
            r#"{"from":{},"message":7}"#,
        ),
        ("[1,2]", None, "[1,2]"),
        ("null", None, "null"),
        (r#"{"message":""}"#, None, ""),
    ] {
        let request = RpcRequest::parse(&format!(r#"["1","s",{payload}]"#));
        let request = request.expect(payload);
        assert_eq!((request.name.as_deref(), &*request.text), (name, text));
    }
}

/// What is no request or exceeds a bound is none. A name that does is left out; a text is whole.
#[test]
fn requests_are_read_within_bounds() {
    let deep = format!(r#"["1","s",{}]"#, "[".repeat(10_000));
    let long_id = format!(r#"["{}","s",1]"#, "x".repeat(129));
    for other in [
        "",
        "hi",
        "[]",
        r#"["1","s"]"#,
        r#"["1","s",1,2]"#,
        r#"[1,"s",1]"#,
        r#"["1",null,1]"#,
        r#"{"rid":"1"}"#,
        r#"["1","s",1] x"#,
        &deep,
        &long_id,
    ] {
        assert_eq!(RpcRequest::parse(other), None, "{other}");
        assert_eq!(
            parse_answer(other).filter(|_| other.len() < 9),
            None,
            "{other}"
        );
    }
    let long = "é".repeat(LINE_MAX_BYTES);
    let request = RpcRequest::parse(&format!(r#"["1","s","{long}"]"#)).expect("a request");
    assert_eq!(request.text, long);
    let long = "x".repeat(RPC_NAME_MAX_BYTES + 1);
    let request = RpcRequest::parse(&format!(r#"["1","s",{{"from":"{long}","text":"hi"}}]"#));
    assert_eq!(request.expect("a request").name, None);
}
