//! The actor's own failures, over a provider that is not there.

use super::*;
use crate::gemini::Gemini;
use crate::provider_io::ProviderIo;
use crate::provider_settings::ProviderSettings;
use crate::restart_policy::{Backoff, RestartPolicy};
use crate::supervisor::{ActorReport, ChildSpec, Placement, Supervision, Supervisor};
use boca_core::{ActorState, Surroundings};
use boca_providers::Endpoint;

const PATIENCE: Duration = Duration::from_secs(60);

struct Panic;

impl ActorRequest for Panic {
    type Reply = ();
}

impl<P: Protocol> Handler<Call<Panic>> for ProviderActor<P> {
    type Result = ();

    fn handle(&mut self, _: Call<Panic>, _: &mut Self::Context) {
        panic!("a defect");
    }
}

fn shared() -> Arc<ProviderShared> {
    let mut endpoint = Endpoint::new("cloud", ProviderKind::Gemini, "model");
    // Nobody listens on the discard port of this machine.
    endpoint.base_url = "http://127.0.0.1:9".into();
    let here = || Surroundings {
        system: "test".into(),
        processor: "test".into(),
        memory_bytes: None,
        backend: None,
    };
    let io = Arc::new(ProviderIo::start().unwrap());
    Arc::new(ProviderShared::new(ProviderSettings::new(endpoint), io, None, Arc::new(here)))
}

async fn until(supervisor: &Supervisor, is_so: impl Fn(&ActorReport) -> bool) -> ActorReport {
    let begun = Instant::now();
    loop {
        let report = supervisor.reports().remove("cloud").unwrap();
        if is_so(&report) {
            return report;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {report:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_defect_is_mended_a_few_times_and_then_this_provider_alone_stays_down() {
    actix::System::new().block_on(async {
        let backoff = Backoff { first: Duration::ZERO, longest: Duration::ZERO, jitter: 0.0 };
        let policy = RestartPolicy { max_restarts: 2, backoff, ..RestartPolicy::default() };
        let (supervisor, shared) = (Supervisor::new(crate::Strategy::OneForOne), shared());
        let for_actor = Arc::clone(&shared);
        let actor = supervisor.start(ChildSpec {
            name: "cloud".into(),
            policy,
            supervision: Supervision::default(),
            mailbox_capacity: 4,
            placement: Placement::OwnThread,
            is_essential: false,
            needs: &[],
            factory: Arc::new(move |exit| ProviderActor::<Gemini>::new(Arc::clone(&for_actor), exit)),
        });
        // An answer that was begun before is read through all of it.
        let (more, updates) = tokio::sync::mpsc::channel(1);
        let updates = stream::unfold(updates, |mut updates: tokio::sync::mpsc::Receiver<_>| async move {
            updates.recv().await.map(|update| (update, updates))
        });
        let mut answer = shared.answers.begin(&shared.io, updates).unwrap();

        for nth in 1..=3 {
            until(&supervisor, |report| report.state == ActorState::Ready).await;
            actor.call(Panic, Instant::now() + PATIENCE).await.unwrap_err();
            until(&supervisor, |report| report.restarts == nth || report.state == ActorState::Down).await;
        }
        let report = until(&supervisor, |report| report.state == ActorState::Down).await;
        assert_eq!(report.restarts, 2);
        assert!(report.last_error.unwrap().starts_with("panicked: a defect ("));
        let escalated = tokio::time::timeout(Duration::from_millis(50), supervisor.escalated()).await;
        assert!(escalated.is_err(), "the process goes on");

        let update = boca_core::GenerationEvent::Text("still here".into());
        let update = Ok(boca_core::GenerationUpdate::Event(update));
        more.send(update.clone()).await.unwrap();
        assert_eq!(futures_util::StreamExt::next(&mut answer).await, Some(update));
        supervisor.stop_all().await;
    });
}
