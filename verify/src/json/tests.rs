//! What two JSON readers could understand differently is refused.

use proptest::prelude::*;

use super::*;

fn syntax(text: &str) -> String {
    match parse(text.as_bytes()) {
        Err(JsonError::Syntax(problem)) => problem,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn labels_and_annotations_may_differ_in_case_alone_and_fields_beside_and_below_them_may_not() {
    for map in ["annotations", "Labels"] {
        assert!(parse(format!(r#"{{"{map}":{{"Name":"a","name":"b"}}}}"#).as_bytes()).is_ok(), "{map}");
        assert!(syntax(&format!(r#"{{"{map}":{{"name":"a","name":"b"}}}}"#)).contains("stands twice"), "{map}");
        let below = format!(r#"{{"{map}":{{"a":{{"layers":1,"Layers":2}}}}}}"#);
        assert!(syntax(&below).contains("stands twice"), "{map}");
    }
    assert!(syntax(r#"{"annotations":{},"Annotations":{}}"#).contains("stands twice"));
    assert!(syntax(r#"{"labels":{"Name":"a","name":"b"}}"#).contains("stands twice"));
}

#[test]
fn keys_that_collide_in_any_case_are_refused_at_every_depth() {
    for (text, key) in [
        (r#"{"a":1,"a":1}"#, "a"),
        (r#"{"layers":[],"LAYERS":[]}"#, "layers"),
        ("{\"layers\":[],\"layer\u{17f}\":[]}", "layers"),
        ("{\"key\":1,\"\u{212a}ey\":1}", "key"),
        (r#"{"x":[{"config":1,"Config":2}]}"#, "config"),
        (r#"{"a":1,"\u0061":2}"#, "a"),
        (r#"{"a":1,"\u0041":2}"#, "a"),
    ] {
        let expected = format!("the key {key:?} stands twice in one object (case ignored)");
        assert!(syntax(text).starts_with(&expected), "{text}");
    }
    assert!(parse(r#"{"a":{"a":{"a":1}},"b":1}"#.as_bytes()).is_ok());
}

#[test]
fn sixty_four_levels_are_read_and_one_more_is_a_limit() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(parse(&nested(64)).is_ok());
    let limit = LimitReached { what: "levels in a JSON document", limit: 64 };
    assert_eq!(parse(&nested(65)), Err(JsonError::Limit(limit)));
    assert_eq!(parse(&nested(1_000_000)), Err(JsonError::Limit(limit)));
}

#[test]
fn a_flood_of_values_is_a_limit() {
    let array = |count: usize| format!("[{}]", vec!["0"; count].join(",")).into_bytes();
    assert!(parse(&array(MAX_JSON_VALUES - 1)).is_ok());
    let limit = LimitReached { what: "values in a JSON document", limit: MAX_JSON_VALUES };
    assert_eq!(parse(&array(MAX_JSON_VALUES)), Err(JsonError::Limit(limit)));
}

#[test]
fn only_plain_unsigned_integers_are_integers() {
    let read = |number: &str| {
        parse_object(format!(r#"{{"size":{number}}}"#).as_bytes(), "test", |object| object.integer("size"))
    };
    assert_eq!(read("0"), Ok(0));
    assert_eq!(read("18446744073709551615"), Ok(u64::MAX));
    for number in ["1e2", "1E2", "1.0", "-0", "-1", "18446744073709551616", "\"1\"", "true", "[1]"] {
        assert_eq!(read(number), Err(wrong("size", "is not a plain integer")), "{number}");
    }
    for number in ["01", "+1", "0x1", "1.", ".5", "1e", "NaN"] {
        assert!(matches!(read(number), Err(JsonError::Syntax(_))), "{number}");
    }
}

#[test]
fn text_that_is_not_unicode_or_not_json_is_refused() {
    for text in
        [r#""\ud800""#, r#""\udc00\ud800""#, r#""\x""#, "\"\n\"", "[1,]", "{\"a\"}", "", "nul", "'a'", "// x\n1"]
    {
        assert!(!syntax(text).is_empty(), "{text}");
    }
    assert!(matches!(parse(b"\"\xff\""), Err(JsonError::Syntax(_))));
    assert!(matches!(parse(b"{\"\xc0\xaf\":1}"), Err(JsonError::Syntax(_))));
    assert!(matches!(parse(b"\xef\xbb\xbf1"), Err(JsonError::Syntax(_))));
}

#[test]
fn nothing_may_follow_the_document() {
    assert!(parse(b" {} \n").is_ok());
    for text in ["{}{}", "{} x", "1 2", "[]]", "{}\0"] {
        assert!(syntax(text).starts_with("trailing characters"), "{text}");
    }
}

#[test]
fn a_member_that_differs_in_case_only_is_an_error_where_it_is_wanted() {
    let object = |text: &str, key: &'static str| {
        parse_object(text.as_bytes(), "test", |object| object.optional(key).map(|value| value.is_some()))
    };
    assert_eq!(object(r#"{"urls":1}"#, "urls"), Ok(true));
    assert_eq!(object(r#"{"urls":null}"#, "urls"), Ok(false));
    assert_eq!(object(r#"{"url":1}"#, "urls"), Ok(false));
    assert_eq!(object(r#"{"URLs":1}"#, "urls"), Err(wrong("urls", "is written \"URLs\" in test")));
}

#[test]
fn missing_and_unknown_members_are_named() {
    let problem = parse_object(b"{}", "manifest", |object| object.string("digest").map(str::to_owned));
    assert_eq!(problem, Err(wrong("digest", "is missing in manifest")));
    let problem = parse_object(b"{\"a\":1,\"b\":2}", "payload", |object| object.only(&["a"]));
    assert_eq!(problem, Err(wrong("payload", "has the unknown field \"b\"")));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn what_is_read_is_json_for_serde_json_too(text in "[\\[\\]{}:,\"\\\\a-cA-C0-9eE.+\\-u ntrlf]{0,40}") {
        if parse(text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}
