//! What an answer costs, and what happens when the day's money is spent.

use super::*;

fn priced(settings: &mut GuardSettings) {
    let base = TokenPrices {
        input: MicroUsd(1_000_000),
        cached_input: Some(MicroUsd(100_000)),
        output: MicroUsd(10_000_000),
    };
    settings.prices = Some(Prices { base, long_context: None });
    settings.daily_budget = Some(MicroUsd(300));
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_rests_until_midnight() {
    let test = Test::new(priced).otherwise(at_once());
    test.answer(A_SECOND).await.unwrap();
    assert_eq!(test.provider.spent_today(), MicroUsd(60 + 4 + 100));
    test.answer(A_SECOND).await.unwrap();
    assert_eq!(test.provider.availability(), Availability::Resting { resumes_in: 3600 * A_SECOND });
    let failure = test.answer(A_SECOND).await.unwrap_err();
    assert_eq!((failure.code, failure.retry_after), (ErrorCode::ProviderUnavailable, Some(3600 * A_SECOND)));
    assert_eq!(failure.message, "cloud rests until midnight: its daily budget of $0.000300 is spent");

    test.calendar.0.lock().unwrap().day = day(2);
    assert_eq!(test.provider.availability(), Availability::Available);
    test.answer(A_SECOND).await.unwrap();
    assert_eq!(test.provider.spent_today(), MicroUsd(164));
    let (on, used) = test.provider.take_unrecorded().unwrap();
    assert_eq!((on, used.requests, used.cost), (day(1), 2, MicroUsd(328)));
    test.provider.put_back_unrecorded(on, &used);
    assert_eq!(test.provider.take_unrecorded(), Some((on, used)));
    assert_eq!(test.provider.take_unrecorded().unwrap().0, day(2));
    assert_eq!(test.provider.take_unrecorded(), None);
}

#[tokio::test(start_paused = true)]
async fn a_budget_holds_across_restarts() {
    let test = Test::new(priced).otherwise(at_once());
    let used = ProviderUsage { requests: 9, cost: MicroUsd(300), ..Default::default() };
    test.provider.restore_use(day(1), &used);
    assert!(matches!(test.provider.availability(), Availability::Resting { .. }));
    assert_eq!(test.provider.snapshot().today, used);
    assert_eq!(test.provider.take_unrecorded(), None, "it is written down already");
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_pays_by_estimate() {
    let test = Test::new(priced).then(Act::StallAfter("eight by"));
    let mut stream = test.ask(60 * A_SECOND);
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let today = test.provider.snapshot().today;
    assert_eq!((today.prompt_tokens, today.completion_tokens, today.estimated), (9, 2, 1));
    assert_eq!((today.failures, today.cost), (0, MicroUsd(9 + 20)));
    assert_eq!(test.script.running.load(Ordering::SeqCst), 0);
}
