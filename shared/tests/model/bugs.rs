//! The transition, and what it would be with a bug in it: a command or an answer is bent on its way, so that the
//! rules themselves stay as they are.

use std::time::Duration;

use glimpse_shared::{
    event::{CancelledBy, Event, Frame},
    id::{JobId, Micros},
    job::Status,
    store::{
        Rules, Submit,
        transition::{self, Command, Effect, Fence, Outcome, State},
    },
};

/// What somebody could have forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    FenceWithoutStatus,
    FenceWithoutAttempt,
    FenceWithoutWorker,
    PublishWithoutSeq,
    ReapWithoutLook,
    FullBeforeDuplicate,
    EndNotFinal,
    WakeNotPassedOn,
    CancelForgottenByReap,
}

/// The store's state under the rules, or under rules with a bug.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    pub state: State,
    pub bug: Option<Bug>,
    /// How it was before a job ended: what those see who do not look at its status.
    running: Option<(JobId, State)>,
}

impl Store {
    pub fn new(bug: Option<Bug>) -> Self {
        Self { state: State::default(), bug, running: None }
    }

    pub fn apply(&mut self, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
        let command = self.bend(command);
        let mut time = now;
        match (self.bug, &command) {
            (Some(Bug::FenceWithoutStatus), command) => {
                if let Some(fence) = fence(command) {
                    self.revive(fence.id, |state, id| {
                        state.status(id).is_some_and(|job| job.attempt == fence.attempt)
                    });
                }
            }
            (Some(Bug::CancelForgottenByReap), Command::Reap(id, _)) => {
                let id = *id;
                self.revive(id, |_, _| true);
            }
            (Some(Bug::FullBeforeDuplicate), Command::Submit(job)) => {
                let waits =
                    |id: &JobId| self.state.status(*id).is_some_and(|job| job.status == Status::Queued);
                let waiting = self.state.due(Micros(u64::MAX)).iter().filter(|id| waits(id)).count() as u64;
                if waiting >= rules.queue_limit && job.app == crate::suite::app() {
                    return (Outcome::Submit(Submit::Full { waiting, pace: None }), Vec::new());
                }
            }
            (Some(Bug::ReapWithoutLook), Command::Reap(id, _)) => {
                // As if the list that named the job were still true.
                while self.state.due(Micros(u64::MAX)).contains(id) && !self.state.due(time).contains(id) {
                    time = time.after(Duration::from_secs(1));
                }
            }
            _ => {}
        }
        let before = self.state.clone();
        let command = match command {
            Command::Reap(id, _) if time != now => Command::Reap(id, time),
            command => command,
        };
        let (outcome, mut effects) = transition::apply(&mut self.state, rules, command.clone(), time);
        self.remember(before);
        match (self.bug, command) {
            (Some(Bug::EndNotFinal), Command::Cancel(id, by)) => {
                if let Some(job) = self.state.status(id).filter(|_| effects.is_empty()) {
                    effects.push(Effect::Appended(id, cancelled(&job.seq.next(), by)));
                }
            }
            (Some(Bug::WakeNotPassedOn), Command::TryClaim(claim)) => {
                effects.retain(|effect| !matches!(effect, Effect::Woken(_)));
                transition::apply(&mut self.state, rules, Command::TakeWake(claim.app), now);
            }
            _ => {}
        }
        (outcome, effects)
    }

    fn bend(&self, mut command: Command) -> Command {
        let Some(job) = fence(&command).and_then(|fence| self.state.status(fence.id)) else { return command };
        let Some(holder) = job.worker.clone().filter(|_| job.status == Status::Running) else {
            return command;
        };
        if let (Some(Bug::PublishWithoutSeq), Command::Publish(_, frame, _)) = (self.bug, &mut command) {
            let json = String::from_utf8(frame.json().to_vec()).unwrap();
            *frame = Frame::from_json(job.seq.next(), frame.kind, &json);
        }
        if let Command::Renew(fence, _)
        | Command::Publish(fence, ..)
        | Command::Finish(fence, ..)
        | Command::Release(fence, _) = &mut command
        {
            match self.bug {
                Some(Bug::FenceWithoutAttempt) => fence.attempt = job.attempt,
                Some(Bug::FenceWithoutWorker) => fence.worker = holder,
                _ => {}
            }
        }
        command
    }

    /// Goes on from before the job ended.
    fn revive(&mut self, id: JobId, if_: impl Fn(&State, JobId) -> bool) {
        if let Some((_, state)) = self.running.take_if(|(of, state)| *of == id && if_(state, id)) {
            self.state = state;
        }
    }

    fn remember(&mut self, before: State) {
        if !matches!(self.bug, Some(Bug::FenceWithoutStatus | Bug::CancelForgottenByReap)) {
            return;
        }
        let status = |state: &State, id| state.status(id).map(|job| job.status);
        let ended = before.due(Micros(u64::MAX)).into_iter().find(|id| {
            let ends = match self.bug {
                Some(Bug::CancelForgottenByReap) => Status::Cancelled,
                _ => Status::Completed,
            };
            status(&before, *id) == Some(Status::Running) && status(&self.state, *id) == Some(ends)
        });
        if let Some(id) = ended {
            self.running = Some((id, before));
        }
    }
}

/// What a worker says it holds.
pub fn fence(command: &Command) -> Option<&Fence> {
    match command {
        Command::Renew(fence, _)
        | Command::Publish(fence, ..)
        | Command::Finish(fence, ..)
        | Command::Release(fence, _) => Some(fence),
        _ => None,
    }
}

fn cancelled(seq: &glimpse_shared::id::Seq, by: CancelledBy) -> Frame {
    Frame::new(*seq, &Event::Cancelled { by })
}
