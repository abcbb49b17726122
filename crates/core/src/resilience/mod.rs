//! The rules by which a provider on the other end of a network is asked: when again, how often, when not at all, and
//! at what cost.
//!
//! Pure: what time it is and what a random draw gives are arguments. Times count from any fixed origin.

mod backoff;
mod breaker;
mod daily_budget;
mod prices;
mod retry;
mod token_bucket;

pub use backoff::FullJitter;
pub use breaker::{BreakerSettings, CircuitBreaker, CircuitState, Evidence, Permit};
pub use daily_budget::DailyBudget;
pub use prices::{LongContextPrices, Prices, TokenPrices};
pub use retry::{FailedAttempt, Fault, GiveUp, RetryBudget, RetryDecision, RetryPolicy, RetryShare};
pub use token_bucket::{RateLimits, TokenBucket};
