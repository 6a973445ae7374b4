//! The stages of an attempt. Each is measured once: for its histogram, and for its span in the job's trace.

use std::{
    ops::Range,
    time::{Instant, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedSpan},
    trace::{Span as _, TraceContextExt, Tracer},
};
use tracing::{Span, span::Entered};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::metrics::{Stage, StageSeconds};

/// Where the stages of one attempt go. Clones share it.
#[derive(Debug, Clone)]
pub struct Stages {
    seconds: StageSeconds,
    /// The span of the attempt; disabled if there is none.
    attempt: Span,
    /// The place of that span, if it is sent to a collector.
    recorded: Option<Context>,
}

impl Default for Stages {
    /// Stages that are in no metrics and in no trace.
    fn default() -> Self {
        Self { seconds: StageSeconds::default(), attempt: Span::none(), recorded: None }
    }
}

impl Stages {
    /// The stages below this span.
    pub fn of(seconds: StageSeconds, attempt: Span) -> Self {
        let context = attempt.context();
        let recorded = context.span().span_context().is_sampled().then_some(context);
        Self { seconds, attempt, recorded }
    }

    /// Enters the span of the attempt, for the lines of the log.
    pub fn enter(&self) -> Entered<'_> {
        self.attempt.enter()
    }

    /// A stage began at this time and ends now.
    pub fn since(&self, stage: Stage, begun: Instant) {
        self.during(stage, begun..Instant::now());
    }

    /// A stage took this time.
    pub fn during(&self, stage: Stage, time: Range<Instant>) {
        self.seconds.observe(stage, time.end - time.start);
        if let Some(mut span) = self.span(stage, time.start) {
            span.end_with_timestamp(at(time.end));
        }
    }

    /// The steps of the sampler.
    pub fn steps(&self) -> Steps<'_> {
        Steps { stages: self, span: None }
    }

    fn span(&self, stage: Stage, begun: Instant) -> Option<BoxedSpan> {
        let context = self.recorded.as_ref()?;
        let tracer = global::tracer(super::export::SCOPE);
        let span = tracer.span_builder(stage.as_str()).with_start_time(at(begun));
        Some(tracer.build_with_context(span, context))
    }
}

/// The steps of one attempt: one span, from the first step to the last one that was taken, with an event for each.
pub struct Steps<'a> {
    stages: &'a Stages,
    /// The span and the end of the newest step.
    span: Option<(BoxedSpan, SystemTime)>,
}

impl Steps<'_> {
    /// A step began at this time and ends now. `step` is its number, from 0.
    pub fn taken(&mut self, step: u32, begun: Instant) {
        let time = begun..Instant::now();
        self.stages.seconds.observe(Stage::Denoise, time.end - time.start);
        if self.span.is_none() {
            self.span = self.stages.span(Stage::Denoise, begun).map(|span| (span, at(begun)));
        }
        if let Some((span, newest)) = &mut self.span {
            *newest = at(time.end);
            span.add_event_with_timestamp("step", *newest, vec![KeyValue::new("step", i64::from(step))]);
        }
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        if let Some((mut span, newest)) = self.span.take() {
            span.end_with_timestamp(newest);
        }
    }
}

/// The system's time at an instant that is not in the future.
fn at(instant: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(instant.elapsed()).unwrap_or(now)
}
