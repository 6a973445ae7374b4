//! Families that are shown although they have no value yet.

use std::fmt::{Debug, Error};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::MetricType,
};

/// A family whose name is always in the text. A registry leaves out a family without values.
#[derive(Debug)]
pub(super) struct Always<M>(pub(super) M);

impl<M: EncodeMetric + Debug> EncodeMetric for Always<M> {
    fn encode(&self, encoder: MetricEncoder) -> Result<(), Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}
