//! Answers that end in every way there is.

use super::*;
use boca_core::{FinishReason, GenerationEvent, GenerationSummary, Timings, Usage};
use futures_util::stream;

const PATIENCE: Duration = Duration::from_secs(60);

fn text(text: &str) -> Update {
    Ok(GenerationUpdate::Event(GenerationEvent::Text(text.into())))
}

fn finished() -> Update {
    Ok(GenerationUpdate::Finished(GenerationSummary {
        finish_reason: FinishReason::Stop,
        stop_sequence: None,
        usage: Usage::default(),
        timings: Timings::default(),
    }))
}

fn parts() -> (Arc<Answers>, Arc<ProviderIo>) {
    (Arc::new(Answers::default()), Arc::new(ProviderIo::start().unwrap()))
}

async fn none_runs(answers: &Answers) {
    let mut running = answers.running.subscribe();
    tokio::time::timeout(PATIENCE, running.wait_for(|n| *n == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_is_passed_on_and_ends_with_its_last_word() {
    let (answers, io) = parts();
    let stream = answers.begin(&io, stream::iter([text("a"), finished(), text("never")])).unwrap();
    let read: Vec<_> = stream.collect().await;
    assert_eq!(read, [text("a"), finished()]);
    none_runs(&answers).await;
}

#[tokio::test]
async fn dropping_the_reader_ends_the_answer_also_while_nothing_comes() {
    let (answers, io) = parts();
    let stream = answers.begin(&io, stream::pending()).unwrap();
    assert_eq!(answers.running(), 1);
    drop(stream);
    none_runs(&answers).await;
}

#[tokio::test]
async fn a_defect_ends_one_answer_and_not_the_others() {
    let (answers, io) = parts();
    let broken = stream::poll_fn(|_| -> Poll<Option<Update>> { panic!("a defect") });
    let mut broken = answers.begin(&io, broken).unwrap();
    let mut other = answers.begin(&io, stream::iter([text("b")]).chain(stream::pending())).unwrap();
    let failure = broken.next().await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::ProviderFailed);
    assert!(broken.next().await.is_none());
    assert_eq!(other.next().await, Some(text("b")));
    assert_eq!(answers.running(), 1);
}

#[tokio::test]
async fn an_answer_outlives_everyone_but_its_reader() {
    let (answers, io) = parts();
    let (more, updates) = mpsc::channel(4);
    let updates = stream::unfold(updates, |mut updates: mpsc::Receiver<Update>| async move {
        updates.recv().await.map(|update| (update, updates))
    });
    let mut stream = answers.begin(&io, updates).unwrap();
    drop(io);
    more.send(text("still here")).await.unwrap();
    assert_eq!(stream.next().await, Some(text("still here")));
}

#[tokio::test]
async fn draining_takes_nothing_new_and_cuts_what_does_not_end() {
    let (answers, io) = parts();
    let mut stream = answers.begin(&io, stream::pending()).unwrap();
    assert_eq!(answers.drain(Duration::ZERO).await, 1);
    let failure = stream.next().await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::ShuttingDown);
    let Err(refused) = answers.begin(&io, stream::pending()) else { panic!("it is draining") };
    assert_eq!(refused.code, ErrorCode::ShuttingDown);
    assert_eq!(answers.drain(Duration::ZERO).await, 0);
}
