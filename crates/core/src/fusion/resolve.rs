//! Who is asked, in which order, and whose absence has to be explained.

use super::{Admitted, FusionSettings, SourceFacts};
use crate::{Availability, EngineLoad, ErrorCode, Failure, Mode, ProviderKind};
use std::time::Duration;

/// Someone who may be asked, as things stand now.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What it is.
    pub facts: SourceFacts,
    /// Whether it can be asked now.
    pub availability: Availability,
    /// How busy it is, where that is known.
    pub load: Option<EngineLoad>,
}

/// How those who are asked work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One answers, and its text is shown as it comes.
    Single,
    /// All at once, then one answer.
    Collaborative,
    /// One after the other, until one answers.
    Fallback,
    /// All at once; the first to say something answers.
    Race,
    /// All at once; every answer is given.
    Compare,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The mode that holds, by its name.
    pub mode: String,
    /// How they work together.
    pub shape: Shape,
    /// Places among the candidates, the preferred first; never empty.
    pub asked: Vec<usize>,
    /// Those that would have been asked, and why they are not.
    pub left_out: Vec<(String, Failure)>,
    /// Why, in one sentence for each decision.
    pub reasons: Vec<String>,
}

/// Decides who is asked. Whoever cannot be asked is left out, as long as somebody else is there: when nobody can, all
/// are asked all the same, and say themselves what is wrong or answer after all.
///
/// # Errors
/// `InvalidRequest` that names `mode` (nobody has this name; there is nobody of this kind) or `private` (who is meant
/// may not see the question).
pub fn resolve(
    mode: &Mode,
    candidates: &Admitted<Candidate>,
    settings: &FusionSettings,
    time_left: Duration,
) -> Result<Plan, Failure> {
    let sources = candidates.sources();
    let all: Vec<usize> = (0..sources.len()).collect();
    let real = |place: &usize| !sources[*place].facts.is_demo || settings.demo_joins;
    let (members, shape) = match mode {
        Mode::Provider(name) => return named(name, candidates, all, settings),
        Mode::Local => (local_members(sources, settings), None),
        Mode::Cloud => (all.into_iter().filter(|place| !sources[*place].facts.is_local).collect(), None),
        Mode::Auto | Mode::Collaborative | Mode::Fallback | Mode::Race | Mode::Compare => {
            let members: Vec<usize> = all.iter().copied().filter(real).collect();
            let shape = match mode {
                Mode::Fallback => Some(Shape::Fallback),
                Mode::Race => Some(Shape::Race),
                Mode::Compare => Some(Shape::Compare),
                _ => None,
            };
            // The demo model is better than nobody, and than those who will not answer now.
            let can_real_answer = members.iter().any(|place| sources[*place].availability.can_be_asked());
            if can_real_answer || members.len() == all.len() {
                (members, shape)
            } else {
                let mut plan = arrange(mode, shape, members.clone(), sources, settings, time_left);
                if *mode == Mode::Auto || members.is_empty() {
                    let demo = all.into_iter().filter(|place| !members.contains(place)).collect();
                    let left_out = plan.left_out;
                    plan = arrange(mode, shape, demo, sources, settings, time_left);
                    plan.left_out.extend(left_out);
                    plan.reasons
                        .push("the demo model answers, because no other provider can be asked".into());
                }
                return Ok(plan);
            }
        }
    };
    if members.is_empty() {
        return Err(nobody(mode, candidates));
    }
    Ok(arrange(mode, shape, members, sources, settings, time_left))
}

/// Orders the members, leaves out who cannot answer, and names the result.
fn arrange(
    mode: &Mode,
    shape: Option<Shape>,
    members: Vec<usize>,
    sources: &[Candidate],
    settings: &FusionSettings,
    time_left: Duration,
) -> Plan {
    let members = in_order_of_preference(members, sources, settings);
    let (mut asked, mut left_out, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for place in &members {
        let candidate = &sources[*place];
        match absence(candidate, time_left) {
            None => asked.push(*place),
            Some(failure) => left_out.push((candidate.facts.name.clone(), failure)),
        }
    }
    if asked.is_empty() {
        asked = members;
        // They speak for themselves.
        left_out.clear();
    } else {
        reasons.extend(left_out.iter().map(|(name, failure)| format!("`{name}` is not asked: {failure}")));
    }
    let shape = shape.unwrap_or(if asked.len() > 1 { Shape::Collaborative } else { Shape::Single });
    let mode = match (mode, shape) {
        (Mode::Auto, Shape::Collaborative) => Mode::Collaborative.as_str().to_owned(),
        (Mode::Auto | Mode::Collaborative, Shape::Single) => {
            let name = asked.first().map_or_else(String::new, |place| sources[*place].facts.name.clone());
            reasons.push(format!("`{name}` answers alone, because nobody else can be asked"));
            name
        }
        (mode, _) => mode.as_str().to_owned(),
    };
    Plan { mode, shape, asked, left_out, reasons }
}

/// Why a candidate is better not asked now.
fn absence(candidate: &Candidate, time_left: Duration) -> Option<Failure> {
    let unavailable = |message: String| Failure::new(ErrorCode::ProviderUnavailable, message);
    match &candidate.availability {
        Availability::Unknown | Availability::Available => {}
        Availability::CircuitOpen { retry_in, reason } => {
            let message = format!("it failed too often and is left alone for a while: {reason}");
            return Some(unavailable(message).retry_after(*retry_in));
        }
        Availability::Resting { resumes_in } => {
            return Some(unavailable("its daily budget is spent".into()).retry_after(*resumes_in));
        }
        Availability::Unavailable { reason } => return Some(unavailable(reason.clone())),
    }
    let load = candidate.load.as_ref()?;
    if load.is_memory_short {
        return Some(unavailable("the machine is short of memory".into()));
    }
    (load.expected_wait > time_left).then(|| {
        let (wait, left) = (load.expected_wait.as_secs_f64(), time_left.as_secs_f64());
        let message = format!("its queue takes about {wait:.1} s, and the deadline is in {left:.1} s");
        unavailable(message).retry_after(load.expected_wait)
    })
}

/// The model of this machine; where that is the demo, the real ones that are as local.
fn local_members(sources: &[Candidate], settings: &FusionSettings) -> Vec<usize> {
    let local = || sources.iter().enumerate().filter(|(_, source)| source.facts.is_local);
    let places =
        |found: Vec<(usize, &Candidate)>| found.into_iter().map(|(place, _)| place).collect::<Vec<_>>();
    let is_engine = |source: &Candidate| source.facts.kind == ProviderKind::Engine;
    let real_engine = places(local().filter(|(_, s)| is_engine(s) && !s.facts.is_demo).collect());
    if !real_engine.is_empty() {
        return real_engine;
    }
    let others = places(local().filter(|(_, s)| !s.facts.is_demo || settings.demo_joins).collect());
    if others.is_empty() { places(local().collect()) } else { others }
}

fn in_order_of_preference(
    mut places: Vec<usize>,
    sources: &[Candidate],
    settings: &FusionSettings,
) -> Vec<usize> {
    places.sort_by_key(|place| {
        let facts = &sources[*place].facts;
        let named = settings.preferred.iter().position(|name| *name == facts.name).unwrap_or(usize::MAX);
        let is_real_engine = facts.kind == ProviderKind::Engine && !facts.is_demo;
        (named, facts.is_demo, !is_real_engine, *place)
    });
    places
}

/// The plan for one provider, by its name or its model's.
fn named(
    name: &str,
    candidates: &Admitted<Candidate>,
    all: Vec<usize>,
    settings: &FusionSettings,
) -> Result<Plan, Failure> {
    let sources = candidates.sources();
    let is_meant = |facts: &SourceFacts| facts.name == name || facts.model.as_deref() == Some(name);
    let by_name = sources.iter().position(|source| source.facts.name == name);
    let found = by_name.or_else(|| {
        let meant = all.into_iter().filter(|place| is_meant(&sources[*place].facts)).collect();
        in_order_of_preference(meant, sources, settings).first().copied()
    });
    match found {
        Some(place) => Ok(Plan {
            mode: sources[place].facts.name.clone(),
            shape: Shape::Single,
            asked: vec![place],
            left_out: Vec::new(),
            reasons: Vec::new(),
        }),
        None if candidates.kept_out().iter().any(is_meant) => {
            let message = format!("`private` keeps a request on this machine, but `{name}` is not on it");
            Err(Failure::invalid("private", message))
        }
        None => {
            let known = sources.iter().map(|source| &source.facts).chain(candidates.kept_out());
            let names = known.flat_map(|facts| [Some(&facts.name), facts.model.as_ref()]);
            let names: Vec<String> = names.flatten().map(|name| format!("`{name}`")).collect();
            let modes: Vec<String> = Mode::NAMED.iter().map(|mode| format!("`{}`", mode.as_str())).collect();
            let message = format!(
                "`mode` must be one of {} or a provider ({}), got `{name}`",
                modes.join(", "),
                names.join(", ")
            );
            Err(Failure::invalid("mode", message))
        }
    }
}

fn nobody(mode: &Mode, candidates: &Admitted<Candidate>) -> Failure {
    let mode = mode.as_str();
    if candidates.kept_out().is_empty() {
        let message = format!("`mode` is `{mode}`, but no provider is configured that it could ask");
        Failure::invalid("mode", message)
    } else {
        let message =
            format!("`private` keeps a request on this machine, and `mode` `{mode}` asks nobody on it");
        Failure::invalid("private", message)
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
