//! Whether a model fits, and how much memory its keys and values get. Pure.

use super::{MemoryFacts, ModelNeeds};

/// Where a backend has its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Mapped from the files: they need not fit, and are read from disk again and again where they do not (CPU).
    Mapped,
    /// Resident in what the accelerator may use: they must fit (MLX).
    Resident,
}

/// What the configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryWishes {
    /// `model.context_tokens`.
    pub context_tokens: Option<u64>,
    /// `model.max_running`.
    pub max_running: u64,
    /// `model.prefix_cache`, in bytes.
    pub prefix_cache_bytes: u64,
    /// `model.kv_memory`, in bytes.
    pub kv_limit_bytes: Option<u64>,
}

/// How a model fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What keys and values may take together.
    pub kv_limit_bytes: u64,
    /// What they would take if every request used the whole context, with what is kept of earlier prompts.
    pub kv_wanted_bytes: u64,
    /// What can be had; `None` where nobody knows.
    pub free_bytes: Option<u64>,
    /// Room for weights in memory when they do not fit it: the rest is read from disk whenever it is used.
    pub streams_with_bytes: Option<u64>,
}

/// A model that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model does not fit the memory: {what} take {needed_bytes} bytes ({kv_bytes} of them for keys and values), and \
     {free_bytes} bytes are free; {hint}"
)]
pub struct MemoryShort {
    /// What is counted: `weights, keys and values and buffers`.
    pub what: &'static str,
    /// Everything that was counted.
    pub needed_bytes: u64,
    /// The part of keys and values.
    pub kv_bytes: u64,
    /// What can be had.
    pub free_bytes: u64,
    /// The setting that would fit, or that none would.
    pub hint: String,
}

/// Of what is free beside weights and buffers, keys and values get this share where nobody says how much: the rest is
/// for other programs, and for the cache of files that mapped weights live in.
const KV_SHARE_PERCENT: u64 = 75;
/// A model that cannot hold a conversation of so many tokens is of no use.
const LEAST_CONTEXT_TOKENS: u64 = 1024;

/// Holds what a model needs against what is free.
///
/// # Errors
/// [`MemoryShort`]: the numbers, and the setting that would fit.
pub fn plan_memory(
    needs: &ModelNeeds,
    wishes: &MemoryWishes,
    facts: &MemoryFacts,
    placement: Placement,
) -> Result<MemoryPlan, MemoryShort> {
    let context = wishes.context_tokens.unwrap_or(needs.context_tokens).clamp(1, needs.context_tokens.max(1));
    let of_requests = needs.kv_bytes(context, wishes.max_running.max(1));
    let kv_wanted_bytes = of_requests.saturating_add(wishes.prefix_cache_bytes);
    let (free, fixed, what) = match placement {
        Placement::Mapped => (facts.free_bytes(), needs.scratch_bytes, "keys and values and buffers"),
        Placement::Resident => (
            facts.accelerator_bytes.into_iter().chain(facts.free_bytes()).min(),
            needs.scratch_bytes.saturating_add(needs.weights_bytes),
            "weights, keys and values and buffers",
        ),
    };
    let Some(free_bytes) = free else {
        let kv_limit_bytes = wishes.kv_limit_bytes.unwrap_or(kv_wanted_bytes);
        return Ok(MemoryPlan {
            kv_limit_bytes,
            kv_wanted_bytes,
            free_bytes: None,
            streams_with_bytes: None,
        });
    };
    let room = free_bytes.saturating_sub(fixed);
    let share = (u128::from(room) * u128::from(KV_SHARE_PERCENT) / 100) as u64;
    let least = needs.kv_bytes(context.min(LEAST_CONTEXT_TOKENS), 1);
    let kv_limit_bytes = wishes.kv_limit_bytes.unwrap_or_else(|| kv_wanted_bytes.min(share).max(least));
    if free_bytes < fixed || kv_limit_bytes > room {
        return Err(MemoryShort {
            what,
            needed_bytes: fixed.saturating_add(kv_limit_bytes),
            kv_bytes: kv_limit_bytes,
            free_bytes,
            hint: hint(needs, wishes, share, least, placement),
        });
    }
    let left = free_bytes - fixed - kv_limit_bytes;
    let streams = placement == Placement::Mapped && needs.weights_bytes > left;
    Ok(MemoryPlan {
        kv_limit_bytes,
        kv_wanted_bytes,
        free_bytes: Some(free_bytes),
        streams_with_bytes: streams.then_some(left),
    })
}

/// The setting that would fit.
fn hint(needs: &ModelNeeds, wishes: &MemoryWishes, share: u64, least: u64, placement: Placement) -> String {
    if share < least {
        return match placement {
            Placement::Mapped => "free some memory; no setting makes it fit".into(),
            Placement::Resident => "free some memory or take a smaller build of the model".into(),
        };
    }
    let tokens = share / needs.kv_bytes_per_token.max(1);
    let mebibytes = (share >> 20).max(1);
    let mut hint = format!("`model.kv_memory` of at most \"{mebibytes} MiB\" would fit");
    if wishes.kv_limit_bytes.is_some() {
        hint.push_str(&format!(", which is enough for {tokens} tokens of all requests together"));
    }
    hint
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    /// GLM-4.5-Air in 4 bits with keys and values in f32.
    fn air() -> ModelNeeds {
        ModelNeeds {
            weights_bytes: 60_150_000_000,
            kv_bytes_per_token: 376_832,
            kv_granule_tokens: 32,
            context_tokens: 131_072,
            scratch_bytes: 200 << 20,
        }
    }

    fn wishes() -> MemoryWishes {
        MemoryWishes { context_tokens: None, max_running: 4, prefix_cache_bytes: GIB, kv_limit_bytes: None }
    }

    fn free(bytes: u64) -> MemoryFacts {
        MemoryFacts { available_bytes: Some(bytes), ..MemoryFacts::default() }
    }

    #[test]
    fn without_a_limit_keys_and_values_get_what_they_want_or_a_share_of_what_is_free() {
        let plan = |wishes, gib| plan_memory(&air(), &wishes, &free(gib * GIB), Placement::Mapped).unwrap();
        let short = MemoryWishes { context_tokens: Some(4096), max_running: 1, ..wishes() };
        let all = plan(short, 64);
        assert_eq!(all.kv_limit_bytes, 4096 * 376_832 + GIB);
        assert_eq!(all.streams_with_bytes, None, "60.15 GB of weights fit beside them");
        let shared = plan(wishes(), 16);
        assert!(shared.kv_limit_bytes < 12 * GIB && shared.kv_limit_bytes > 11 * GIB, "{shared:?}");
        assert!(shared.streams_with_bytes.is_some_and(|room| room < 5 * GIB), "{shared:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_setting_that_would() {
        let asked = MemoryWishes { kv_limit_bytes: Some(20 * GIB), ..wishes() };
        let short = plan_memory(&air(), &asked, &free(16 * GIB), Placement::Mapped).unwrap_err();
        assert_eq!((short.kv_bytes, short.free_bytes), (20 * GIB, 16 * GIB));
        let told = short.to_string();
        assert!(
            told.contains("17179869184 bytes are free") && told.contains("`model.kv_memory` of at most \"1"),
            "{told}"
        );
        // On an accelerator the weights count too.
        let mac = MemoryFacts { accelerator_bytes: Some(48 * GIB), ..free(60 * GIB) };
        let short = plan_memory(&air(), &wishes(), &mac, Placement::Resident).unwrap_err();
        assert!(short.to_string().contains("take a smaller build"), "{short}");
        let mac = MemoryFacts { accelerator_bytes: Some(72 * GIB), ..free(90 * GIB) };
        let fits = plan_memory(&air(), &wishes(), &mac, Placement::Resident).unwrap();
        assert!(fits.kv_limit_bytes > 10 * GIB && fits.streams_with_bytes.is_none(), "{fits:?}");
        let none = plan_memory(&air(), &wishes(), &free(300 << 20), Placement::Mapped).unwrap_err();
        assert!(none.to_string().contains("no setting makes it fit"), "{none}");
    }

    #[test]
    fn where_nobody_knows_what_is_free_nothing_is_refused() {
        let plan = plan_memory(&air(), &wishes(), &MemoryFacts::default(), Placement::Resident).unwrap();
        assert_eq!(plan.kv_limit_bytes, plan.kv_wanted_bytes);
    }

    proptest! {
        #[test]
        fn what_is_granted_fits_and_what_is_hinted_at_is_granted(
            free_bytes in 0u64..200 * GIB, context in prop::option::of(1u64..200_000), max_running in 0u64..64,
            prefix_cache_bytes in 0u64..8 * GIB, kv_limit_bytes in prop::option::of(1u64 << 20..100 * GIB),
            is_resident in any::<bool>(),
        ) {
            let placement = if is_resident { Placement::Resident } else { Placement::Mapped };
            let wishes =
                MemoryWishes { context_tokens: context, max_running, prefix_cache_bytes, kv_limit_bytes };
            let facts = free(free_bytes);
            match plan_memory(&air(), &wishes, &facts, placement) {
                Ok(plan) => {
                    let fixed = air().scratch_bytes + if is_resident { air().weights_bytes } else { 0 };
                    prop_assert!(fixed + plan.kv_limit_bytes <= free_bytes);
                    if let Some(asked) = kv_limit_bytes {
                        prop_assert_eq!(plan.kv_limit_bytes, asked);
                    }
                }
                Err(short) => {
                    prop_assert!(short.needed_bytes > free_bytes);
                    if let Some((_, rest)) = short.hint.split_once("at most \"") {
                        let mebibytes: u64 = rest.split(' ').next().unwrap().parse().unwrap();
                        let again = MemoryWishes { kv_limit_bytes: Some(mebibytes << 20), ..wishes };
                        prop_assert!(plan_memory(&air(), &again, &facts, placement).is_ok(), "{}", short);
                    }
                }
            }
        }
    }
}
