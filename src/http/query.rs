//! Reading a query string strictly: every name known and given once, every value what it should be.

use actix_web::web::Query;
use boca_core::Failure;

/// The values of `names` in a query string, in the same order.
///
/// # Errors
/// A bad request that names what is unknown, repeated or not text.
pub(super) fn values<const N: usize>(query: &str, names: [&str; N]) -> Result<[Option<String>; N], Failure> {
    let pairs = Query::<Vec<(String, String)>>::from_query(query)
        .map_err(|error| Failure::invalid("query", format!("the query string is not valid: {error}")))?;
    let mut values = [const { None }; N];
    for (name, value) in pairs.into_inner() {
        let Some(place) = names.iter().position(|known| *known == name) else {
            let known = match N {
                0 => "none".to_owned(),
                _ => names.map(|name| format!("`{name}`")).join(", "),
            };
            let shown: String = name.chars().take(60).collect();
            let message = format!("`{shown}` is not a parameter of this request, which knows {known}");
            return Err(Failure::invalid(shown, message));
        };
        if values[place].replace(value).is_some() {
            return Err(Failure::invalid(name.as_str(), format!("`{name}` is given twice")));
        }
    }
    Ok(values)
}

/// A whole number between two bounds.
///
/// # Errors
/// A bad request that names the parameter, its bounds and its value.
pub(super) fn number(name: &str, value: &str, least: u32, most: u32) -> Result<u32, Failure> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        let shown: String = value.chars().take(60).collect();
        let message = format!("`{name}` must be a whole number from {least} to {most}, got {shown:?}");
        Failure::invalid(name, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_and_others_named() {
        assert_eq!(values("", ["a"]), Ok([None]));
        assert_eq!(values("b=x%20y&a=1", ["a", "b"]), Ok([Some("1".into()), Some("x y".into())]));
        assert_eq!(values("c=1", ["a"]).unwrap_err().param.as_deref(), Some("c"));
        assert!(values("a=1&a=2", ["a"]).unwrap_err().message.contains("given twice"));
        assert!(values("a=1", []).unwrap_err().message.contains("knows none"));
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(number("limit", "7", 1, 10), Ok(7));
        for bad in ["0", "11", "-1", "x", "", "99999999999"] {
            assert!(number("limit", bad, 1, 10).unwrap_err().message.contains("from 1 to 10"), "{bad}");
        }
    }
}
