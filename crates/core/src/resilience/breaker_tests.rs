//! The breaker under virtual time.

use super::*;
use proptest::prelude::*;

const AT_START: Duration = Duration::ZERO;

fn settings() -> BreakerSettings {
    BreakerSettings { jitter: 0.0, ..BreakerSettings::default() }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn fail(breaker: &mut CircuitBreaker, evidence: Evidence, now: Duration) {
    let permit = breaker.admit(evidence, now).unwrap();
    breaker.failed(permit, now, 0.0);
}

fn succeed(breaker: &mut CircuitBreaker, evidence: Evidence, now: Duration) {
    let permit = breaker.admit(evidence, now).unwrap();
    breaker.succeeded(permit, now);
}

fn opened_by_answers() -> CircuitBreaker {
    let mut breaker = CircuitBreaker::new(settings(), AT_START);
    for _ in 0..5 {
        assert_eq!(breaker.state(AT_START), CircuitState::Closed);
        fail(&mut breaker, Evidence::Answer, AT_START);
    }
    breaker
}

#[test]
fn opens_after_failures_in_a_row_and_lets_one_try() {
    let mut breaker = opened_by_answers();
    assert_eq!(breaker.state(seconds(1)), CircuitState::Open { retry_in: seconds(4) });
    assert_eq!(breaker.admit(Evidence::Answer, seconds(1)), Err(seconds(4)));
    assert_eq!(breaker.state(seconds(5)), CircuitState::HalfOpen { is_being_tried: false });
    let trial = breaker.admit(Evidence::Answer, seconds(5)).unwrap();
    assert_eq!(breaker.state(seconds(5)), CircuitState::HalfOpen { is_being_tried: true });
    assert!(breaker.admit(Evidence::HealthCheck, seconds(6)).is_err(), "one trial at a time");
    breaker.succeeded(trial, seconds(7));
    assert_eq!(breaker.state(seconds(7)), CircuitState::Closed);
}

#[test]
fn a_good_answer_in_between_starts_the_count_anew() {
    let mut breaker = CircuitBreaker::new(settings(), AT_START);
    for _ in 0..3 {
        for _ in 0..4 {
            fail(&mut breaker, Evidence::Answer, AT_START);
        }
        succeed(&mut breaker, Evidence::HealthCheck, AT_START);
        assert_eq!(breaker.state(AT_START), CircuitState::Closed);
        succeed(&mut breaker, Evidence::Answer, AT_START);
    }
}

#[test]
fn a_health_check_does_not_undo_failed_answers() {
    let mut breaker = CircuitBreaker::new(settings(), AT_START);
    for _ in 0..5 {
        succeed(&mut breaker, Evidence::HealthCheck, AT_START);
        fail(&mut breaker, Evidence::Answer, AT_START);
    }
    assert!(matches!(breaker.state(AT_START), CircuitState::Open { .. }));
}

#[test]
fn the_first_check_counts_alone_and_later_ones_in_pairs() {
    let mut new = CircuitBreaker::new(settings(), AT_START);
    fail(&mut new, Evidence::HealthCheck, AT_START);
    assert!(matches!(new.state(AT_START), CircuitState::Open { .. }));

    let mut known = CircuitBreaker::new(settings(), AT_START);
    succeed(&mut known, Evidence::HealthCheck, AT_START);
    fail(&mut known, Evidence::HealthCheck, AT_START);
    assert_eq!(known.state(AT_START), CircuitState::Closed);
    fail(&mut known, Evidence::HealthCheck, AT_START);
    assert!(matches!(known.state(AT_START), CircuitState::Open { .. }));
}

#[test]
fn a_circuit_that_only_a_check_closed_is_on_probation() {
    let mut breaker = opened_by_answers();
    succeed(&mut breaker, Evidence::HealthCheck, seconds(5));
    assert_eq!(breaker.state(seconds(5)), CircuitState::Closed);
    fail(&mut breaker, Evidence::Answer, seconds(6));
    assert_eq!(
        breaker.state(seconds(6)),
        CircuitState::Open { retry_in: seconds(10) },
        "and open for longer"
    );
    succeed(&mut breaker, Evidence::HealthCheck, seconds(16));
    succeed(&mut breaker, Evidence::Answer, seconds(17));
    fail(&mut breaker, Evidence::Answer, seconds(18));
    assert_eq!(breaker.state(seconds(18)), CircuitState::Closed, "a good answer ends it");
}

#[test]
fn a_long_time_without_trouble_forgets_earlier_openings() {
    let mut breaker = opened_by_answers();
    succeed(&mut breaker, Evidence::HealthCheck, seconds(5));
    fail(&mut breaker, Evidence::Answer, seconds(200));
    assert_eq!(breaker.state(seconds(200)), CircuitState::Open { retry_in: seconds(5) });
}

#[test]
fn results_from_before_the_opening_change_nothing() {
    let mut breaker = CircuitBreaker::new(settings(), AT_START);
    let early = breaker.admit(Evidence::Answer, AT_START).unwrap();
    let early_too = breaker.admit(Evidence::Answer, AT_START).unwrap();
    for _ in 0..5 {
        fail(&mut breaker, Evidence::Answer, AT_START);
    }
    let before = breaker.state(seconds(1));
    breaker.succeeded(early, seconds(1));
    breaker.failed(early_too, seconds(1), 0.0);
    assert_eq!(breaker.state(seconds(1)), before);
}

#[test]
fn a_trial_without_result_makes_room_for_the_next() {
    let mut breaker = opened_by_answers();
    let given_up = breaker.admit(Evidence::Answer, seconds(5)).unwrap();
    breaker.abandoned(given_up);
    let lost = breaker.admit(Evidence::Answer, seconds(5)).unwrap();
    assert_eq!(breaker.admit(Evidence::Answer, seconds(64)), Err(seconds(1)));
    let next = breaker.admit(Evidence::Answer, seconds(65)).unwrap();
    breaker.failed(lost, seconds(66), 0.0);
    assert_eq!(breaker.state(seconds(66)), CircuitState::HalfOpen { is_being_tried: true });
    breaker.succeeded(next, seconds(67));
    assert_eq!(breaker.state(seconds(67)), CircuitState::Closed);
}

#[test]
fn checks_come_about_as_often_as_said_and_at_once_when_they_are_needed() {
    let every = seconds(30);
    let mut breaker = CircuitBreaker::new(settings(), AT_START);
    assert_eq!(breaker.next_check_in(every, AT_START, 0.0), seconds(24));
    assert_eq!(breaker.next_check_in(every, AT_START, 1.0), seconds(36));
    succeed(&mut breaker, Evidence::HealthCheck, AT_START);
    fail(&mut breaker, Evidence::HealthCheck, AT_START);
    assert_eq!(breaker.next_check_in(every, AT_START, 1.0), seconds(2), "in doubt");
    fail(&mut breaker, Evidence::HealthCheck, AT_START);
    assert_eq!(breaker.next_check_in(every, AT_START, 1.0), seconds(5), "when the open time is over");
}

#[derive(Debug, Clone)]
enum Step {
    Admit(bool),
    Succeed(prop::sample::Index),
    Fail(prop::sample::Index, f64),
    Abandon(prop::sample::Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Admit),
        any::<prop::sample::Index>().prop_map(Step::Succeed),
        (any::<prop::sample::Index>(), 0.0f64..=1.0).prop_map(|(which, draw)| Step::Fail(which, draw)),
        any::<prop::sample::Index>().prop_map(Step::Abandon),
    ]
}

proptest! {
    #[test]
    fn an_open_circuit_passes_nothing_a_half_open_one_a_single_trial_and_all_end(
        failures_to_open in 1u32..5,
        first_ms in 1u64..5_000,
        longest_ms in 1u64..20_000,
        jitter in 0.0f64..=1.0,
        steps in prop::collection::vec((0u64..4_000, any_step()), 1..200),
    ) {
        let settings = BreakerSettings {
            failures_to_open,
            first_open: Duration::from_millis(first_ms),
            longest_open: Duration::from_millis(longest_ms),
            jitter,
            trial_limit: Duration::from_secs(10),
            ..BreakerSettings::default()
        };
        let mut breaker = CircuitBreaker::new(settings, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut held: Vec<Permit> = Vec::new();
        let mut trials: Vec<(u64, Duration)> = Vec::new();
        for (pause_ms, step) in steps {
            now += Duration::from_millis(pause_ms);
            let before = breaker.state(now);
            match step {
                Step::Admit(is_check) => {
                    let evidence = if is_check { Evidence::HealthCheck } else { Evidence::Answer };
                    match breaker.admit(evidence, now) {
                        Ok(permit) => {
                            let was_open = matches!(before, CircuitState::Open { .. });
                            prop_assert!(!was_open);
                            if permit.is_trial {
                                let live = trials.iter().filter(|(epoch, since)| {
                                    held.iter().any(|held| held.epoch == *epoch)
                                        && now - *since < settings.trial_limit
                                        && *epoch == breaker.epoch - 1
                                });
                                prop_assert_eq!(live.count(), 0, "one trial at a time");
                                trials.push((permit.epoch, now));
                            }
                            held.push(permit);
                        }
                        Err(wait) => prop_assert!(!wait.is_zero()),
                    }
                }
                Step::Succeed(which) if !held.is_empty() => {
                    let permit = held.swap_remove(which.index(held.len()));
                    breaker.succeeded(permit, now);
                }
                Step::Fail(which, draw) if !held.is_empty() => {
                    let permit = held.swap_remove(which.index(held.len()));
                    breaker.failed(permit, now, draw);
                }
                Step::Abandon(which) if !held.is_empty() => {
                    let permit = held.swap_remove(which.index(held.len()));
                    breaker.abandoned(permit);
                }
                _ => {}
            }
            if let CircuitState::Open { retry_in } = breaker.state(now) {
                prop_assert!(retry_in <= settings.longest_open);
            }
            let later = now + settings.longest_open.max(settings.trial_limit);
            prop_assert!(breaker.clone().admit(Evidence::HealthCheck, later).is_ok(), "it comes back by itself");
        }
    }
}
