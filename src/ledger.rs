//! The use of providers, written down in the store: so that a daily budget holds across restarts.

use boca_actors::UsageLedger;
use boca_core::{Failure, LocalDay, ProviderUsage};
use boca_store::Store;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Writes into the store.
#[derive(Debug)]
pub(crate) struct StoreLedger(pub(crate) Store);

impl UsageLedger for StoreLedger {
    fn used_on(&self, provider: &str, day: LocalDay) -> BoxFuture<'static, Result<ProviderUsage, Failure>> {
        let (store, provider) = (self.0.clone(), provider.to_owned());
        async move { Ok(store.usage_on(day).await?.remove(&provider).unwrap_or_default()) }.boxed()
    }

    fn add(
        &self,
        provider: &str,
        day: LocalDay,
        usage: ProviderUsage,
    ) -> BoxFuture<'static, Result<(), Failure>> {
        let (store, provider) = (self.0.clone(), provider.to_owned());
        async move { store.add_usage(&provider, day, usage).await.map(drop).map_err(Failure::from) }.boxed()
    }
}
