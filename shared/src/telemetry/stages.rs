//! The stages of an attempt. Each is measured once: for its histogram, and for its span in the job's trace.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
#[derive(Clone)]
pub struct Stages {
    seconds: StageSeconds,
    /// The span of the attempt; disabled if there is none.
    attempt: Span,
    /// The place of that span, if it is sent to a collector.
    recorded: Option<Context>,
    denoise: Arc<Mutex<Denoise>>,
}

impl Default for Stages {
    /// Stages that are in no metrics and in no trace.
    fn default() -> Self {
        Self::of(StageSeconds::default(), Span::none())
    }
}

impl Stages {
    /// The stages below this span.
    pub fn of(seconds: StageSeconds, attempt: Span) -> Self {
        let context = attempt.context();
        let recorded = context.span().span_context().is_sampled().then_some(context);
        Self { seconds, attempt, recorded, denoise: Arc::new(Mutex::new(Denoise::NotBegun)) }
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

    /// A step of the sampler began at this time and ends now. `number` counts from 0. All steps of an attempt are one
    /// span, with an event for each.
    pub fn step(&self, number: u32, begun: Instant) {
        let time = begun..Instant::now();
        self.seconds.observe(Stage::Denoise, time.end - time.start);
        let mut denoise = self.denoise();
        if let Denoise::NotBegun = *denoise
            && let Some(span) = self.span(Stage::Denoise, time.start)
        {
            *denoise = Denoise::Open(span, at(time.start));
        }
        if let Denoise::Open(span, newest) = &mut *denoise {
            *newest = at(time.end);
            span.add_event_with_timestamp("step", *newest, vec![KeyValue::new("step", i64::from(number))]);
        }
    }

    /// Ends the span of the steps, with the newest step. Also called when the attempt ends: the pipeline may be in a
    /// step that is not waited for, and that step has no event.
    pub fn denoised(&self) {
        if let Denoise::Open(mut span, newest) = std::mem::replace(&mut *self.denoise(), Denoise::Ended) {
            span.end_with_timestamp(newest);
        }
    }

    fn denoise(&self) -> MutexGuard<'_, Denoise> {
        self.denoise.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn span(&self, stage: Stage, begun: Instant) -> Option<BoxedSpan> {
        let context = self.recorded.as_ref()?;
        let tracer = global::tracer(super::export::SCOPE);
        let span = tracer.span_builder(stage.as_str()).with_start_time(at(begun));
        Some(tracer.build_with_context(span, context))
    }
}

/// The span of the steps of one attempt.
enum Denoise {
    NotBegun,
    /// With the end of the newest step.
    Open(BoxedSpan, SystemTime),
    Ended,
}

/// The system's time at an instant that is not in the future.
fn at(instant: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(instant.elapsed()).unwrap_or(now)
}
