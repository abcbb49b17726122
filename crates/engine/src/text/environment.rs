//! The template engine set up as transformers sets up Jinja2, with Python's rules where the engine has its own.
//!
//! Source: transformers' chat template code (`trim_blocks`, `lstrip_blocks`, loop controls, `tojson`,
//! `raise_exception`, `strftime_now`), Jinja2's documentation of filters and tests.

use super::disguise::Disguise;
use super::python_json::{JsonStyle, dumps};
use super::python_text::{Ends, strip};
use super::python_value::to_str;
use super::see_through::{HOLDS, SAME};
use super::string_methods::{revealed, string_method};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use std::sync::Arc;

/// Steps that one rendering may take, where 64 bytes of text count as a step too. A long conversation takes a
/// hundredth of it; a hostile template is stopped within a second.
const FUEL: u64 = 4_000_000;

/// The widest `indent` of `tojson`.
const MAX_INDENT: usize = 64;

/// Marks the errors that a template raises itself, so that they can be told from defects of the template.
pub(super) const RAISED: &str = "raised by the template: ";

/// An environment that knows which characters are disguised.
pub(super) fn environment(disguise: &Disguise) -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.expect("the default delimiters are valid"));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    let disguise = Arc::new(disguise.clone());

    let d = Arc::clone(&disguise);
    env.set_formatter(move |out, _state, value| Ok(out.write_str(&to_str(value, &d))?));
    let d = Arc::clone(&disguise);
    env.set_unknown_method_callback(move |state, value, method, args| match value.as_str() {
        Some(text) => match string_method(&d, text, method, args) {
            Err(error) if error.kind() == ErrorKind::UnknownMethod => {
                minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
            }
            result => result,
        },
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    });
    add_functions(&mut env, &disguise);
    add_filters(&mut env, &disguise);
    add_tests(&mut env, &disguise);
    env
}

fn add_functions(env: &mut Environment<'static>, disguise: &Arc<Disguise>) {
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
    env.add_function("strftime_now", |format: String| -> Result<String, Error> {
        jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
    });
    let d = Arc::clone(disguise);
    env.add_function(SAME, move |a: Value, b: Value| same(&d, &a, &b));
    let d = Arc::clone(disguise);
    env.add_function(HOLDS, move |container: Value, item: Value| holds(&d, &container, &item));
}

fn add_filters(env: &mut Environment<'static>, disguise: &Arc<Disguise>) {
    let d = Arc::clone(disguise);
    env.add_filter("tojson", move |value: Value, args: Rest<ValueOrKwargs>| {
        to_json(&d, &value, &args.into_values())
    });
    let d = Arc::clone(disguise);
    env.add_filter("string", move |value: Value| to_str(&value, &d));
    let d = Arc::clone(disguise);
    env.add_filter("trim", move |value: Value, chars: Option<String>| {
        let text = to_str(&value, &d);
        let plain = d.reveal(&text);
        let chars = chars.map(|chars| d.reveal(&chars).into_owned());
        let piece = strip(&plain, chars.as_deref(), Ends { left: true, right: true });
        Disguise::project(&text, &plain, piece).to_owned()
    });
    // Filters that are the string method of the same name, on `str(value)`.
    for name in ["upper", "lower", "capitalize", "replace", "split"] {
        let d = Arc::clone(disguise);
        env.add_filter(name, move |value: Value, args: Rest<ValueOrKwargs>| {
            string_method(&d, &to_str(&value, &d), name, &args.into_values())
        });
    }
    let d = Arc::clone(disguise);
    env.add_filter("title", move |value: Value| {
        let text = to_str(&value, &d);
        let plain = d.reveal(&text);
        let result = minijinja::filters::title(plain.as_ref().into());
        // It looks at single characters in a way of its own: what it makes of foreign text is all foreign.
        if d.clashes_with(&text) { d.conceal(&result) } else { result }
    });
}

fn add_tests(env: &mut Environment<'static>, disguise: &Arc<Disguise>) {
    // Jinja2: whatever `iter()` takes. The engine also lets `none` through.
    env.add_test("iterable", |value: Value| !value.is_none() && value.try_iter().is_ok());
    env.add_test("sequence", |value: Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined)
    });
    for name in ["eq", "equalto", "=="] {
        let d = Arc::clone(disguise);
        env.add_test(name, move |a: Value, b: Value| same(&d, &a, &b));
    }
    for name in ["ne", "!="] {
        let d = Arc::clone(disguise);
        env.add_test(name, move |a: Value, b: Value| !same(&d, &a, &b));
    }
    let d = Arc::clone(disguise);
    env.add_test("in", move |item: Value, container: Value| holds(&d, &container, &item));
    let d = Arc::clone(disguise);
    env.add_test("startingwith", move |text: String, part: String| {
        d.reveal(&text).starts_with(&*d.reveal(&part))
    });
    let d = Arc::clone(disguise);
    env.add_test("endingwith", move |text: String, part: String| {
        d.reveal(&text).ends_with(&*d.reveal(&part))
    });
    for (name, method) in [("lower", "islower"), ("upper", "isupper")] {
        let d = Arc::clone(disguise);
        env.add_test(name, move |value: Value| -> Result<bool, Error> {
            Ok(string_method(&d, &to_str(&value, &d), method, &[])?.is_true())
        });
    }
}

/// `a == b`, through the disguise.
fn same(disguise: &Disguise, a: &Value, b: &Value) -> bool {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => disguise.reveal(a) == disguise.reveal(b),
        _ => revealed(disguise, a) == revealed(disguise, b),
    }
}

/// `item in container`, through the disguise.
fn holds(disguise: &Disguise, container: &Value, item: &Value) -> Result<bool, Error> {
    match container.kind() {
        ValueKind::Undefined => Ok(false),
        ValueKind::String => {
            let text = disguise.reveal(container.as_str().unwrap_or_default());
            let part = to_str(item, disguise);
            Ok(text.contains(&*disguise.reveal(&part)))
        }
        ValueKind::Map => {
            let found = container.get_item(item)?;
            let plain = revealed(disguise, item);
            Ok(!found.is_undefined() || !container.get_item(&plain)?.is_undefined())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            Ok(container.try_iter()?.any(|other| same(disguise, &other, item)))
        }
        _ => Err(Error::new(ErrorKind::InvalidOperation, "cannot perform a containment check on this value")),
    }
}

/// transformers' `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn to_json(disguise: &Disguise, value: &Value, args: &[Value]) -> Result<String, Error> {
    let (args, kwargs): (&[Value], Kwargs) = from_args(args)?;
    if args.len() > 4 {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let named = |place: usize, name: &str| -> Result<Option<Value>, Error> {
        let value = match args.get(place) {
            Some(value) => Some(value.clone()),
            None => kwargs.get(name)?,
        };
        Ok(value.filter(|value| !value.is_none()))
    };
    let ensure_ascii = named(0, "ensure_ascii")?.is_some_and(|flag| flag.is_true());
    let indent = named(1, "indent")?.map(|width| match width.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(width.as_usize().unwrap_or(0).min(MAX_INDENT)),
    });
    let separators = named(2, "separators")?;
    let sort_keys = named(3, "sort_keys")?.is_some_and(|flag| flag.is_true());
    kwargs.assert_all_used()?;
    let mut style = JsonStyle::new(ensure_ascii, indent, sort_keys);
    if let Some(separators) = separators {
        let pair: Vec<Value> = separators.try_iter()?.collect();
        let [item, key] = pair.as_slice() else {
            return Err(Error::new(ErrorKind::InvalidOperation, "`separators` must be a pair"));
        };
        style.item_separator = to_str(item, disguise);
        style.key_separator = to_str(key, disguise);
    }
    dumps(value, &style, disguise)
}
