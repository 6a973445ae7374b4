//! The store in one process: the transition behind a lock, with a clock and channels.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::{Notify, broadcast, mpsc, watch};

use super::{
    Cancel, Checkpoint, Claim, Clock, Ending, Finish, FinishEarly, Hold, Lease, ListedJob, Listing, Preview,
    Quota, Reaped, Released, Retry, Rules, Shown, Store, Submit, Waiting,
    rules::{CANCELLATIONS_KEPT, WAKE_UP_WAIT},
    transition::{self, Command, Effect, Fence, Outcome, ReapOutcome, State},
};
use crate::{
    error::{StoreError, StoreResult},
    event::{CancelledBy, Followed, Frame},
    id::{App, JobId, KeySecret, Micros, Partition, Seq},
    job::{DeadJob, Job, JobState, Release, SeenWorker, WorkerRecord},
    metrics::Jobs,
    needs::Capabilities,
    webhook::{Delivery, Report, Settled},
};

/// The function that applies a command: [`transition::apply`], or a test's wrapper that observes or breaks it.
pub type Apply = dyn Fn(&mut State, &Rules, Command, Micros) -> (Outcome, Vec<Effect>) + Send + Sync;

/// The store in memory.
pub struct MemoryStore {
    rules: Rules,
    clock: Clock,
    apply: Box<Apply>,
    inner: Arc<Mutex<Inner>>,
    cancellations: broadcast::Sender<(App, JobId)>,
    early_finishes: broadcast::Sender<(App, (JobId, u32))>,
    key_secret: KeySecret,
    webhook_seed: KeySecret,
    /// Counts the jobs that end.
    ended: Jobs,
}

#[derive(Default)]
struct Inner {
    state: State,
    /// The newest seq of each followed job. The last follower of a job removes its entry.
    followed: HashMap<JobId, watch::Sender<Seq>>,
    woken: HashMap<App, Arc<Notify>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(rules: Rules, clock: Clock) -> Self {
        Self::with(rules, clock, Box::new(transition::apply))
    }

    /// An empty store whose commands are applied by `apply`.
    pub fn with(rules: Rules, clock: Clock, apply: Box<Apply>) -> Self {
        let (cancellations, _) = broadcast::channel(CANCELLATIONS_KEPT);
        let (early_finishes, _) = broadcast::channel(CANCELLATIONS_KEPT);
        let [key_secret, webhook_seed] = [(); 2].map(|()| KeySecret::random());
        let ended = Jobs::default();
        let inner = Arc::default();
        Self { rules, clock, apply, inner, cancellations, early_finishes, key_secret, webhook_seed, ended }
    }

    /// The same store, which counts the jobs that end there.
    pub fn counting(self, ended: Jobs) -> Self {
        Self { ended, ..self }
    }

    fn time(&self) -> Micros {
        self.clock.fixed().unwrap_or_else(Micros::system)
    }

    fn apply(&self, command: Command) -> Outcome {
        let mut inner = lock(&self.inner);
        let (outcome, effects) = (self.apply)(&mut inner.state, &self.rules, command, self.time());
        for effect in effects {
            match effect {
                Effect::Appended(id, frame) => {
                    if frame.kind.is_terminal()
                        && let Some(job) = inner.state.status(id)
                    {
                        self.ended.ended(&job.app, job.status);
                    }
                    if let Some(sender) = inner.followed.get(&id) {
                        sender.send_replace(frame.seq);
                    }
                }
                // Each worker then checks for a token of its kind.
                Effect::Woken(app, _) => inner.woken.entry(app).or_default().notify_waiters(),
                Effect::Forgotten(id) => drop(inner.followed.remove(&id)),
                // Without a listener there is no worker that holds the job.
                Effect::CancelledRunning(app, id) => drop(self.cancellations.send((app, id))),
                Effect::FinishEarly(app, id, at) => drop(self.early_finishes.send((app, (id, at)))),
            }
        }
        outcome
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    // A panic in the transition is a bug, but other threads can still use the state.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(outcome: Outcome) -> StoreError {
    StoreError::Corrupt(format!("unexpected outcome {outcome:?}"))
}

#[async_trait]
impl Store for MemoryStore {
    async fn submit_within(&self, job: &Job, quota: Quota) -> StoreResult<Submit> {
        match self.apply(Command::Submit(Box::new(job.clone()), quota)) {
            Outcome::Submit(submit) => Ok(submit),
            other => Err(unexpected(other)),
        }
    }

    async fn try_claim(&self, claim: &Claim) -> StoreResult<Option<Lease>> {
        match self.apply(Command::TryClaim(claim.clone())) {
            Outcome::Claim(lease) => Ok(lease.map(|lease| *lease)),
            other => Err(unexpected(other)),
        }
    }

    async fn wait_for_work(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        let notify = lock(&self.inner).woken.entry(app.clone()).or_default().clone();
        let wait = async {
            loop {
                let woken = notify.notified();
                tokio::pin!(woken);
                // Enabled before the check, so that a token in between is not missed.
                woken.as_mut().enable();
                let take = Command::TakeWake(app.clone(), capabilities.clone());
                if matches!(self.apply(take), Outcome::Woken(true)) {
                    return;
                }
                woken.await;
            }
        };
        // A timeout is the normal case of an idle worker.
        let _ = tokio::time::timeout(WAKE_UP_WAIT, wait).await;
        Ok(())
    }

    async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        self.apply(Command::Wake(app.clone(), capabilities.clone()));
        Ok(())
    }

    async fn renew(&self, lease: &Lease, checkpoint: Option<&Checkpoint>) -> StoreResult<Hold> {
        match self.apply(Command::Renew(Fence::from(lease), checkpoint.cloned())) {
            Outcome::Renew(hold) => Ok(hold),
            other => Err(unexpected(other)),
        }
    }

    async fn publish(&self, lease: &mut Lease, preview: &Preview) -> StoreResult<Hold> {
        loop {
            let frame = preview.frame(lease.seq.next());
            let publish = Command::Publish(Fence::from(&*lease), frame, preview.step, preview.partial);
            match self.apply(publish) {
                Outcome::Publish(hold, seq) => {
                    if hold.is_held() {
                        lease.seq = seq;
                    }
                    return Ok(hold);
                }
                Outcome::Renumber(next) => lease.seq = Seq(next.0 - 1),
                other => return Err(unexpected(other)),
            }
        }
    }

    async fn finish(&self, lease: &mut Lease, ending: &Ending) -> StoreResult<Finish> {
        loop {
            let frame = ending.frame(lease.seq.next());
            match self.apply(Command::Finish(Fence::from(&*lease), frame, ending.status())) {
                Outcome::Finish(finish) => return Ok(finish),
                Outcome::Renumber(next) => lease.seq = Seq(next.0 - 1),
                other => return Err(unexpected(other)),
            }
        }
    }

    async fn release(&self, lease: &Lease, release: &Release) -> StoreResult<Released> {
        match self.apply(Command::Release(Fence::from(lease), release.clone())) {
            Outcome::Release(released) => Ok(released),
            other => Err(unexpected(other)),
        }
    }

    async fn cancel(&self, id: JobId, by: CancelledBy) -> StoreResult<Cancel> {
        match self.apply(Command::Cancel(id, by)) {
            Outcome::Cancel(cancel) => Ok(cancel),
            other => Err(unexpected(other)),
        }
    }

    async fn finish_early(&self, id: JobId) -> StoreResult<FinishEarly> {
        match self.apply(Command::FinishEarly(id)) {
            Outcome::FinishEarly(asked) => Ok(asked),
            other => Err(unexpected(other)),
        }
    }

    async fn dead(&self, app: Option<&App>) -> StoreResult<Vec<DeadJob>> {
        Ok(lock(&self.inner).state.dead(app, &self.rules))
    }

    async fn retry(&self, id: JobId) -> StoreResult<Retry> {
        match self.apply(Command::Retry(id)) {
            Outcome::Retry(retry) => Ok(retry),
            other => Err(unexpected(other)),
        }
    }

    async fn reap(&self, seen: Micros) -> StoreResult<Reaped> {
        let now = self.time();
        let (due, expired) = {
            let inner = lock(&self.inner);
            (inner.state.due(now), inner.state.expired(now))
        };
        let mut reaped = Reaped::default();
        for id in due {
            match self.apply(Command::Reap(id, seen)) {
                Outcome::Reap(ReapOutcome::Ended) => reaped.ended.push(id),
                Outcome::Reap(ReapOutcome::GivenBack) => reaped.given_back.push(id),
                Outcome::Reap(ReapOutcome::Nothing) => {}
                other => return Err(unexpected(other)),
            }
        }
        for id in expired {
            self.apply(Command::Forget(id));
        }
        reaped.now = self.time();
        Ok(reaped)
    }

    async fn now(&self) -> StoreResult<Micros> {
        Ok(self.time())
    }

    async fn heartbeat(&self, worker: &WorkerRecord) -> StoreResult<()> {
        self.apply(Command::Heartbeat(worker.clone()));
        Ok(())
    }

    async fn workers(&self) -> StoreResult<Vec<SeenWorker>> {
        Ok(lock(&self.inner).state.workers(&self.rules, self.time()))
    }

    async fn key_secret(&self) -> StoreResult<KeySecret> {
        Ok(self.key_secret.clone())
    }

    async fn webhook_seed(&self) -> StoreResult<KeySecret> {
        Ok(self.webhook_seed.clone())
    }

    async fn take_deliveries(&self) -> StoreResult<Vec<Delivery>> {
        let mut taken = Vec::new();
        for partition in Partition::all() {
            match self.apply(Command::TakeDelivery(partition)) {
                Outcome::Delivery(delivery) => taken.extend(delivery.map(|delivery| *delivery)),
                other => return Err(unexpected(other)),
            }
        }
        Ok(taken)
    }

    async fn settle_delivery(&self, id: JobId, number: u32, report: Report) -> StoreResult<Settled> {
        match self.apply(Command::SettleDelivery(id, number, report)) {
            Outcome::Settled(settled) => Ok(settled),
            other => Err(unexpected(other)),
        }
    }

    async fn status(&self, id: JobId) -> StoreResult<Option<JobState>> {
        Ok(lock(&self.inner).state.status(id))
    }

    async fn tenant_of(&self, id: JobId) -> StoreResult<Option<String>> {
        Ok(lock(&self.inner).state.job(id).map(|job| job.tenant.clone()))
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        Ok(lock(&self.inner).state.job(id).cloned())
    }

    async fn status_with(&self, id: JobId, shown: Shown) -> StoreResult<Option<(JobState, Option<Frame>)>> {
        let inner = lock(&self.inner);
        Ok(inner.state.status(id).map(|mut state| {
            let wanted = shown == Shown::Newest || state.status.is_terminal();
            if shown == Shown::End && wanted {
                state.prompt = inner.state.job(id).map(|job| job.spec.prompt().to_owned());
            }
            let event = inner.state.newest(id).filter(|_| wanted).cloned();
            (state, event)
        }))
    }

    async fn jobs(&self, listing: &Listing) -> StoreResult<Option<Vec<ListedJob>>> {
        Ok(lock(&self.inner).state.listed(listing))
    }

    async fn positions(&self, app: &App, ids: &[JobId]) -> StoreResult<Vec<Option<u64>>> {
        Ok(lock(&self.inner).state.positions(app, ids))
    }

    async fn waiting(&self, app: &App) -> StoreResult<Waiting> {
        Ok(lock(&self.inner).state.waiting(app, self.time()))
    }

    fn follow(&self, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        let (events, receiver) = mpsc::channel(1);
        let inner = self.inner.clone();
        tokio::spawn(async move {
            // The follower was dropped.
            let _ = follow(&inner, id, after, &events).await;
            let mut inner = lock(&inner);
            if inner.followed.get(&id).is_some_and(|sender| sender.receiver_count() == 0) {
                inner.followed.remove(&id);
            }
        });
        futures::stream::unfold(receiver, |mut receiver| async {
            let event = receiver.recv().await?;
            Some((event, receiver))
        })
        .boxed()
    }

    fn cancellations(&self, app: &App) -> BoxStream<'static, JobId> {
        of_app(&self.cancellations, app)
    }

    fn early_finishes(&self, app: &App) -> BoxStream<'static, (JobId, u32)> {
        of_app(&self.early_finishes, app)
    }

    async fn forget(&self, id: JobId) -> StoreResult<()> {
        self.apply(Command::Forget(id));
        Ok(())
    }
}

/// What is told to the workers of an app.
fn of_app<T: Clone + Send + 'static>(told: &broadcast::Sender<(App, T)>, app: &App) -> BoxStream<'static, T> {
    futures::stream::unfold((told.subscribe(), app.clone()), |(mut receiver, app)| async {
        loop {
            match receiver.recv().await {
                Ok((of, told)) if of == app => return Some((told, (receiver, app))),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
    .boxed()
}

/// Sends a job's events until its end, or until the receiver is dropped.
async fn follow(
    inner: &Mutex<Inner>,
    id: JobId,
    after: Option<Seq>,
    events: &mpsc::Sender<Followed>,
) -> Result<(), mpsc::error::SendError<Followed>> {
    let mut cursor = after;
    loop {
        let Some((news, mut changes)) = read(inner, id, cursor) else {
            return events.send(Followed::Lost).await;
        };
        if cursor > Some(news.newest) {
            cursor = Some(news.newest);
            events.send(Followed::Gap).await?;
        }
        for frame in news.frames {
            cursor = Some(frame.seq);
            let terminal = frame.kind.is_terminal();
            events.send(Followed::Frame(frame)).await?;
            if terminal {
                return Ok(());
            }
        }
        tokio::select! {
            biased;
            // An error means that the job was deleted; the next iteration detects it.
            _ = changes.changed() => {}
            () = events.closed() => return Ok(()),
        }
    }
}

struct LogRead {
    newest: Seq,
    frames: Vec<Frame>,
}

/// The events of a job's log after `cursor` (a terminal event with any seq), and a watch on its newest seq. Both are
/// read under one lock.
fn read(inner: &Mutex<Inner>, id: JobId, cursor: Option<Seq>) -> Option<(LogRead, watch::Receiver<Seq>)> {
    let mut inner = lock(inner);
    let mut frames = inner.state.log_after(id, cursor)?;
    let state = inner.state.status(id)?;
    if frames.is_empty() && state.status.is_terminal() {
        frames.extend(inner.state.newest(id).cloned());
    }
    let changes = inner.followed.entry(id).or_insert_with(|| watch::channel(state.seq).0).subscribe();
    Some((LogRead { newest: state.seq, frames }, changes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_follower_of_a_job_removes_its_entry() {
        let app: App = "glimpse/demo".parse().unwrap();
        let spec = json!({
            "prompt": "x", "negative_prompt": "", "num_inference_steps": 20, "width": 64, "height": 64,
            "guidance_scale": 5.0, "seed": 7, "num_images": 1, "preview_every": 5,
            "preview_source": "latents", "output_format": "jpeg",
        });
        let job: Job = serde_json::from_value(json!({
            "id": JobId::new(&app), "app": app, "tenant": "anonymous", "class": "normal", "spec": spec,
            "digest": "0", "start_timeout": Duration::from_secs(60), "run_timeout": Duration::from_secs(60),
        }))
        .unwrap();
        let store = MemoryStore::new(Rules::default(), Clock::Store);
        store.submit(&job).await.unwrap();
        let followed = || lock(&store.inner).followed.len();
        let mut streams: Vec<_> = (0..3).map(|_| store.follow(job.id, None)).collect();
        for stream in &mut streams {
            assert!(stream.next().await.is_some());
        }
        // No store call happens here: the dropped streams remove the entry.
        for left in [1, 1, 0] {
            streams.pop();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(followed(), left);
        }
    }
}
