//! Money and days across restarts, availability that comes back, and what a reload says.

use super::{asking, daemon_with, provider_status};
use crate::harness::{Cloud, Home, until};
use boca_fake_providers::{Behaviour, Fault};
use rustix::process::Signal;

#[test]
fn what_was_spent_and_its_bound_survive_a_restart() {
    let (home, cloud) = (Home::new(), Cloud::saying("Dear words."));
    let dear = "[provider.prices]\ninput = 1000\noutput = 1000\n";
    let config = cloud
        .config("alpha", "gemini", "")
        .replace("max_retries = 0\n", "max_retries = 0\ndaily_budget_usd = 0.001\n");
    let config = format!("{config}{dear}");
    let daemon = daemon_with(&home, &config);
    daemon.chat(&asking("alpha"));
    let spent = until("the bill", || {
        let status = provider_status(&daemon, "alpha");
        (status["availability"] == "resting").then_some(status)
    });
    let usd = spent["spent_today_usd"].as_f64().unwrap();
    assert!(usd > 0.001 && spent["daily_budget_usd"] == 0.001, "{spent}");
    assert!(spent["reason"].as_str().unwrap().contains("midnight"), "{spent}");
    assert_eq!(spent["requests_today"], 1);
    let refused = daemon.post("/api/chat", &asking("alpha"));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("alpha"), "{refused:?}");
    assert_eq!(cloud.n_asks(), 1);

    assert_eq!(daemon.stop().status.code(), Some(0));
    let daemon = daemon_with(&home, &config);
    let after = until("the bill of the run before", || {
        let status = provider_status(&daemon, "alpha");
        (status["availability"] == "resting").then_some(status)
    });
    assert_eq!(after["spent_today_usd"].as_f64(), Some(usd), "{after}");
    assert_eq!(daemon.post("/api/chat", &asking("alpha")).status, 503);
    assert_eq!(cloud.n_asks(), 1, "it rests");
}

#[test]
fn availability_comes_back_by_itself() {
    let (home, cloud) = (Home::new(), Cloud::saying("Here again."));
    let config = cloud.config("alpha", "openai", "").replace("check_every = \"1h\"", "check_every = \"1s\"");
    let daemon = daemon_with(&home, &config);
    cloud.fake().set_probe(Some(Behaviour::fault(Fault::Status(503))));
    until("the circuit to open", || {
        let status = provider_status(&daemon, "alpha");
        (status["availability"] == "circuit_open").then_some(())
    });
    cloud.fake().set_probe(None);
    until("the provider to come back", || {
        let status = provider_status(&daemon, "alpha");
        (status["availability"] == "available").then_some(())
    });
    assert_eq!(daemon.chat(&asking("alpha"))["response"], "Here again.");
}

#[test]
fn a_reload_says_what_waits_for_a_restart() {
    let (home, cloud) = (Home::new(), Cloud::saying("Hello."));
    let config = cloud.config("alpha", "gemini", "");
    let daemon = daemon_with(&home, &config);
    home.write_config(&format!(
        "[chat]\nmode = \"alpha\"\n[fusion]\nquorum = 5\n{}",
        config.replace("fake-model", "other")
    ));
    daemon.signal(Signal::HUP);
    until("the reload", || daemon.log().contains("read again").then_some(()));
    until("the report", || daemon.log().contains("take effect when the daemon starts next").then_some(()));
    let log = daemon.log();
    assert!(log.contains("fusion.quorum") && log.contains("provider.alpha.model"), "{log}");
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!(status["default_mode"], "alpha");
}
