//! A host's part of the model, in MLX.

use super::follow::{FollowError, FollowOptions, Following, Stage};
use super::lead::LeadBackend;
use super::links::Links;
use super::wire::Offer;
use super::{GATHER_PATIENCE, Hosts};
use crate::backend::{Backend, BackendError};
use crate::checkpoint::{CheckpointWeights, Cut, Share};
use crate::memory::{MemoryFacts, MemoryWishes, ModelNeeds, Placement, plan_memory};
use crate::mlx::{Group, Link, MlxBackend, MlxOptions, Part};
use crate::{EngineError, ModelSource};
use std::rc::Rc;
use std::time::Duration;

/// All hosts have said that they are there, so that they need not be waited for any longer.
const GROUP_PATIENCE: Duration = Duration::from_secs(45);
/// More requests than there is ever memory for: a host has what is free to offer, and the first one takes what it needs.
const MANY: u64 = 1 << 20;
/// Prompt tokens of a step, about; what a step takes beside weights, keys and values is little.
const STEP_TOKENS: usize = 256;
/// The variable that names the devices of MLX's `jaccl`: who sets it wants that, and not the ring.
const JACCL_DEVICES: &str = "MLX_IBV_DEVICES";

/// Waits for the other hosts and builds the first one's backend. With it come the tokens whose keys and values the smallest
/// of the others has room for. `tell` is told how many parts of the model have come since it was told last; it is asked
/// now and then also while there is nothing to tell.
///
/// # Errors
/// [`EngineError::Hosts`], [`EngineError::Backend`].
pub fn lead(
    hosts: &Hosts,
    cut: &Cut,
    model: &CheckpointWeights,
    options: MlxOptions,
    tell: &mut dyn FnMut(u64),
) -> Result<(Box<dyn Backend>, u64), EngineError> {
    let offer = Offer::new(model.portable_fingerprint(), hosts);
    tracing::info!(hosts = hosts.n(), address = %hosts.first(), "the model waits for the other hosts");
    let links =
        Links::gather(hosts, &offer, (options.kv_precision, options.widen), GATHER_PATIENCE, &mut || {
            tell(0)
        })?;
    let part = part(hosts, cut)?;
    let backend = MlxBackend::of_part(&model.config, &model.weights, options, Some(part), &mut || tell(1))?;
    let kv_tokens = links.wait_until_ready(&mut || tell(0))?;
    Ok((Box::new(LeadBackend::new(backend, links)), kv_tokens))
}

/// See [`super::follow()`].
pub(super) fn follow(
    source: &ModelSource,
    options: &FollowOptions,
    tell: &mut dyn FnMut(Stage),
    lost: Box<dyn FnOnce(&str) + Send>,
) -> Result<(), FollowError> {
    let FollowOptions { hosts, rank, adapter, device, limits } = options;
    let model = CheckpointWeights::open_adapted(source, adapter.as_deref())?;
    let share = Share { rank: *rank, size: hosts.n() };
    let cannot = |error: &dyn std::error::Error| FollowError::Cannot(error.to_string());
    let cut = Cut::new(&model.config, &model.weights, share).map_err(|error| cannot(&error))?;
    let following = Following::join(hosts, *rank, &Offer::new(model.portable_fingerprint(), hosts), tell)?;
    let heard = following.listen(lost).map_err(|error| cannot(&error))?;
    let mut loaded = || -> Result<(MlxBackend, u64), FollowError> {
        let gone = |error: BackendError| FollowError::Gone(error.to_string());
        // What keys and values get is the first host's to say; here it is only how many tokens there is room for.
        let needs = ModelNeeds::on_mlx(&model, following.kv_precision, STEP_TOKENS, 1).of_part(&model, &cut);
        let wishes = MemoryWishes {
            context_tokens: None,
            max_running: MANY,
            prefix_cache_bytes: 0,
            kv_limit_bytes: None,
        };
        let plan = plan_memory(&needs, &wishes, &MemoryFacts::read(), Placement::Resident);
        let plan = plan.map_err(|error| cannot(&error))?;
        let kv_tokens = plan.kv_limit_bytes / needs.kv_bytes_per_token.max(1);
        let part = part(hosts, &cut).map_err(gone)?;
        tell(Stage::Reading(needs.weights_bytes));
        let Following { kv_precision, widen, .. } = following;
        let options = MlxOptions { device: *device, kv_precision, limits: *limits, widen };
        let backend = MlxBackend::of_part(&model.config, &model.weights, options, Some(part), &mut || {});
        Ok((backend.map_err(|error| cannot(&error))?, kv_tokens))
    };
    match loaded() {
        Ok((backend, kv_tokens)) => {
            tell(Stage::Following);
            following.run(backend, kv_tokens, &heard)
        }
        Err(error) => {
            following.fail(&error.to_string());
            Err(error)
        }
    }
}

fn part(hosts: &Hosts, cut: &Cut) -> Result<Part, BackendError> {
    let device = |reason: String| BackendError::Device { after: Duration::ZERO, reason };
    let link = if std::env::var_os(JACCL_DEVICES).is_some() { Link::Jaccl } else { Link::Ring };
    let group = Group::join(link, GROUP_PATIENCE).map_err(|error| device(error.what().to_owned()))?;
    if group.share() != cut.share() {
        let Share { rank, size } = group.share();
        let (own, n) = (cut.share().rank, hosts.n());
        return Err(device(format!(
            "MLX was told that this is host {rank} of {size}, and it is {own} of {n}"
        )));
    }
    Ok(Part { cut: cut.clone(), group: Rc::new(group) })
}
