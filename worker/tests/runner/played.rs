//! A pipeline that the test plays itself: it gets the orders of a worker and says how far each is.

use std::{sync::Arc, time::Duration};

use glimpse_shared::store::SharedStore;
use glimpse_worker::{
    engine::{Engine, Made, Order, StepObserver},
    lease::Stop,
    loras::Loras,
    outbox::{Outbox, RawPreview},
    pipeline::{PipelineError, StepProgress},
};
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver},
        oneshot, watch,
    },
    time::timeout,
};

use crate::script::{Running, grey, run_keeping};

/// The number of steps of every job.
pub const STEPS: usize = 10;

/// Far longer than any wait of a worker.
const LONG: Duration = Duration::from_secs(60);

/// The orders of one worker.
pub struct Orders(UnboundedReceiver<Order>);

/// Starts a worker whose pipeline is played.
pub fn play(store: &SharedStore, name: &str, grace: Duration) -> (Running, Orders) {
    play_with(store, name, grace, Loras::default())
}

/// The same, with LoRAs.
pub fn play_with(store: &SharedStore, name: &str, grace: Duration, loras: Loras) -> (Running, Orders) {
    let (orders, waiting) = mpsc::unbounded_channel();
    let engine = Engine::from_orders(orders);
    let (worker, _) = run_keeping(store, engine, name, grace, Duration::ZERO, (loras, None));
    (worker, Orders(waiting))
}

impl Orders {
    /// The next order. It waits until [`Waiting::begin`].
    pub async fn next(&mut self) -> Waiting {
        Waiting(timeout(LONG, self.0.recv()).await.expect("an order").expect("a worker"))
    }

    /// Checks that there is no order now.
    pub fn assert_empty(&mut self) {
        assert!(self.0.try_recv().is_err(), "there is an order");
    }

    /// Checks that no order comes for a long time.
    pub async fn stay_empty(&mut self) {
        assert!(timeout(LONG, self.0.recv()).await.is_err(), "another job was claimed");
    }
}

/// An order that the pipeline has not begun.
pub struct Waiting(Order);

impl Waiting {
    pub fn stop(&self) -> Option<Stop> {
        *self.0.stop.borrow()
    }

    /// Waits until the job must stop.
    pub async fn stopped(&mut self) -> Stop {
        timeout(LONG, self.0.stop.wait_for(Option::is_some)).await.unwrap().unwrap().unwrap()
    }

    pub fn begin(self) -> Begun {
        let Order { prepare, last_step, observer, stop, outbox, done, .. } = self.0;
        prepare().unwrap();
        Begun { last_step: Some(last_step), observer, stop, outbox, done }
    }

    /// Begins the job and its last step.
    pub fn begin_last_step(self) -> Begun {
        let mut begun = self.begin();
        begun.last_step();
        begun
    }
}

/// A job that the pipeline works on.
pub struct Begun {
    last_step: Option<Box<dyn FnOnce() + Send>>,
    observer: StepObserver,
    stop: watch::Receiver<Option<Stop>>,
    outbox: Arc<Outbox>,
    done: oneshot::Sender<Result<Made, PipelineError>>,
}

impl Begun {
    pub fn stop(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// A step is done; `step` counts from 1.
    pub fn step(&mut self, step: usize) {
        (self.observer)(StepProgress { step, steps: STEPS });
    }

    pub fn last_step(&mut self) {
        self.last_step.take().unwrap()();
    }

    pub fn preview(&self, step: u32) {
        self.outbox.put(RawPreview { step, steps: STEPS as u32, picture: grey(9) });
    }

    /// Returns the pictures.
    pub fn hand_over(self) {
        let (inference, decode) = (Duration::from_secs(1), Duration::from_secs(1));
        let made = Made {
            pictures: vec![grey(1), grey(2)],
            finished_at_step: None,
            inference,
            decode,
            warnings: Vec::new(),
        };
        self.done.send(Ok(made)).unwrap();
    }

    pub fn fail(self, error: PipelineError) {
        self.done.send(Err(error)).unwrap();
    }

    /// Drops the job, as the pipeline does with a stopped one.
    pub fn drop_stopped(self) {
        assert_ne!(self.stop(), None);
    }
}
