//! Structs are parsed from JSON objects alone, at any depth. serde itself takes arrays as well.
use p2pchat::base::text::json_objects;
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize)]
struct Outer<'a> {
    name: &'a str,
    #[serde(default)]
    inner: Option<Inner>,
    #[serde(default)]
    list: Vec<Inner>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    number: u64,
}

#[test]
fn objects_are_parsed_at_any_depth() {
    let outer = Outer {
        name: "a",
        inner: Some(Inner { number: 1 }),
        list: vec![Inner { number: 2 }, Inner { number: 3 }],
    };
    let text = r#" {"name":"a","unknown":[{"x":1}],"inner":{"number":1},"list":[{"number":2},{"number":3}]} "#;
    assert_eq!(json_objects::parse(text), Some(outer));
    let without = r#"{"name":"a","inner":null}"#;
    assert!(json_objects::parse::<Outer>(without).is_some_and(|outer| outer.inner.is_none()));
}

#[test]
fn arrays_with_the_fields_in_their_order_are_refused() {
    for text in [
        r#"["a",{"number":1},[]]"#,
        r#"{"name":"a","inner":[1]}"#,
        r#"{"name":"a","list":[[2]]}"#,
    ] {
        assert!(serde_json::from_str::<Outer>(text).is_ok(), "{text}");
        assert_eq!(json_objects::parse::<Outer>(text), None, "{text}");
    }
}

#[test]
fn one_whole_value_is_needed() {
    for text in [
        "",
        "null",
        "{}",
        r#"{"name":"a""#,
        r#"{"name":"a"} {}"#,
        r#"{"name":1}"#,
        r#"{"name":"a","list":{"number":2}}"#,
    ] {
        assert_eq!(json_objects::parse::<Outer>(text), None, "{text}");
    }
}
