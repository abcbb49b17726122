//! What a generation costs.

use crate::{MicroUsd, Usage};
use serde::{Deserialize, Serialize};

/// Prices of one million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPrices {
    /// Tokens of the prompt.
    pub input: MicroUsd,
    /// Tokens of the prompt that the provider had in its cache; `None`: like the others.
    pub cached_input: Option<MicroUsd>,
    /// Tokens generated, thinking included.
    pub output: MicroUsd,
}

/// The prices of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    /// What holds for most requests.
    pub base: TokenPrices,
    /// Prompts beyond a length that pay other prices for all their tokens.
    pub long_context: Option<LongContextPrices>,
}

/// Prices of long prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongContextPrices {
    /// They hold for prompts of more tokens than this.
    pub above_tokens: u32,
    /// The prices.
    pub prices: TokenPrices,
}

impl Prices {
    /// What a generation costs, rounded up to the next millionth of a dollar.
    pub fn cost(&self, usage: &Usage) -> MicroUsd {
        let prices = match &self.long_context {
            Some(long) if usage.prompt_tokens > long.above_tokens => &long.prices,
            _ => &self.base,
        };
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let fresh = usage.prompt_tokens - cached;
        let sum: u128 = [
            (fresh, prices.input),
            (cached, prices.cached_input.unwrap_or(prices.input)),
            (usage.completion_tokens, prices.output),
        ]
        .into_iter()
        .map(|(tokens, price)| u128::from(tokens) * u128::from(price.0))
        .sum();
        MicroUsd(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prices(input: u64, cached: Option<u64>, output: u64) -> TokenPrices {
        TokenPrices { input: MicroUsd(input), cached_input: cached.map(MicroUsd), output: MicroUsd(output) }
    }

    fn usage(prompt_tokens: u32, cached_tokens: u32, completion_tokens: u32) -> Usage {
        Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens: 0 }
    }

    #[test]
    fn cached_and_long_prompts_have_prices_of_their_own() {
        let flat = Prices { base: prices(750_000, None, 3_750_000), long_context: None };
        assert_eq!(flat.cost(&usage(1_000_000, 0, 1_000_000)), MicroUsd(4_500_000));
        assert_eq!(flat.cost(&usage(1, 0, 0)), MicroUsd(1), "rounded up");
        assert_eq!(flat.cost(&usage(0, 0, 0)), MicroUsd(0));

        let long =
            LongContextPrices { above_tokens: 200_000, prices: prices(2_500_000, Some(250_000), 15_000_000) };
        let stepped = Prices { base: prices(1_250_000, Some(125_000), 10_000_000), long_context: Some(long) };
        assert_eq!(stepped.cost(&usage(200_000, 100_000, 1_000)), MicroUsd(125_000 + 12_500 + 10_000));
        assert_eq!(stepped.cost(&usage(200_001, 1, 1_000)), MicroUsd(500_000 + 1 + 15_000));
    }

    proptest! {
        #[test]
        fn more_tokens_never_cost_less_and_nothing_overflows(
            input: u64, cached in prop::option::of(any::<u64>()), output: u64,
            prompt: u32, cached_tokens: u32, completion: u32, more in 0u32..1_000,
        ) {
            let flat = Prices { base: prices(input, cached, output), long_context: None };
            let cost = flat.cost(&usage(prompt, cached_tokens, completion));
            let dearer = flat.cost(&usage(prompt, cached_tokens, completion.saturating_add(more)));
            prop_assert!(cost <= dearer);
        }
    }
}
