//! Questions that are answered.

use super::fixture::{TestDaemon, question, settings, until};
use super::scripted::{ENDLESS, FAIL, PANIC};
use boca_api::sse::StreamEvent;
use boca_api::{Change, ChatRequest, CreateSessionRequest, UpdateSessionRequest};
use std::time::Duration;

const SILENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_answer_comes_whole_and_is_stored_before_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let asked = ChatRequest { session_id: None, ..question("", "hello") };
    let reply = daemon.client.chat(&asked, SILENCE).await.unwrap();
    let answer = &reply.body;
    assert_eq!(answer.response, "[U:hello] temperature none");
    assert_eq!(answer.reasoning.as_deref(), Some("hm"));
    assert_eq!((answer.model_used.as_str(), answer.model_is_demo), ("scripted", true));
    assert_eq!(answer.finish_reason, "stop");
    assert_eq!(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert_eq!(reply.request_id.as_deref(), Some(answer.request_id.as_str()));
    let names: Vec<&str> = answer.agent_states.keys().map(String::as_str).collect();
    assert_eq!(names, ["metrics", "model", "synthesizer"]);
    assert_eq!(answer.trace.sources[0].state, "finished");
    assert_eq!(answer.answers[0].response, answer.response);

    let session = daemon.client.session(&answer.session_id).await.unwrap().body;
    assert_eq!(session.title.as_deref(), Some("hello"));
    let [user, assistant] = session.messages.as_slice() else { panic!("{session:?}") };
    assert_eq!((user.role.as_str(), user.content.as_str()), ("user", "hello"));
    assert_eq!((assistant.role.as_str(), &assistant.content), ("assistant", &answer.response));
    assert_eq!(assistant.model_used.as_deref(), Some("scripted"));
    assert_eq!(assistant.request_id.as_deref(), Some(answer.request_id.as_str()));
    assert_eq!(assistant.usage, Some(answer.usage));
}

#[tokio::test]
async fn a_stream_says_the_same_piece_by_piece() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let asked = ChatRequest { stream: Some(true), ..question("s", "hello") };
    let mut events = daemon.client.chat_stream(&asked, SILENCE, SILENCE).await.unwrap();
    let (mut names, mut text, mut reasoning, mut done) = (Vec::new(), String::new(), String::new(), None);
    while let Some(event) = events.next().await.unwrap() {
        names.push(event.name());
        match event {
            StreamEvent::Token(more) => text.push_str(&more.text),
            StreamEvent::Reasoning(more) => reasoning.push_str(&more.text),
            StreamEvent::Done(answer) => done = Some(answer),
            StreamEvent::Started(started) => assert_eq!(started.session_id, "s"),
            StreamEvent::Source(_) | StreamEvent::Restart(_) => {}
            StreamEvent::Error(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(names.first(), Some(&"started"));
    assert!(names.contains(&"source"));
    let done = done.unwrap();
    assert_eq!((done.response, done.reasoning), (text, Some(reasoning)));
    assert_eq!(daemon.messages("s").await.len(), 2);
}

#[tokio::test]
async fn the_next_turn_has_the_last_one_as_context_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let first = daemon.chat("s", "one").await.unwrap().response;
    let second = daemon.chat("s", "two").await.unwrap().response;
    assert_eq!(second, format!("[U:one | A:{first} | U:two] temperature none"));
    daemon.stop().await;

    let daemon = TestDaemon::start(settings(directory.path())).await;
    let third = daemon.chat("s", "three").await.unwrap().response;
    assert!(third.starts_with(&format!("[U:one | A:{first} | U:two | A:[U:one")), "{third}");
    assert_eq!(daemon.messages("s").await.len(), 6);
}

#[tokio::test]
async fn two_questions_of_one_session_are_answered_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let endless = question("s", ENDLESS);
    let mut first = daemon.client.chat_stream(&endless, SILENCE, SILENCE).await.unwrap();
    daemon.until_running().await;
    let second = daemon.chat("s", "after that");
    let end_first = async {
        until("in line", async || daemon.n_requests().await == 2).await;
        let running = daemon.client.list_requests().await.unwrap().body.requests;
        assert_eq!((running[0].session_id.as_str(), running[1].state.as_str()), ("s", "queued"));
        daemon.client.cancel_request(&running[0].id).await.unwrap();
        while first.next().await.unwrap().is_some() {}
    };
    let (second, ()) = tokio::join!(second, end_first);
    assert_eq!(
        second.unwrap().response,
        format!("[U:{ENDLESS} | A:once upon a time | U:after that] temperature none")
    );
}

#[tokio::test]
async fn settings_of_a_session_hold_below_those_of_a_question() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.chat.system = Some("default".into());
    let daemon = TestDaemon::start(settings).await;
    let created: CreateSessionRequest = boca_api::decode_body(
        br#"{"id":"s","title":"T","system":"be kind","preset":"accurate","sampling":{"temperature":0.5}}"#,
    )
    .unwrap();
    let created = daemon.client.create_session(&created).await.unwrap().body;
    assert_eq!((created.title.as_deref(), created.preset.as_deref()), (Some("T"), Some("accurate")));
    assert_eq!(daemon.chat("s", "a").await.unwrap().response, "[S:be kind | U:a] temperature 0.5");
    let asked = ChatRequest { system: Some(String::new()), temperature: Some(0.25), ..question("t", "b") };
    let answer = daemon.client.chat(&asked, SILENCE).await.unwrap().body.response;
    assert_eq!(answer, "[U:b] temperature 0.25");

    let change = UpdateSessionRequest {
        system: Change::Clear,
        sampling: Change::Clear,
        ..UpdateSessionRequest::default()
    };
    let changed = daemon.client.update_session("s", &change).await.unwrap().body;
    assert_eq!((changed.system, changed.sampling.temperature), (None, None));
    assert_eq!(changed.title.as_deref(), Some("T"));
    let answer = daemon.chat("s", "c").await.unwrap().response;
    assert!(answer.starts_with("[S:default | U:a |") && answer.ends_with("temperature 0.2"), "{answer}");

    assert_eq!(daemon.client.delete_session("s").await.unwrap().body.n_messages, 4);
    assert_eq!(daemon.client.session("s").await.unwrap_err().code(), Some("not_found"));
}

#[tokio::test]
async fn sessions_are_listed_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    for session in ["a", "b", "c"] {
        daemon.chat(session, session).await.unwrap();
    }
    let ids = |page: &boca_api::SessionListResponse| -> Vec<String> {
        page.sessions.iter().map(|session| session.id.clone()).collect()
    };
    let query = boca_api::ListSessionsQuery { limit: Some(2), before: None };
    let first = daemon.client.list_sessions(&query).await.unwrap().body;
    let query = boca_api::ListSessionsQuery { limit: Some(2), before: first.next_before.clone() };
    let second = daemon.client.list_sessions(&query).await.unwrap().body;
    assert_eq!((ids(&first), ids(&second)), (vec!["c".into(), "b".into()], vec!["a".into()]));
    assert_eq!(second.next_before, None);
}

#[tokio::test]
async fn what_fails_in_the_middle_is_kept_and_the_next_question_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let failed = daemon.chat("s", FAIL).await.unwrap_err();
    assert_eq!(failed.code(), Some("engine_failed"));
    let stored = daemon.messages("s").await;
    assert_eq!(stored[1].content, "once upon a time");
    assert_eq!(stored[1].finish_reason.as_deref(), Some("engine_failed"));

    assert_eq!(daemon.chat("s", PANIC).await.unwrap_err().code(), Some("engine_failed"));
    assert_eq!(daemon.messages("s").await.len(), 4);
    until("answering again", async || daemon.chat("probe", "x").await.is_ok()).await;
    assert_eq!(
        daemon.chat("s", "go on").await.unwrap().response,
        format!("[U:{FAIL} | A:once upon a time | U:go on] temperature none"),
        "what failed without a text is left out"
    );
}
