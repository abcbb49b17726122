//! Values for tests of the parts of this module; the service as a whole is tested over HTTP.

use crate::config::ChatSettings;
use boca_core::{Mode, PresetTable, SamplingOverrides};
use std::time::Duration;

pub(crate) fn chat_settings() -> ChatSettings {
    ChatSettings {
        system: None,
        preset: None,
        mode: Mode::Auto,
        effort: None,
        private: false,
        context_policy: Default::default(),
        deadline: Duration::from_secs(60),
        max_deadline: Duration::from_secs(120),
        max_message_bytes: 1000,
        sampling: SamplingOverrides { max_tokens: Some(64), ..SamplingOverrides::default() },
        presets: PresetTable::default(),
    }
}
