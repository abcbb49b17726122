//! Who answers a question. The one place that decides it, and the one place that keeps private questions at home.

use boca_core::{Failure, Mode};

/// What the decision needs to know of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderFacts {
    /// Its name in requests and traces.
    pub(crate) name: String,
    /// The name of its model, which may be used as well.
    pub(crate) model: Option<String>,
    /// Whether questions stay on this machine.
    pub(crate) is_local: bool,
}

/// The place in `providers` of the one that answers.
///
/// # Errors
/// A bad request that names `mode` (no such provider, with those that exist) or `private`.
pub(crate) fn choose(mode: &Mode, is_private: bool, providers: &[ProviderFacts]) -> Result<usize, Failure> {
    let found = match mode {
        // With the model alone there is nobody else to ask, so these come down to it.
        Mode::Auto | Mode::Local | Mode::Collaborative | Mode::Fallback | Mode::Race | Mode::Compare => {
            providers.iter().position(|provider| provider.is_local)
        }
        Mode::Cloud => providers.iter().position(|provider| !provider.is_local),
        Mode::Provider(name) => providers
            .iter()
            .position(|provider| provider.name == *name || provider.model.as_deref() == Some(name)),
    };
    let Some(place) = found else {
        let asked = mode.as_str();
        let names = providers.iter().flat_map(|provider| [Some(&provider.name), provider.model.as_ref()]);
        let names: Vec<String> = names.flatten().map(|name| format!("`{name}`")).collect();
        let message = format!("`mode` must be `auto` or one of {}, got `{asked}`", names.join(", "));
        return Err(Failure::invalid("mode", message));
    };
    if is_private && !providers[place].is_local {
        let name = &providers[place].name;
        let message = format!("`private` keeps a request on this machine, but `{name}` is not on it");
        return Err(Failure::invalid("private", message));
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::ErrorCode;

    fn provider(name: &str, model: &str, is_local: bool) -> ProviderFacts {
        ProviderFacts { name: name.into(), model: Some(model.into()), is_local }
    }

    #[test]
    fn modes_find_their_provider() {
        let providers = [provider("gemini", "gemini-flash", false), provider("local", "boca-demo", true)];
        let named = |name: &str| choose(&Mode::Provider(name.into()), false, &providers);
        assert_eq!(choose(&Mode::Auto, false, &providers), Ok(1));
        assert_eq!(choose(&Mode::Local, true, &providers), Ok(1));
        assert_eq!(named("gemini"), Ok(0));
        assert_eq!(named("boca-demo"), Ok(1));
        let failure = named("gpt").unwrap_err();
        assert_eq!((failure.code, failure.param.as_deref()), (ErrorCode::InvalidRequest, Some("mode")));
        assert_eq!(
            failure.message,
            "`mode` must be `auto` or one of `gemini`, `gemini-flash`, `local`, `boca-demo`, got `gpt`"
        );
    }

    #[test]
    fn a_private_question_stays_at_home() {
        let providers = [provider("gemini", "gemini-flash", false), provider("local", "boca-demo", true)];
        let failure = choose(&Mode::Provider("gemini".into()), true, &providers).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("private"));
        assert!(choose(&Mode::Auto, true, &providers[..1]).is_err());
        for mode in [Mode::Auto, Mode::Local, Mode::Provider("local".into())] {
            assert_eq!(choose(&mode, true, &providers), Ok(1));
        }
    }
}
