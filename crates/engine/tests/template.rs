//! The demo model's template, rendered as Python renders it.

mod template_cases;

use boca_engine::text::{ChatTemplate, Conversation, TemplateError};
use serde_json::json;
use std::path::Path;

#[test]
fn the_demo_template_renders_byte_for_byte_as_in_python() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let template = template_cases::read_template(&here.join("../../assets/demo-model/chat_template.jinja"));
    let cases = template_cases::read_cases(&here.join("tests/data-template/demo.json"));
    assert!(cases.len() > 400, "the table is cut short: {} cases", cases.len());
    let different: Vec<String> = cases.iter().filter_map(|case| case.difference(&template)).collect();
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), cases.len(), different.join("\n"));
}

fn template(source: &str) -> Result<ChatTemplate, TemplateError> {
    ChatTemplate::new("a.jinja", source, template_cases::SPECIAL_TOKENS.into_iter(), Vec::new())
}

fn say(text: &str) -> Conversation {
    Conversation { messages: vec![json!({"role": "user", "content": text})], ..Conversation::default() }
}

#[test]
fn errors_name_the_template_and_the_line() {
    let error = template("a\n{% if %}").unwrap_err().to_string();
    assert!(error.starts_with("a.jinja: ") && error.contains("line 2"), "{error}");
    let refusing = template("{{ raise_exception('roles must alternate') }}").unwrap();
    let error = refusing.render(&say("x")).unwrap_err();
    assert_eq!(
        error,
        TemplateError::Refused { name: "a.jinja".into(), reason: "roles must alternate".into() }
    );
    let failing = template("\n\n{{ messages.x.y }}").unwrap();
    let error = failing.render(&say("x")).unwrap_err().to_string();
    assert!(error.contains("a.jinja") && error.contains("line 3"), "{error}");
}

#[test]
fn a_hostile_template_is_stopped() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for a in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 9999999999 }}",
    ] {
        let error = template(source).unwrap().render(&say("x")).unwrap_err();
        assert!(matches!(error, TemplateError::Failed { .. }), "{source}: {error}");
    }
}

#[test]
fn what_cannot_be_traced_is_refused() {
    // `sum` of characters: nothing that a stand-in could follow.
    let template = template("{% if messages[0].content < 'b' %}a{% else %}b{% endif %}").unwrap();
    assert!(matches!(template.render(&say("aaa")), Err(TemplateError::Untraceable { .. })));
    assert_eq!(template.render(&say("zzz")).unwrap().text, "b");
}

#[test]
fn helpers_of_transformers_are_there() {
    let template =
        template("{{ strftime_now('%Y') | length }}{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}")
            .unwrap();
    assert_eq!(template.render(&say("x")).unwrap().text, "41");
}
