//! Who finishes an answer that broke off after some of it was shown.

use super::{Candidate, FusionSettings};
use crate::ProviderKind;
use std::time::Duration;

/// With less time left nobody is asked to go on.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// The place of the candidate that goes on from text that `broken` wrote; the model of this machine before the others.
///
/// # Errors
/// Why nobody does, in one sentence.
pub fn continuation(
    broken: &str,
    candidates: &[Candidate],
    settings: &FusionSettings,
    time_left: Duration,
) -> Result<usize, String> {
    if !settings.finish_broken_answers {
        return Err("the settings say that broken answers are not finished by others".into());
    }
    if time_left < LEAST_TIME {
        return Err("there was no time left for somebody else to go on".into());
    }
    let can_continue = |candidate: &Candidate| {
        let facts = &candidate.facts;
        let has_time = candidate
            .load
            .as_ref()
            .is_none_or(|load| !load.is_memory_short && load.expected_wait < time_left);
        facts.name != broken
            && facts.supports_continuing
            && (!facts.is_demo || settings.demo_joins)
            && candidate.availability.can_be_asked()
            && has_time
    };
    let able = candidates.iter().enumerate().filter(|(_, candidate)| can_continue(candidate));
    able.min_by_key(|(place, candidate)| (candidate.facts.kind != ProviderKind::Engine, *place))
        .map(|(place, _)| place)
        .ok_or_else(|| "nobody is there who could go on from text that another wrote".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Availability;
    use crate::fusion::testing::candidate;

    #[test]
    fn the_local_model_goes_on_and_others_only_where_they_can() {
        let settings = FusionSettings::default();
        let plenty = Duration::from_secs(9);
        let all = [candidate("gemini"), candidate("claude"), candidate("local")];
        assert_eq!(continuation("gemini", &all, &settings, plenty), Ok(2));
        assert!(continuation("local", &all, &settings, plenty).is_err());
        let mut reverse = all.clone();
        reverse[1].facts.supports_continuing = true;
        assert_eq!(continuation("local", &reverse, &settings, plenty), Ok(1));
        assert_eq!(continuation("gemini", &reverse, &settings, plenty), Ok(2));
        assert!(continuation("gemini", &all, &settings, Duration::ZERO).is_err());
        let mut demo = all.clone();
        demo[2].facts.is_demo = true;
        assert!(continuation("gemini", &demo, &settings, plenty).is_err());
        let mut down = all.clone();
        down[2].availability = Availability::Unavailable { reason: "loading".into() };
        assert!(continuation("gemini", &down, &settings, plenty).is_err());
        let off = FusionSettings { finish_broken_answers: false, ..settings };
        assert!(continuation("gemini", &all, &off, plenty).unwrap_err().contains("settings"));
    }
}
