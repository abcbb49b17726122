use super::*;
use crate::fusion::testing::candidate;
use proptest::prelude::*;

const PLENTY: Duration = Duration::from_secs(60);

fn demo() -> Candidate {
    let mut demo = candidate("local");
    demo.facts.is_demo = true;
    demo.facts.model = Some("boca-demo".into());
    demo
}

fn down(name: &str) -> Candidate {
    Candidate {
        availability: Availability::Unavailable { reason: "its key is refused".into() },
        ..candidate(name)
    }
}

fn busy(wait: Duration) -> Candidate {
    let load = EngineLoad {
        n_requests: 3,
        expected_wait: wait,
        kv_headroom_tokens: None,
        available_memory_bytes: None,
        is_memory_short: false,
    };
    Candidate { load: Some(load), ..candidate("local") }
}

fn plan_with(
    mode: Mode,
    private: bool,
    all: &[Candidate],
    settings: &FusionSettings,
) -> Result<Plan, Failure> {
    let admitted = Admitted::new(all.to_vec(), private, |candidate| candidate.facts.clone());
    resolve(&mode, &admitted, settings, PLENTY)
}

/// Shape and names of a plan.
fn plan(mode: Mode, private: bool, all: &[Candidate]) -> (Shape, Vec<String>) {
    let plan = plan_with(mode, private, all, &FusionSettings::default()).unwrap();
    let kept: Vec<&Candidate> = all.iter().filter(|c| !private || c.facts.is_local).collect();
    (plan.shape, plan.asked.iter().map(|place| kept[*place].facts.name.clone()).collect())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn auto_fuses_when_there_are_two_real_providers() {
    let (gemini, local) = (candidate("gemini"), candidate("local"));
    let auto = |all: &[Candidate]| plan(Mode::Auto, false, all);
    assert_eq!(auto(&[gemini.clone(), local.clone()]), (Shape::Collaborative, names(&["local", "gemini"])));
    assert_eq!(auto(std::slice::from_ref(&local)), (Shape::Single, names(&["local"])));
    assert_eq!(auto(&[demo(), gemini.clone()]), (Shape::Single, names(&["gemini"])));
    assert_eq!(auto(&[demo()]), (Shape::Single, names(&["local"])));
    assert_eq!(auto(&[demo(), down("gemini")]), (Shape::Single, names(&["local"])));
    assert_eq!(auto(&[local, down("gemini")]), (Shape::Single, names(&["local"])));
    let joined = FusionSettings { demo_joins: true, ..FusionSettings::default() };
    let plan = plan_with(Mode::Auto, false, &[demo(), gemini], &joined).unwrap();
    assert_eq!((plan.shape, plan.mode.as_str()), (Shape::Collaborative, "collaborative"));
}

#[test]
fn other_modes_find_their_providers() {
    let all = [candidate("local"), candidate("gemini"), candidate("claude")];
    assert_eq!(plan(Mode::Local, false, &all), (Shape::Single, names(&["local"])));
    assert_eq!(plan(Mode::Cloud, false, &all), (Shape::Collaborative, names(&["gemini", "claude"])));
    assert_eq!(plan(Mode::Race, false, &all).0, Shape::Race);
    assert_eq!(plan(Mode::Compare, false, &all).0, Shape::Compare);
    assert_eq!(plan(Mode::Fallback, true, &all), (Shape::Fallback, names(&["local"])));
    assert_eq!(plan(Mode::Provider("claude-model".into()), false, &all), (Shape::Single, names(&["claude"])));
    let first = FusionSettings { preferred: names(&["claude"]), ..FusionSettings::default() };
    assert_eq!(plan_with(Mode::Fallback, false, &all, &first).unwrap().asked, [2, 0, 1]);
    let mut ollama = candidate("ollama");
    ollama.facts.is_local = true;
    assert_eq!(plan(Mode::Local, false, &[demo(), ollama]), (Shape::Single, names(&["ollama"])));
    assert_eq!(plan(Mode::Provider("boca-demo".into()), false, &[demo()]).0, Shape::Single);
}

#[test]
fn a_refusal_names_the_field() {
    let all = [candidate("local"), candidate("gemini")];
    let refusal = |mode: Mode, private, all: &[Candidate]| {
        let failure = plan_with(mode, private, all, &FusionSettings::default()).unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidRequest);
        (failure.param.unwrap(), failure.message)
    };
    assert_eq!(refusal(Mode::Provider("gemini".into()), true, &all).0, "private");
    assert_eq!(refusal(Mode::Cloud, true, &all).0, "private");
    assert_eq!(refusal(Mode::Cloud, false, &all[..1]).0, "mode");
    let (param, message) = refusal(Mode::Provider("gpt".into()), false, &all);
    assert_eq!(param, "mode");
    assert!(message.ends_with("(`local`, `local-model`, `gemini`, `gemini-model`), got `gpt`"), "{message}");
}

#[test]
fn a_long_queue_and_short_memory_leave_the_local_model_out() {
    let all = [busy(PLENTY + Duration::from_secs(1)), candidate("gemini")];
    let settings = FusionSettings::default();
    let plan = plan_with(Mode::Collaborative, false, &all, &settings).unwrap();
    assert_eq!((plan.asked.as_slice(), plan.mode.as_str()), (&[1][..], "gemini"));
    assert!(plan.reasons[0].contains("its queue takes about 61.0 s"), "{:?}", plan.reasons);
    assert_eq!(
        plan_with(Mode::Auto, false, &[busy(PLENTY), candidate("gemini")], &settings).unwrap().asked.len(),
        2
    );
    let mut short = busy(Duration::ZERO);
    short.load.as_mut().unwrap().is_memory_short = true;
    let plan = plan_with(Mode::Race, false, &[short.clone(), candidate("gemini")], &settings).unwrap();
    assert_eq!(plan.asked, [1]);
    assert!(plan.reasons[0].contains("short of memory"));
    assert_eq!(plan_with(Mode::Local, false, &[short], &settings).unwrap().asked, [0], "named, it is asked");
}

#[test]
fn when_nobody_can_be_asked_everyone_is() {
    let all = [down("gemini"), down("claude")];
    let plan = plan_with(Mode::Auto, false, &all, &FusionSettings::default()).unwrap();
    assert_eq!((plan.asked.len(), plan.left_out.len()), (2, 0));
}

proptest! {
    #[test]
    fn a_plan_never_asks_who_may_not_see_it_and_never_asks_nobody(
        kinds in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..6),
        private in any::<bool>(),
        mode in proptest::sample::select(Mode::NAMED.to_vec()),
        demo_joins in any::<bool>(),
    ) {
        let all: Vec<Candidate> = kinds.iter().enumerate().map(|(n, (is_local, is_demo, is_up))| {
            let name = format!("p{n}");
            let mut candidate = if *is_up { candidate(&name) } else { down(&name) };
            candidate.facts.is_local = *is_local;
            candidate.facts.is_demo = *is_demo;
            candidate
        }).collect();
        let settings = FusionSettings { demo_joins, ..FusionSettings::default() };
        let admitted = Admitted::new(all, private, |c| c.facts.clone());
        let Ok(plan) = resolve(&mode, &admitted, &settings, PLENTY) else { return Ok(()) };
        prop_assert!(!plan.asked.is_empty());
        let asked: std::collections::BTreeSet<usize> = plan.asked.iter().copied().collect();
        prop_assert_eq!(asked.len(), plan.asked.len());
        for place in &plan.asked {
            let candidate = &admitted.sources()[*place];
            prop_assert!(!private || candidate.facts.is_local);
            prop_assert!(mode != Mode::Cloud || !candidate.facts.is_local);
        }
        // With a real one that can be asked, the demo model stays away from a fusion.
        let can_real = admitted.sources().iter().any(|c| !c.facts.is_demo && c.availability.can_be_asked());
        if can_real && !demo_joins && !matches!(mode, Mode::Local | Mode::Cloud) {
            prop_assert!(plan.asked.iter().all(|place| !admitted.sources()[*place].facts.is_demo));
        }
    }
}
