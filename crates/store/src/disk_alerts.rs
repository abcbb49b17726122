//! Alerts as they lie on disk. The same rules as for [`crate::disk`].

use crate::alerts::AlertNotice;
use boca_core::alert::AlertChange;
use serde::{Deserialize, Serialize};

/// Schema of how an alert stands, which is [`boca_core::alert::AlertState`].
pub(crate) const ALERT_STATE_SCHEMA: u16 = 1;
/// Schema of [`AlertNoticeRecord`].
pub(crate) const ALERT_NOTICE_SCHEMA: u16 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AlertNoticeRecord {
    number: u64,
    alert: String,
    change: AlertChange,
    at_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    figure: Option<f64>,
    is_told: bool,
}

impl From<&AlertNotice> for AlertNoticeRecord {
    fn from(notice: &AlertNotice) -> Self {
        let AlertNotice { number, alert, change, at_unix_ms, figure, is_told } = notice.clone();
        Self { number, alert, change, at_unix_ms, figure, is_told }
    }
}

impl From<AlertNoticeRecord> for AlertNotice {
    fn from(record: AlertNoticeRecord) -> Self {
        let AlertNoticeRecord { number, alert, change, at_unix_ms, figure, is_told } = record;
        Self { number, alert, change, at_unix_ms, figure, is_told }
    }
}
