//! `${NAME}` and `${NAME:-default}` in config values.

/// Replaces every `${NAME}` by the variable's value and every `${NAME:-default}` by the value, or by the default
/// when the variable is unset or empty. A default may hold further variables. `$${` stands for a literal `${`; any
/// other `$` is left alone.
///
/// # Errors
/// A message, when a variable without default is unset, a name is not one, or the closing brace is missing.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end =
            closing_brace(inside).ok_or_else(|| format!("`${{` without a closing brace in {text:?}"))?;
        out.push_str(&value_of(&inside[..end], lookup)?);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(inside: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("`${{{inside}}}` does not name an environment variable"));
    }
    match (lookup(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => expand(default, lookup),
        (None, None) => Err(format!(
            "the environment variable {name} is not set, and `${{{name}}}` names no default (`${{{name}:-…}}`)"
        )),
    }
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "HOME" => Some("/home/ada".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn names_defaults_nesting_and_escapes() {
        for (text, expected) in [
            ("plain $5 {x}", "plain $5 {x}"),
            ("${HOME}/m", "/home/ada/m"),
            ("${NOPE:-x}/${HOME}", "x//home/ada"),
            ("${EMPTY:-x}", "x"),
            ("[${EMPTY}]", "[]"),
            ("${NOPE:-${HOME}/.local}/b", "/home/ada/.local/b"),
            ("${NOPE:-}", ""),
            ("$${HOME}", "${HOME}"),
            ("ü${HOME}ü", "ü/home/adaü"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn errors_say_which_variable() {
        assert!(run("a ${NOPE} b").unwrap_err().contains("variable NOPE is not set"));
        assert!(run("${NOPE").unwrap_err().contains("closing brace"));
        assert!(run("${9X}").unwrap_err().contains("does not name"));
        assert!(run("${}").unwrap_err().contains("does not name"));
    }
}
