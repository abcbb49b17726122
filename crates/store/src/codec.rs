//! Records to bytes and back.

use crate::StoreError;
use crate::disk::{MESSAGE_SCHEMA, META_SCHEMA, MessageRecord, MetaRecord, SESSION_SCHEMA, SessionRecord};
use crate::envelope::{self, Damage};
use crate::types::{Message, Session};
use boca_core::SessionId;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn encode_meta(meta: &MetaRecord) -> Result<Vec<u8>, StoreError> {
    encode(META_SCHEMA, meta)
}

pub(crate) fn decode_meta(record: &[u8]) -> Result<MetaRecord, Damage> {
    decode(META_SCHEMA, record)
}

pub(crate) fn encode_session(session: &Session) -> Result<Vec<u8>, StoreError> {
    encode(SESSION_SCHEMA, &SessionRecord::from(session))
}

pub(crate) fn decode_session(id: &SessionId, record: &[u8]) -> Result<Session, Damage> {
    decode::<SessionRecord>(SESSION_SCHEMA, record)?.into_session(id.clone()).map_err(Damage::Content)
}

pub(crate) fn encode_message(message: &Message) -> Result<Vec<u8>, StoreError> {
    encode(MESSAGE_SCHEMA, &MessageRecord::from(message))
}

pub(crate) fn decode_message(record: &[u8]) -> Result<Message, Damage> {
    decode::<MessageRecord>(MESSAGE_SCHEMA, record)?.try_into().map_err(Damage::Content)
}

fn encode(schema: u16, record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    Ok(envelope::wrap(schema, &serde_json::to_vec(record)?))
}

fn decode<T: DeserializeOwned>(schema: u16, record: &[u8]) -> Result<T, Damage> {
    let (found, payload) = envelope::unwrap(record)?;
    if found != schema {
        return Err(Damage::Schema(found));
    }
    serde_json::from_slice(payload).map_err(|error| Damage::Content(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionSettings;
    use boca_core::{ErrorCode, FinishReason, Preset, Role, SamplingOverrides, Timings, Usage};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    proptest! {
        #[test]
        fn messages_survive(content: String, reasoning: Option<String>, time: u64, micros in 0..u64::from(u32::MAX), tokens: u32, code in prop::sample::select(ErrorCode::ALL.to_vec())) {
            let message = Message {
                reasoning,
                model_used: Some("m".into()),
                is_demo: true,
                finish_reason: Some(FinishReason::Length),
                usage: Some(Usage { prompt_tokens: tokens, completion_tokens: 3, ..Usage::default() }),
                timings: Some(Timings { total: Duration::from_micros(micros), ..Timings::default() }),
                request_id: Some("r-1".parse().unwrap()),
                failure: Some(code),
                ..Message::text(Role::Assistant, content, time)
            };
            prop_assert_eq!(decode_message(&encode_message(&message).unwrap()), Ok(message));
        }

        #[test]
        fn sessions_survive(title: Option<String>, system: Option<String>, temperature in 0.0f32..2.0, bias in prop::collection::btree_map(any::<u32>(), -100.0f32..100.0, 0..5), seed: u64) {
            let session = Session {
                id: "s".parse().unwrap(),
                title,
                created_unix_ms: 1,
                updated_unix_ms: 2,
                settings: SessionSettings {
                    system,
                    preset: Some(Preset::Creative),
                    sampling: SamplingOverrides {
                        temperature: Some(temperature),
                        logit_bias: Some(BTreeMap::clone(&bias)),
                        seed: Some(seed),
                        thinking: Some(false),
                        ..SamplingOverrides::default()
                    },
                },
                n_messages: 3,
                prompt_tokens: 4,
                completion_tokens: 5,
            };
            prop_assert_eq!(decode_session(&session.id, &encode_session(&session).unwrap()), Ok(session));
        }
    }

    #[test]
    fn a_wrong_schema_or_word_is_damage() {
        assert_eq!(decode_message(&envelope::wrap(9, b"{}")), Err(Damage::Schema(9)));
        let unknown = envelope::wrap(MESSAGE_SCHEMA, br#"{"role":"ghost","content":"","created_unix_ms":1}"#);
        assert_eq!(decode_message(&unknown), Err(Damage::Content("unknown role \"ghost\"".into())));
    }
}
