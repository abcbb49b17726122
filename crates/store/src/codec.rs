//! Records to bytes and back.

use crate::StoreError;
use crate::alerts::AlertNotice;
use crate::answers::AnswerRecord;
use crate::batches::{Batch, BatchResult};
use crate::disk::{MESSAGE_SCHEMA, META_SCHEMA, MessageRecord, MetaRecord, SESSION_SCHEMA, SessionRecord};
use crate::disk_alerts::{ALERT_NOTICE_SCHEMA, ALERT_STATE_SCHEMA, AlertNoticeRecord};
use crate::disk_answers::{ANSWER_SCHEMA, AnswerDiskRecord, DAY_USAGE_SCHEMA, DayUsageRecord};
use crate::disk_batches::{BATCH_SCHEMA, BATCH_TEXT_SCHEMA, BatchDiskRecord, BatchTextRecord};
use crate::disk_measured::{MEASURED_SCHEMA, MeasuredRecord};
use crate::disk_schedule::{SLOT_SCHEMA, SUMMARY_SCHEMA, SlotDiskRecord, SummaryDiskRecord};
use crate::envelope::{self, Damage};
use crate::rollups::Measured;
use crate::schedule::{SlotState, Summary};
use crate::types::{Message, Session};
use boca_core::alert::AlertState;
use boca_core::{ProviderUsage, SessionId};
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

pub(crate) fn encode_answer(answer: &AnswerRecord) -> Result<Vec<u8>, StoreError> {
    encode(ANSWER_SCHEMA, &AnswerDiskRecord::from(answer))
}

pub(crate) fn decode_answer(record: &[u8]) -> Result<AnswerRecord, Damage> {
    decode::<AnswerDiskRecord>(ANSWER_SCHEMA, record)?.try_into().map_err(Damage::Content)
}

pub(crate) fn encode_day_usage(usage: &ProviderUsage) -> Result<Vec<u8>, StoreError> {
    encode(DAY_USAGE_SCHEMA, &DayUsageRecord::from(usage))
}

pub(crate) fn decode_day_usage(record: &[u8]) -> Result<ProviderUsage, Damage> {
    Ok(decode::<DayUsageRecord>(DAY_USAGE_SCHEMA, record)?.into())
}

pub(crate) fn encode_slot(state: &SlotState) -> Result<Vec<u8>, StoreError> {
    encode(SLOT_SCHEMA, &SlotDiskRecord::from(state))
}

pub(crate) fn decode_slot(record: &[u8]) -> Result<SlotState, Damage> {
    Ok(decode::<SlotDiskRecord>(SLOT_SCHEMA, record)?.into())
}

pub(crate) fn encode_summary(summary: &Summary) -> Result<Vec<u8>, StoreError> {
    encode(SUMMARY_SCHEMA, &SummaryDiskRecord::from(summary))
}

pub(crate) fn decode_summary(record: &[u8]) -> Result<Summary, Damage> {
    Ok(decode::<SummaryDiskRecord>(SUMMARY_SCHEMA, record)?.into())
}

pub(crate) fn encode_alert_state(state: &AlertState) -> Result<Vec<u8>, StoreError> {
    encode(ALERT_STATE_SCHEMA, state)
}

pub(crate) fn decode_alert_state(record: &[u8]) -> Result<AlertState, Damage> {
    decode(ALERT_STATE_SCHEMA, record)
}

pub(crate) fn encode_alert_notice(notice: &AlertNotice) -> Result<Vec<u8>, StoreError> {
    encode(ALERT_NOTICE_SCHEMA, &AlertNoticeRecord::from(notice))
}

pub(crate) fn decode_alert_notice(record: &[u8]) -> Result<AlertNotice, Damage> {
    Ok(decode::<AlertNoticeRecord>(ALERT_NOTICE_SCHEMA, record)?.into())
}

pub(crate) fn encode_measured(measured: &Measured) -> Result<Vec<u8>, StoreError> {
    encode(MEASURED_SCHEMA, &MeasuredRecord::from(measured))
}

pub(crate) fn decode_measured(record: &[u8]) -> Result<Measured, Damage> {
    Ok(decode::<MeasuredRecord>(MEASURED_SCHEMA, record)?.into())
}

pub(crate) fn encode_batch(batch: &Batch) -> Result<Vec<u8>, StoreError> {
    encode(BATCH_SCHEMA, &BatchDiskRecord::from(batch))
}

pub(crate) fn decode_batch(record: &[u8]) -> Result<Batch, Damage> {
    Ok(decode::<BatchDiskRecord>(BATCH_SCHEMA, record)?.into())
}

pub(crate) fn encode_text(text: &str) -> Result<Vec<u8>, StoreError> {
    encode(BATCH_TEXT_SCHEMA, &BatchTextRecord { text: text.to_owned(), is_error: false })
}

pub(crate) fn decode_text(record: &[u8]) -> Result<String, Damage> {
    Ok(decode::<BatchTextRecord>(BATCH_TEXT_SCHEMA, record)?.text)
}

pub(crate) fn encode_result(result: &BatchResult) -> Result<Vec<u8>, StoreError> {
    encode(BATCH_TEXT_SCHEMA, &BatchTextRecord::from(result))
}

pub(crate) fn decode_result(record: &[u8]) -> Result<BatchResult, Damage> {
    Ok(decode::<BatchTextRecord>(BATCH_TEXT_SCHEMA, record)?.into())
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
    use crate::answers::{SourceRecord, Verdict};
    use crate::types::{AnswerTrace, SessionSettings, StoredSummary};
    use boca_core::{
        ContextCut, ErrorCode, Failure, FinishReason, FusionTrace, MicroUsd, Preset, Role, SamplingOverrides,
        Seam, SourceAnswer, SourceRole, SourceState, SourceTrace, Strategy, Timings, TurnSummary, Usage,
    };
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    proptest! {
        #[test]
        fn messages_survive(content: String, reasoning: Option<String>, time: u64, micros in 0..u64::from(u32::MAX), tokens: u32, code in prop::sample::select(ErrorCode::ALL.to_vec()), is_demo_private: bool) {
            let trace = trace(&content, code, micros);
            let message = Message {
                reasoning,
                model_used: Some("m".into()),
                is_demo: true,
                finish_reason: Some(FinishReason::Length),
                usage: Some(Usage { prompt_tokens: tokens, completion_tokens: 3, ..Usage::default() }),
                timings: Some(Timings { total: Duration::from_micros(micros), ..Timings::default() }),
                request_id: Some("r-1".parse().unwrap()),
                failure: Some(code),
                private: is_demo_private,
                trace: Some(Box::new(trace)),
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
                    private: seed % 2 == 0,
                },
                n_messages: 3,
                prompt_tokens: 4,
                completion_tokens: 5,
                summary: Some(StoredSummary { summary: turn_summary("sum"), created_unix_ms: seed }),
            };
            prop_assert_eq!(decode_session(&session.id, &encode_session(&session).unwrap()), Ok(session));
        }
    }

    fn turn_summary(text: &str) -> TurnSummary {
        TurnSummary { before_turn: 7, text: text.to_owned(), model: "m".into() }
    }

    fn trace(text: &str, code: ErrorCode, micros: u64) -> AnswerTrace {
        let source = SourceTrace {
            model: Some("m".into()),
            role: SourceRole::Continuation,
            state: SourceState::Failed,
            first_token: Some(Duration::from_micros(micros)),
            ended: Some(Duration::from_micros(micros)),
            usage: Usage { cached_tokens: 3, ..Usage::default() },
            cost: Some(MicroUsd(micros)),
            failure: Some(Failure { param: Some("mode".into()), ..Failure::new(code, text) }),
            context_cut: Some(Box::new(ContextCut {
                first_turn: 1,
                last_turn: 6,
                n_turns: 4,
                whole_tokens: 99,
                summary: Some(turn_summary(text)),
                no_summary: Some(text.to_owned()),
            })),
            ..SourceTrace::asked("gemini", Duration::from_micros(micros))
        };
        AnswerTrace {
            fusion: FusionTrace {
                mode: "collaborative".into(),
                strategy: Some(Strategy::Merge),
                chosen: Some("local".into()),
                judged_by: Some("gemini".into()),
                agreement: Some(0.25),
                reasons: vec![text.to_owned()],
                seam: Some(Seam { at_byte: micros, from: "gemini".into(), to: "local".into() }),
            },
            sources: vec![source],
            answers: vec![SourceAnswer {
                provider: "local".into(),
                text: text.to_owned(),
                finish_reason: FinishReason::ContentFilter,
                usage: Usage { completion_tokens: 5, ..Usage::default() },
            }],
        }
    }

    proptest! {
        #[test]
        fn answers_and_usage_survive(micros in 0..u64::from(u32::MAX), code in prop::sample::select(ErrorCode::ALL.to_vec()), verdict in prop::option::of(prop::sample::select(Verdict::ALL.to_vec())), tokens: u64) {
            let source = SourceRecord {
                provider: "gemini".into(),
                role: SourceRole::Judge,
                state: SourceState::Cancelled,
                failure: Some(code),
                first_token: Some(Duration::from_micros(micros)),
                total: None,
                usage: Usage { prompt_tokens: 1, ..Usage::default() },
                cost: Some(MicroUsd(micros)),
            };
            let answer = AnswerRecord {
                request_id: "r-1".parse().unwrap(),
                created_unix_ms: micros,
                mode: "race".into(),
                strategy: Some(Strategy::Select),
                chosen: Some("gemini".into()),
                sources: vec![source],
                verdict,
            };
            prop_assert_eq!(decode_answer(&encode_answer(&answer).unwrap()), Ok(answer));
            let usage = ProviderUsage { requests: 1, failures: 2, prompt_tokens: tokens, estimated: 3, cost: MicroUsd(tokens), ..ProviderUsage::default() };
            prop_assert_eq!(decode_day_usage(&encode_day_usage(&usage).unwrap()), Ok(usage));
        }
    }

    #[test]
    fn a_wrong_schema_or_word_is_damage() {
        assert_eq!(decode_message(&envelope::wrap(9, b"{}")), Err(Damage::Schema(9)));
        let unknown = envelope::wrap(MESSAGE_SCHEMA, br#"{"role":"ghost","content":"","created_unix_ms":1}"#);
        assert_eq!(decode_message(&unknown), Err(Damage::Content("unknown role \"ghost\"".into())));
    }
}
