//! How long requests wait: for a provider that says so, and for the rate limit.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_time_that_the_provider_names_is_kept_by_everyone() {
    let told = 7 * A_SECOND;
    let test = Test::new(|_| {}).then(Act::Fail(limited(Some(told)))).otherwise(at_once());
    let began = Instant::now();
    let first = test.answer(60 * A_SECOND);
    let second = async {
        tokio::time::sleep(A_SECOND).await;
        test.answer(60 * A_SECOND).await.unwrap();
        began.elapsed()
    };
    let (first, second) = tokio::join!(first, second);
    let timings = first.unwrap().1.timings;
    assert!(timings.queue >= told && timings.total >= told, "the wait counts as the asker's: {timings:?}");
    assert!(began.elapsed() >= told && began.elapsed() < told + A_SECOND);
    assert!(second >= told, "the other one waited as well");
    assert_eq!(test.n_attempts(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_refused_at_once_and_shown() {
    let told = 47 * A_SECOND;
    let test = Test::new(|_| {}).then(Act::Fail(limited(Some(told)))).otherwise(at_once());
    let began = Instant::now();
    let failure = test.answer(10 * A_SECOND).await.unwrap_err();
    assert_eq!((failure.code, failure.retry_after), (ErrorCode::ProviderUnavailable, Some(told)));
    let Availability::CircuitOpen { retry_in, reason } = test.provider.availability() else { panic!() };
    assert_eq!((retry_in, reason.as_str()), (told, "too fast"));
    let failure = test.answer(10 * A_SECOND).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ProviderUnavailable);
    assert_eq!((began.elapsed(), test.n_attempts()), (Duration::ZERO, 1));
    tokio::time::sleep(told).await;
    test.answer(10 * A_SECOND).await.unwrap();
    assert_eq!(test.provider.availability(), Availability::Available);
}

#[tokio::test(start_paused = true)]
async fn nobody_sleeps_for_a_minute_however_long_the_deadline_is() {
    let told = 60 * A_SECOND;
    let test = Test::new(|_| {}).then(Act::Fail(limited(Some(told)))).otherwise(at_once());
    let began = Instant::now();
    let failure = test.answer(600 * A_SECOND).await.unwrap_err();
    assert_eq!((failure.message.as_str(), failure.retry_after), ("too fast", Some(told)));
    tokio::time::sleep(20 * A_SECOND).await;
    let failure = test.answer(600 * A_SECOND).await.unwrap_err();
    assert_eq!(failure.message, "cloud is left alone for 40.0 s more: too fast");
    assert_eq!(failure.retry_after, Some(40 * A_SECOND));
    assert_eq!((began.elapsed(), test.n_attempts()), (20 * A_SECOND, 1), "neither slept, and one was sent");
    let left_alone = Availability::CircuitOpen { retry_in: 40 * A_SECOND, reason: "too fast".into() };
    assert_eq!(test.provider.availability(), left_alone);
    tokio::time::sleep(35 * A_SECOND).await;
    test.answer(600 * A_SECOND).await.unwrap();
    assert_eq!(began.elapsed(), told, "the last five seconds are worth a wait");

    let patient = Test::new(|s| s.retry.longest_pause = 90 * A_SECOND)
        .then(Act::Fail(limited(Some(told))))
        .then(at_once());
    let began = Instant::now();
    patient.answer(600 * A_SECOND).await.unwrap();
    assert!(began.elapsed() >= told && began.elapsed() <= told + A_SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_spent_quota_is_not_asked_again_for_a_while_whatever_it_says() {
    let spent = AttemptError::new(AttemptClass::QuotaSpent, "no more today").with_retry_after(Some(A_SECOND));
    let test = Test::new(|_| {}).then(Act::Fail(spent)).otherwise(at_once());
    test.answer(60 * A_SECOND).await.unwrap_err();
    tokio::time::sleep(60 * A_SECOND).await;
    let failure = test.answer(60 * A_SECOND).await.unwrap_err();
    assert!(failure.message.contains("no more today"), "{failure}");
    assert_eq!(test.n_attempts(), 1);
    tokio::time::sleep(15 * 60 * A_SECOND).await;
    test.answer(60 * A_SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_a_minute_are_kept_and_a_dropped_one_gives_its_room_back() {
    let test = Test::new(|settings| settings.requests_per_minute = Some(2)).otherwise(at_once());
    for _ in 0..2 {
        test.answer(A_SECOND).await.unwrap();
    }
    let failure = test.answer(10 * A_SECOND).await.unwrap_err();
    assert_eq!(failure.retry_after, Some(30 * A_SECOND));
    let mut waiting = test.ask(60 * A_SECOND);
    assert!(waiting.next().now_or_never().is_none());
    drop(waiting);
    let began = Instant::now();
    test.answer(60 * A_SECOND).await.unwrap();
    assert_eq!(began.elapsed(), 30 * A_SECOND);
}

#[tokio::test(start_paused = true)]
async fn tokens_a_minute_are_settled_by_the_real_count() {
    // Reserved: 5 tokens of text, 4 of the template, 50 of the answer. Used: 110.
    let test = Test::new(|settings| settings.tokens_per_minute = Some(220)).otherwise(at_once());
    for _ in 0..2 {
        test.answer(A_SECOND).await.unwrap();
    }
    let failure = test.answer(A_SECOND).await.unwrap_err();
    let wait = failure.retry_after.unwrap().as_secs_f64();
    assert!((wait - 59.0 / 220.0 * 60.0).abs() < 1e-6, "{wait}");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_left_alone_for_longer_than_an_hour_and_no_check_disturbs_them() {
    let hour = Duration::from_secs(3600);
    let test = Test::new(|_| {}).then(Act::Fail(limited(Some(10 * hour)))).otherwise(at_once());
    test.answer(60 * A_SECOND).await.unwrap_err();
    let Availability::CircuitOpen { retry_in, .. } = test.provider.availability() else { panic!() };
    assert_eq!(retry_in, hour);
    assert_eq!(test.provider.next_check_in(30 * A_SECOND, 0.0), 30 * A_SECOND, "as late as there are checks");
}
