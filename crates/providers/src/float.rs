//! Numbers as a person wrote them.

/// The 64-bit number that a person would write for this 32-bit one: 0.2, not 0.20000000298023224.
pub(crate) fn decimal(value: f32) -> f64 {
    // The shortest decimal form that gives this float is parsed back, so it cannot fail; the cast covers it anyway.
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        for (value, expected) in [(0.2, "0.2"), (1.0, "1.0"), (0.95, "0.95"), (-2.0, "-2.0"), (1e-7, "1e-7")]
        {
            assert_eq!(serde_json::to_string(&decimal(value)).unwrap(), expected);
        }
    }
}
