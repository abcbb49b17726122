//! Python's string methods, on text of which parts may be disguised: what they look for is found through the
//! disguise, and what they cut out keeps it.

use super::disguise::Disguise;
use super::python_text::{Ends, is_space, rsplit, split, split_lines, strip};
use super::python_value::to_str;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Value};

/// Calls a method of `str`.
///
/// # Errors
/// `UnknownMethod` for one that is not here, `InvalidOperation` and the like for wrong arguments.
pub(super) fn string_method(
    disguise: &Disguise,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let plain = disguise.reveal(text);
    let cut = |piece: &str| Value::from(Disguise::project(text, &plain, piece));
    let cut_all = |pieces: Vec<&str>| Value::from(pieces.into_iter().map(&cut).collect::<Vec<_>>());
    let plain_arg = |value: &Value| revealed(disguise, value);
    let args_plain: Vec<Value> = args.iter().map(plain_arg).collect();
    let all_chars = |test: fn(char) -> bool| -> Result<Value, Error> {
        let () = from_args(args)?;
        Ok(Value::from(!plain.is_empty() && plain.chars().all(test)))
    };
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(&args_plain)?;
            let ends = Ends { left: method != "rstrip", right: method != "lstrip" };
            Ok(cut(strip(&plain, chars, ends)))
        }
        "split" | "rsplit" => {
            let (given, kwargs): (&[Value], Kwargs) = from_args(&args_plain)?;
            let (separator, at_most): (Option<Value>, Option<i64>) = from_args(given)?;
            let separator = match separator {
                None => kwargs.get::<Option<Value>>("sep")?,
                given => given,
            };
            let at_most = match at_most {
                None => kwargs.get::<Option<i64>>("maxsplit")?.unwrap_or(-1),
                Some(at_most) => at_most,
            };
            kwargs.assert_all_used()?;
            let separator = separator.filter(|s| !s.is_none());
            let separator = match &separator {
                None => None,
                Some(value) => match value.as_str() {
                    Some("") => return Err(bad("empty separator")),
                    Some(separator) => Some(separator),
                    None => return Err(bad(format!("{method}: the separator must be a string"))),
                },
            };
            let pieces = if method == "split" {
                split(&plain, separator, at_most)
            } else {
                rsplit(&plain, separator, at_most)
            };
            Ok(cut_all(pieces))
        }
        "splitlines" => {
            let (given, kwargs): (&[Value], Kwargs) = from_args(&args_plain)?;
            let (keep_ends,): (Option<bool>,) = from_args(given)?;
            let keep_ends = keep_ends.or(kwargs.get("keepends")?).unwrap_or(false);
            kwargs.assert_all_used()?;
            Ok(cut_all(split_lines(&plain, keep_ends)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(&args_plain)?;
            if separator.is_empty() {
                return Err(bad("empty separator"));
            }
            let found = if method == "partition" { plain.find(separator) } else { plain.rfind(separator) };
            Ok(match found {
                Some(at) => {
                    let (head, tail) = plain.split_at(at);
                    let (middle, tail) = tail.split_at(separator.len());
                    cut_all(vec![head, middle, tail])
                }
                None if method == "partition" => cut_all(vec![&plain, &plain[..0], &plain[..0]]),
                None => cut_all(vec![&plain[..0], &plain[..0], &plain]),
            })
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(&args_plain)?;
            Ok(cut(plain.strip_prefix(prefix).unwrap_or(&plain)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(&args_plain)?;
            Ok(cut(plain.strip_suffix(suffix).unwrap_or(&plain)))
        }
        "startswith" | "endswith" => {
            let (part,): (&Value,) = from_args(&args_plain)?;
            let matches = |part: &str| {
                if method == "startswith" { plain.starts_with(part) } else { plain.ends_with(part) }
            };
            match (part.as_str(), part.kind()) {
                (Some(part), _) => Ok(Value::from(matches(part))),
                (None, ValueKind::Seq) => {
                    Ok(Value::from(part.try_iter()?.any(|part| part.as_str().is_some_and(matches))))
                }
                _ => Err(bad(format!("{method} takes a string or a tuple of strings"))),
            }
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (part,): (&str,) = from_args(&args_plain)?;
            let found = if method.starts_with('r') { plain.rfind(part) } else { plain.find(part) };
            match found {
                Some(at) => Ok(Value::from(plain[..at].chars().count())),
                None if method.ends_with("find") => Ok(Value::from(-1)),
                None => Err(bad("substring not found")),
            }
        }
        "count" => {
            let (part,): (&str,) = from_args(&args_plain)?;
            Ok(Value::from(plain.matches(part).count()))
        }
        "replace" => {
            let (old, new, count): (&Value, &Value, Option<i64>) = from_args(args)?;
            let (old, new) = (to_str(old, disguise), to_str(new, disguise));
            let old = disguise.reveal(&old);
            let count = usize::try_from(count.unwrap_or(-1)).unwrap_or(usize::MAX);
            let mut out = String::new();
            let mut done = 0;
            for (at, _) in plain.match_indices(&*old).take(count) {
                out.push_str(Disguise::project(text, &plain, &plain[done..at]));
                out.push_str(&new);
                done = at + old.len();
            }
            out.push_str(Disguise::project(text, &plain, &plain[done..]));
            Ok(Value::from(out))
        }
        "upper" => Ok(by_char(disguise, text, |c, _| c.to_uppercase().collect())),
        "lower" | "casefold" => Ok(by_char(disguise, text, |c, _| c.to_lowercase().collect())),
        "capitalize" => Ok(by_char(disguise, text, |c, before| match before {
            None => c.to_uppercase().collect(),
            Some(_) => c.to_lowercase().collect(),
        })),
        "title" => Ok(by_char(disguise, text, |c, before| match before {
            Some(before) if before.is_alphabetic() => c.to_lowercase().collect(),
            _ => c.to_uppercase().collect(),
        })),
        "isspace" => all_chars(is_space),
        "isalpha" => all_chars(char::is_alphabetic),
        "isalnum" => all_chars(char::is_alphanumeric),
        "isdigit" | "isdecimal" | "isnumeric" => all_chars(char::is_numeric),
        "isascii" => Ok(Value::from(plain.is_ascii())),
        "islower" => {
            Ok(Value::from(plain.chars().any(char::is_lowercase) && !plain.chars().any(char::is_uppercase)))
        }
        "isupper" => {
            Ok(Value::from(plain.chars().any(char::is_uppercase) && !plain.chars().any(char::is_lowercase)))
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let items: Vec<String> = items.try_iter()?.map(|item| to_str(&item, disguise)).collect();
            Ok(Value::from(items.join(text)))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// A value with the disguise taken off its text, also inside lists and maps.
pub(super) fn revealed(disguise: &Disguise, value: &Value) -> Value {
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            if disguise.clashes_with(text) { Value::from(disguise.reveal(text)) } else { value.clone() }
        }
        ValueKind::Seq if !value.is_tuple() => {
            value.try_iter().into_iter().flatten().map(|item| revealed(disguise, &item)).collect()
        }
        ValueKind::Map if !value.is_kwargs() => {
            Value::from_pairs(value.try_iter().into_iter().flatten().map(|key| {
                let item = value.get_item(&key).unwrap_or_default();
                (revealed(disguise, &key), revealed(disguise, &item))
            }))
        }
        _ => value.clone(),
    }
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Maps each character, given the plain one and the plain one before it; what foreign characters become stays foreign.
fn by_char(disguise: &Disguise, text: &str, map: impl Fn(char, Option<char>) -> String) -> Value {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    for c in text.chars() {
        let plain = disguise.reveal_char(c);
        let mapped = map(plain, before);
        if disguise.is_stand_in(c) {
            out.push_str(&disguise.conceal(&mapped));
        } else {
            out.push_str(&mapped);
        }
        before = Some(plain);
    }
    Value::from(out)
}
