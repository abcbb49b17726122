//! Who judges, and who merges.

use super::Candidate;
use crate::ProviderKind;
use std::time::Duration;

/// The place of the candidate that helps: the one named in the settings; else the model of this machine, when it is
/// free and no demo; else the first of `preference` that can be asked.
///
/// # Errors
/// Why there is nobody, in one sentence.
pub fn helper(
    named: Option<&str>,
    candidates: &[Candidate],
    preference: &[usize],
    time_left: Duration,
) -> Result<usize, String> {
    let is_free = |candidate: &Candidate| {
        candidate.availability.can_be_asked()
            && candidate
                .load
                .as_ref()
                .is_none_or(|load| !load.is_memory_short && load.expected_wait < time_left)
    };
    if let Some(name) = named {
        return match candidates.iter().position(|candidate| candidate.facts.name == name) {
            Some(place) if is_free(&candidates[place]) => Ok(place),
            Some(_) => Err(format!("`{name}` cannot be asked now")),
            None => Err(format!("`{name}` may not see this question, or does not exist")),
        };
    }
    let is_real = |candidate: &Candidate| is_free(candidate) && !candidate.facts.is_demo;
    let engine = candidates.iter().position(|c| c.facts.kind == ProviderKind::Engine && is_real(c));
    let others = || preference.iter().copied().find(|place| candidates.get(*place).is_some_and(is_real));
    engine.or_else(others).ok_or_else(|| "nobody can be asked for it now".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::testing::candidate;

    #[test]
    fn the_named_one_then_the_free_engine_then_the_preferred() {
        let second = Duration::from_secs(1);
        let mut all = vec![candidate("gemini"), candidate("claude"), candidate("local")];
        assert_eq!(helper(None, &all, &[1, 0, 2], second), Ok(2));
        assert_eq!(helper(Some("gemini"), &all, &[], second), Ok(0));
        assert!(helper(Some("gpt"), &all, &[], second).unwrap_err().contains("`gpt`"));
        all[2].facts.is_demo = true;
        assert_eq!(helper(None, &all, &[1, 0, 2], second), Ok(1));
        assert_eq!(helper(Some("local"), &all, &[], second), Ok(2), "named, the demo judges too");
        assert!(helper(None, &all[2..], &[0], second).is_err());
    }
}
