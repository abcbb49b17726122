//! What is counted of requests that end in other ways than well.

use super::*;

fn started(prompt_tokens: u32) -> Result<GenerationUpdate, AttemptError> {
    Ok(GenerationUpdate::Event(GenerationEvent::Started { prompt_tokens, max_tokens: 50 }))
}

fn today(test: &Test) -> ProviderUsage {
    test.provider.snapshot().today
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_answers_has_probably_been_read() {
    let silent = AttemptError::new(AttemptClass::Timeout, "nothing came");
    for act in [Act::Hang, Act::Fail(silent)] {
        let test = Test::new(|_| {}).then(act.clone());
        test.answer(A_SECOND).await.unwrap_err();
        let used = today(&test);
        assert_eq!((used.prompt_tokens, used.failures, used.estimated), (9, 1, 1), "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_sent_is_estimated() {
    let test = Test::new(|_| {}).then(Act::Hang);
    let mut asked = request();
    asked.tools_json = vec!["t".repeat(40)];
    asked.answer_so_far = "a".repeat(20);
    let deadline = (Instant::now() + A_SECOND).into_std();
    read(test.provider.ask(asked, AskOptions::default(), deadline)).await.unwrap_err();
    // 17 bytes of the message and 60 of the rest make 20 tokens, and the template takes 4.
    assert_eq!(today(&test).prompt_tokens, 24);
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_says_first_stands_above_the_estimate() {
    let thought = Ok(GenerationUpdate::Event(GenerationEvent::Reasoning("eight by".into())));
    let test = Test::new(|_| {}).then(Act::Give(vec![started(77), thought, Ok(text("four"))]));
    let (_, summary) = test.answer(A_SECOND).await.unwrap();
    let usage = summary.usage;
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens), (77, 3, 2));
    assert_eq!(today(&test).estimated, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_count_is_estimated() {
    let GenerationUpdate::Finished(summary) = finished() else { panic!() };
    let uncounted = GenerationSummary { usage: Usage::default(), ..summary };
    let updates = vec![Ok(text("eight by")), Ok(GenerationUpdate::Finished(uncounted))];
    let test = Test::new(|_| {}).then(Act::Give(updates));
    let (_, summary) = test.answer(A_SECOND).await.unwrap();
    assert_eq!((summary.usage.prompt_tokens, summary.usage.completion_tokens), (9, 2));
    assert_eq!((today(&test).estimated, today(&test).failures), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_attempt_used_is_counted_and_gives_its_room_back() {
    let failed = AttemptError { usage: Usage { prompt_tokens: 30, ..Usage::default() }, ..server(503) };
    let test = Test::new(|settings| {
        settings.tokens_per_minute = Some(180);
        settings.retry.backoff.first = Duration::ZERO;
    })
    .then(Act::Fail(failed))
    .otherwise(at_once());
    test.answer(A_SECOND).await.unwrap();
    assert_eq!((today(&test).prompt_tokens, today(&test).retries), (130, 1));
    // 30 and 110 are used up. The next reservation is 59, and 40 are there.
    let wait = test.answer(A_SECOND).await.unwrap_err().retry_after.unwrap().as_secs_f64();
    assert!((wait - 19.0 / 180.0 * 60.0).abs() < 0.1, "{wait}");
}

#[tokio::test(start_paused = true)]
async fn whoever_keeps_the_books_is_told_of_use() {
    let test = Test::new(|_| {}).otherwise(at_once());
    assert!(test.provider.used().now_or_never().is_none());
    test.answer(A_SECOND).await.unwrap();
    assert!(test.provider.used().now_or_never().is_some());
}
