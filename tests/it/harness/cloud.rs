//! A provider that everybody could ask: a fake one on loopback, in this process.

use boca_fake_providers::{Behaviour, FakeProvider, Seen};
use std::time::Duration;
use tokio::runtime::Runtime;

const MOMENT: Duration = Duration::from_millis(50);

/// A fake provider that ends with the test.
#[derive(Debug)]
pub(crate) struct Cloud {
    fake: FakeProvider,
    _runtime: Runtime,
}

impl Cloud {
    /// Listens on a free port and answers with a text of its own.
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fake = runtime.block_on(FakeProvider::start()).unwrap();
        Self { fake, _runtime: runtime }
    }

    /// One that answers with this text, after a moment: so that whoever is asked beside it is asked as well before the
    /// first answer ends it.
    pub(crate) fn saying(text: &str) -> Self {
        let cloud = Self::start();
        cloud.fake.set(Behaviour { head_delay: MOMENT, ..Behaviour::text(text) });
        cloud
    }

    /// The provider itself.
    pub(crate) fn fake(&self) -> &FakeProvider {
        &self.fake
    }

    /// Questions that came, without health checks.
    pub(crate) fn n_asks(&self) -> usize {
        self.fake.asks().len()
    }

    /// Everything that came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.fake.seen()
    }

    /// It as it stands in a config file. A health check comes once and then not again while a test runs.
    pub(crate) fn config(&self, name: &str, kind: &str, more: &str) -> String {
        let path = if kind == "openai" { "/v1" } else { "" };
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\nmodel = \"fake-model\"\nbase_url = \"{}{path}\"\n{more}\n\
             [provider.limits]\ncheck_every = \"1h\"\nmax_retries = 0\n",
            self.fake.base_url()
        )
    }
}
