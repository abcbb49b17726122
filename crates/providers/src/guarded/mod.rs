//! A provider with everything around it that makes it fit to be asked.

mod settings;

pub use settings::GuardSettings;
