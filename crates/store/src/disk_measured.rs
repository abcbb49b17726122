//! What was measured, as it lies on disk. The same rules as for [`crate::disk`].

use crate::rollups::Measured;
use boca_core::rollup::{SeriesKey, Tally};
use serde::{Deserialize, Serialize};

/// Schema of [`MeasuredRecord`].
pub(crate) const MEASURED_SCHEMA: u16 = 1;

/// Kinds of requests and what was measured of each. A tally's fields have defaults, so that it may gain some.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MeasuredRecord(Vec<(SeriesKey, Tally)>);

impl From<&Measured> for MeasuredRecord {
    fn from(measured: &Measured) -> Self {
        Self(measured.iter().map(|(key, tally)| (key.clone(), tally.clone())).collect())
    }
}

impl From<MeasuredRecord> for Measured {
    fn from(MeasuredRecord(series): MeasuredRecord) -> Self {
        series.into_iter().collect()
    }
}
