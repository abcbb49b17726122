//! A question as it was sent, and the same once it is checked.

use crate::config::ChatSettings;
use boca_core::{
    ContextPolicy, Effort, Failure, FieldError, Mode, Preset, Priority, SamplingOverrides, SessionId,
    Strategy, check_message_text,
};
use std::time::Duration;

const MAX_STOP_TEXTS: usize = 16;
const MAX_STOP_BYTES: usize = 512;
const MAX_TOP_LOGPROBS: u8 = 20;
const MAX_MODE_BYTES: usize = 200;

/// A question as it was sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Question {
    pub(crate) message: String,
    pub(crate) session_id: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) effort: Option<String>,
    pub(crate) strategy: Option<String>,
    /// Stands above the configured default, never above the session's.
    pub(crate) private: Option<bool>,
    /// Instead of the session's and the configured one; blank: no system turn at all.
    pub(crate) system: Option<String>,
    pub(crate) preset: Option<String>,
    pub(crate) sampling: SamplingOverrides,
    pub(crate) stop: Vec<String>,
    pub(crate) logprobs: Option<bool>,
    pub(crate) top_logprobs: Option<u8>,
    /// What may be done when the conversation does not fit; stands above the configured one.
    pub(crate) context_policy: Option<String>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) priority: Priority,
    /// Whether the answer is read when it is complete, and not while it is written.
    pub(crate) is_read_whole: bool,
    /// Who asks, as far as that is known.
    pub(crate) client: Option<String>,
}

/// A question of which every field is within its bounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CheckedQuestion {
    pub(super) message: String,
    /// `None`: a new session.
    pub(super) session_id: Option<SessionId>,
    pub(super) mode: Mode,
    /// Its own, else the configured one.
    pub(super) effort: Option<Effort>,
    /// Whether the question names its effort itself.
    pub(super) names_effort: bool,
    pub(super) strategy: Option<Strategy>,
    /// Whether it is to stay on this machine for its own sake; its session may want the same.
    pub(super) private: bool,
    pub(super) system: Option<String>,
    pub(super) preset: Option<Preset>,
    pub(super) sampling: SamplingOverrides,
    pub(super) stop: Vec<String>,
    pub(super) top_logprobs: Option<u8>,
    pub(super) context_policy: ContextPolicy,
    pub(super) deadline: Duration,
    pub(super) priority: Priority,
    pub(super) is_read_whole: bool,
    /// With whom it shares its turns: the session that it names, else who asks.
    pub(super) fairness_key: String,
}

impl CheckedQuestion {
    /// Checks a question.
    ///
    /// # Errors
    /// A bad request that names the first field out of bounds.
    pub(super) fn new(question: Question, settings: &ChatSettings) -> Result<Self, Failure> {
        let most = settings.max_message_bytes;
        check_message_text("message", &question.message, most).map_err(bad_field)?;
        check_settings(question.system.as_deref(), &question.sampling, "", most)?;
        let effort =
            question.effort.as_deref().map(|name| one_of("effort", &Effort::ALL, Effort::as_str, name));
        let effort = effort.transpose()?;
        let strategy = question
            .strategy
            .as_deref()
            .map(|name| one_of("strategy", &Strategy::ALL, Strategy::as_str, name));
        let context_policy = question
            .context_policy
            .as_deref()
            .map(|name| one_of("context_policy", &ContextPolicy::ALL, ContextPolicy::as_str, name));
        // An effort that the question names decides who is asked, unless the question names that too.
        let decides = matches!(effort, Some(Effort::Fast | Effort::Best));
        let default_mode = if decides { &Mode::Auto } else { &settings.mode };
        let session_id = question.session_id.as_deref().map(|id| check_session_id("session_id", id));
        let preset = question.preset.as_deref().map(parse_preset);
        let fairness_key = match (&question.session_id, question.client) {
            (Some(session), _) => format!("session:{session}"),
            (None, client) => format!("client:{}", client.unwrap_or_default()),
        };
        Ok(Self {
            fairness_key,
            priority: question.priority,
            is_read_whole: question.is_read_whole,
            session_id: session_id.transpose()?,
            names_effort: effort.is_some(),
            effort: effort.or(if question.mode.is_some() { None } else { settings.effort }),
            strategy: strategy.transpose()?,
            mode: check_mode(question.mode, default_mode)?,
            preset: preset.transpose()?,
            top_logprobs: check_logprobs(question.logprobs, question.top_logprobs)?,
            context_policy: context_policy.transpose()?.unwrap_or(settings.context_policy),
            deadline: check_deadline(question.deadline, settings)?,
            stop: check_stop(question.stop)?,
            message: question.message,
            private: question.private.unwrap_or(settings.private),
            system: question.system,
            sampling: question.sampling,
        })
    }
}

/// Checks what a question and a session share. `prefix` stands before the names of sampling fields.
///
/// # Errors
/// A bad request that names the first field out of bounds.
pub(crate) fn check_settings(
    system: Option<&str>,
    sampling: &SamplingOverrides,
    prefix: &str,
    max_system_bytes: usize,
) -> Result<(), Failure> {
    // A blank system prompt is allowed: it switches the configured one off.
    if let Some(text) = system.filter(|text| !text.trim().is_empty()) {
        check_message_text("system", text, max_system_bytes).map_err(bad_field)?;
    }
    sampling.check(prefix).map_err(bad_field)
}

/// The id of a session from a request.
///
/// # Errors
/// A bad request that names `field`.
pub(crate) fn check_session_id(field: &str, id: &str) -> Result<SessionId, Failure> {
    id.parse().map_err(|error| Failure::invalid(field, format!("`{field}` {error}")))
}

/// A preset by its name.
///
/// # Errors
/// A bad request that names `preset`.
pub(crate) fn parse_preset(name: &str) -> Result<Preset, Failure> {
    one_of("preset", &Preset::ALL, Preset::as_str, name)
}

fn one_of<T: Copy>(field: &str, all: &[T], name_of: fn(T) -> &'static str, name: &str) -> Result<T, Failure> {
    all.iter().copied().find(|one| name_of(*one) == name).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|one| format!("`{}`", name_of(*one))).collect();
        let message = format!("`{field}` must be one of {}, got {}", names.join(", "), quoted(name));
        Failure::invalid(field, message)
    })
}

fn bad_field(error: FieldError) -> Failure {
    Failure::invalid(error.field, error.message)
}

/// Text of a client for a message, cut.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn check_mode(mode: Option<String>, default: &Mode) -> Result<Mode, Failure> {
    match mode.as_deref() {
        None => Ok(default.clone()),
        Some(name) if name.trim().is_empty() || name.len() > MAX_MODE_BYTES || name.contains('\0') => {
            let modes = Mode::NAMED.map(|mode| format!("`{}`", mode.as_str())).join(", ");
            let message =
                format!("`mode` must be one of {modes} or the name of a provider, got {}", quoted(name));
            Err(Failure::invalid("mode", message))
        }
        Some(name) => Ok(Mode::from_name(name)),
    }
}

fn check_logprobs(wanted: Option<bool>, top: Option<u8>) -> Result<Option<u8>, Failure> {
    match (wanted, top) {
        (_, Some(top)) if top > MAX_TOP_LOGPROBS => Err(Failure::invalid(
            "top_logprobs",
            format!("`top_logprobs` must be at most {MAX_TOP_LOGPROBS}, got {top}"),
        )),
        (Some(false), Some(_)) => Err(Failure::invalid(
            "top_logprobs",
            "`top_logprobs` asks for log-probabilities, but `logprobs` is false",
        )),
        (Some(true), None) => Ok(Some(0)),
        (_, top) => Ok(top),
    }
}

fn check_deadline(wanted: Option<Duration>, settings: &ChatSettings) -> Result<Duration, Failure> {
    let most = settings.max_deadline;
    match wanted {
        None => Ok(settings.deadline.min(most)),
        Some(Duration::ZERO) => {
            Err(Failure::invalid("deadline_ms", "`deadline_ms` must be at least 1, got 0"))
        }
        Some(wanted) if wanted > most => Err(Failure::invalid(
            "deadline_ms",
            format!("`deadline_ms` must be at most {}, got {}", most.as_millis(), wanted.as_millis()),
        )),
        Some(wanted) => Ok(wanted),
    }
}

fn check_stop(stop: Vec<String>) -> Result<Vec<String>, Failure> {
    if stop.len() > MAX_STOP_TEXTS {
        let message = format!("`stop` must hold at most {MAX_STOP_TEXTS} texts, got {}", stop.len());
        return Err(Failure::invalid("stop", message));
    }
    for text in &stop {
        if text.is_empty() || text.len() > MAX_STOP_BYTES {
            let message =
                format!("each text of `stop` must have 1 to {MAX_STOP_BYTES} bytes, got {}", text.len());
            return Err(Failure::invalid("stop", message));
        }
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tests::chat_settings;

    fn check(question: Question) -> Result<CheckedQuestion, Failure> {
        let settings = ChatSettings {
            max_message_bytes: 10,
            deadline: Duration::from_secs(5),
            max_deadline: Duration::from_secs(60),
            ..chat_settings()
        };
        CheckedQuestion::new(question, &settings)
    }

    fn hello() -> Question {
        Question { message: "hello".into(), ..Question::default() }
    }

    #[test]
    fn what_is_left_open_comes_from_the_settings() {
        let checked = check(hello()).unwrap();
        assert_eq!((checked.mode, checked.deadline), (Mode::Auto, Duration::from_secs(5)));
        assert_eq!((checked.session_id, checked.top_logprobs), (None, None));
        assert_eq!(check(Question { logprobs: Some(true), ..hello() }).unwrap().top_logprobs, Some(0));
        assert_eq!(check(Question { top_logprobs: Some(3), ..hello() }).unwrap().top_logprobs, Some(3));
        assert!(check(Question { system: Some(" ".into()), ..hello() }).is_ok(), "switches the default off");
    }

    #[test]
    fn an_effort_stands_above_the_configured_mode_and_below_the_questions() {
        let settings = ChatSettings { mode: Mode::Local, effort: Some(Effort::Best), ..chat_settings() };
        let of = |mode: Option<&str>, effort: Option<&str>| {
            let [mode, effort] = [mode, effort].map(|name| name.map(str::to_owned));
            let checked = CheckedQuestion::new(Question { mode, effort, ..hello() }, &settings).unwrap();
            (checked.mode.as_str().to_owned(), checked.effort)
        };
        assert_eq!(of(None, None), ("local".into(), Some(Effort::Best)));
        assert_eq!(of(None, Some("fast")), ("auto".into(), Some(Effort::Fast)));
        assert_eq!(of(None, Some("balanced")), ("local".into(), Some(Effort::Balanced)));
        assert_eq!(of(Some("race"), None), ("race".into(), None));
        assert_eq!(of(Some("race"), Some("fast")), ("race".into(), Some(Effort::Fast)));
    }

    #[test]
    fn privacy_is_what_the_question_says_else_the_configured_default() {
        for (default, said, expected) in
            [(false, None, false), (true, None, true), (true, Some(false), false), (false, Some(true), true)]
        {
            let settings = ChatSettings { private: default, ..chat_settings() };
            let question = Question { private: said, ..hello() };
            assert_eq!(CheckedQuestion::new(question, &settings).unwrap().private, expected);
        }
    }

    #[test]
    fn a_session_shares_its_turns_and_so_do_the_sessions_that_a_client_begins() {
        let of = |session_id: Option<&str>, client: Option<&str>| {
            let [session_id, client] = [session_id, client].map(|name| name.map(str::to_owned));
            check(Question { session_id, client, ..hello() }).unwrap().fairness_key
        };
        assert_eq!(of(Some("a"), Some("c")), of(Some("a"), Some("d")));
        assert_eq!(of(None, Some("c")), of(None, Some("c")));
        assert_ne!(of(None, Some("c")), of(None, Some("d")));
        assert_ne!(of(None, Some("a")), of(Some("a"), None));
    }

    #[test]
    fn every_fault_names_its_field() {
        let sampling = SamplingOverrides { top_p: Some(1.5), ..SamplingOverrides::default() };
        let cases = [
            ("message", Question { message: " ".into(), ..hello() }, "must not be blank"),
            ("message", Question { message: "x".repeat(11), ..hello() }, "at most 10 bytes, got 11"),
            ("message", Question { message: "a\0".into(), ..hello() }, "NUL"),
            ("system", Question { system: Some("x".repeat(11)), ..hello() }, "at most 10 bytes"),
            ("session_id", Question { session_id: Some("../x".into()), ..hello() }, "got '.'"),
            ("mode", Question { mode: Some(String::new()), ..hello() }, "got \"\""),
            (
                "effort",
                Question { effort: Some("much".into()), ..hello() },
                "`balanced`, `best`, got \"much\"",
            ),
            ("strategy", Question { strategy: Some("mix".into()), ..hello() }, "`merge`, got \"mix\""),
            ("preset", Question { preset: Some("wild".into()), ..hello() }, "`creative`, got \"wild\""),
            (
                "context_policy",
                Question { context_policy: Some("cut".into()), ..hello() },
                "one of `refuse`, `sliding`, `summarise`, got \"cut\"",
            ),
            ("top_p", Question { sampling, ..hello() }, "between 0 and 1, got 1.5"),
            ("stop", Question { stop: vec!["x".into(); 17], ..hello() }, "at most 16 texts, got 17"),
            ("stop", Question { stop: vec![String::new()], ..hello() }, "1 to 512 bytes, got 0"),
            ("top_logprobs", Question { top_logprobs: Some(21), ..hello() }, "at most 20, got 21"),
            ("deadline_ms", Question { deadline: Some(Duration::ZERO), ..hello() }, "at least 1"),
            (
                "deadline_ms",
                Question { deadline: Some(Duration::from_millis(60_001)), ..hello() },
                "at most 60000, got 60001",
            ),
        ];
        for (field, question, part) in cases {
            let failure = check(question).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some(field), "{failure}");
            assert!(failure.message.contains(part), "{failure}");
        }
    }
}
