//! Planted bugs: the transition with one broken rule, to test that a check finds it.
//!
//! Each bug wraps the transition's public function and changes its arguments or its result, so that the transition
//! needs no code for it. If the broken rule would change the state in a way that no command can, only the answer and
//! the event are changed.

use glimpse_shared::{
    event::Frame,
    id::{JobId, Micros},
    job::{Job, JobState, Release, Status},
    needs::Capabilities,
    store::{
        Cancel, Claim, Finish, Hold, Quota, Released, Rules, Submit,
        transition::{Command, Effect, Fence, Outcome, ReapOutcome, State, apply},
    },
    webhook::Report,
};

/// A transition.
pub type Apply = fn(&mut State, &Rules, Command, Micros) -> (Outcome, Vec<Effect>);

/// All bugs, by name.
pub const BUGS: [(&str, Apply); 23] = [
    ("a fence without the status", fence_without_status),
    ("a fence without the attempt", fence_without_attempt),
    ("a fence without the worker", fence_without_worker),
    ("a preview's number is not checked", unnumbered_preview),
    ("reap does not look again", hasty_reap),
    ("full before duplicate", full_before_duplicate),
    ("an end is not final", end_not_final),
    ("a wake-up is not passed on", wake_kept),
    ("reap forgets the cancel", reap_forgets_cancel),
    ("a give-back is lost", give_back_lost),
    ("a fault is taken for a drain", fault_as_drain),
    ("a write of an old attempt is accepted", old_attempt_accepted),
    ("what a job needs is not looked at", needs_not_looked_at),
    ("the first job hides the others", first_hides_others),
    ("one kind of workers is woken", one_kind_woken),
    ("a wake-up goes with its worker", wake_goes),
    ("a claim that finds nothing wakes the next", nothing_wakes_next),
    ("the end of a job forgets its webhook", webhook_forgotten),
    ("two call one webhook", called_by_two),
    ("the report of an old try counts", old_try_counts),
    ("a quota is not looked at", quota_not_looked_at),
    ("the next worker is not told to finish early", finish_not_passed_on),
    ("a holder is not told to finish early", finish_not_told),
];

fn fence(command: &mut Command) -> Option<&mut Fence> {
    match command {
        Command::Renew(fence, _)
        | Command::Publish(fence, ..)
        | Command::Finish(fence, ..)
        | Command::Release(fence, _) => Some(fence),
        _ => None,
    }
}

fn job_of(state: &State, command: &mut Command) -> Option<JobState> {
    state.status(fence(command)?.id)
}

fn fence_without_status(
    state: &mut State,
    rules: &Rules,
    mut command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    let at_rest = |job: &JobState| !matches!(job.status, Status::Running | Status::Cancelled);
    let Some(job) = job_of(state, &mut command).filter(at_rest) else {
        return apply(state, rules, command, now);
    };
    let passes = fence(&mut command).is_some_and(|fence| {
        fence.attempt == job.attempt && job.worker.as_ref().is_none_or(|worker| *worker == fence.worker)
    });
    match command {
        Command::Renew(..) if passes => (Outcome::Renew(Hold::Held), Vec::new()),
        Command::Publish(fence, frame, ..) if passes && frame.seq == job.seq.next() => {
            (Outcome::Publish(Hold::Held, frame.seq), vec![Effect::Appended(fence.id, frame)])
        }
        Command::Finish(fence, frame, _) if passes && frame.seq == job.seq.next() => {
            (Outcome::Finish(Finish::Finished), vec![Effect::Appended(fence.id, frame)])
        }
        Command::Release(..) if passes => (Outcome::Release(Released::Released), Vec::new()),
        command => apply(state, rules, command, now),
    }
}

fn fence_without_attempt(
    state: &mut State,
    rules: &Rules,
    mut command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    if let Some(job) = job_of(state, &mut command)
        && let Some(fence) = fence(&mut command)
    {
        fence.attempt = job.attempt;
    }
    apply(state, rules, command, now)
}

fn fence_without_worker(
    state: &mut State,
    rules: &Rules,
    mut command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    if let Some(worker) = job_of(state, &mut command).and_then(|job| job.worker)
        && let Some(fence) = fence(&mut command)
    {
        fence.worker = worker;
    }
    apply(state, rules, command, now)
}

fn old_attempt_accepted(
    state: &mut State,
    rules: &Rules,
    mut command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    if let Some(job) = job_of(state, &mut command)
        && let (Some(fence), Some(worker)) = (fence(&mut command), job.worker)
    {
        (fence.attempt, fence.worker) = (job.attempt, worker);
    }
    apply(state, rules, command, now)
}

fn unnumbered_preview(
    state: &mut State,
    rules: &Rules,
    mut command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    if let (Some(job), Command::Publish(_, frame, ..)) = (job_of(state, &mut command), &mut command) {
        let json = String::from_utf8(frame.json().to_vec()).unwrap();
        *frame = Frame::from_json(job.seq.next(), frame.kind, &json);
    }
    apply(state, rules, command, now)
}

/// It uses the time at which the due jobs were listed.
fn hasty_reap(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    match command {
        Command::Reap(id, _) if state.status(id).is_some_and(|job| job.status == Status::Running) => {
            let due = now.max(due_at(state, id));
            apply(state, rules, Command::Reap(id, due), due)
        }
        command => apply(state, rules, command, now),
    }
}

/// When reap must check an unfinished job.
fn due_at(state: &State, id: JobId) -> Micros {
    let (mut before, mut due) = (0, u64::MAX);
    while before < due {
        let middle = before + (due - before) / 2;
        if state.due(Micros(middle)).contains(&id) { due = middle } else { before = middle + 1 }
    }
    Micros(due)
}

fn full_before_duplicate(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    if let Command::Submit(job, quota) = &command {
        let another = Job { id: job.id.retried(), ..(**job).clone() };
        let answer = apply(&mut state.clone(), rules, Command::Submit(Box::new(another), *quota), now);
        if matches!(answer.0, Outcome::Submit(Submit::Full { .. })) {
            return answer;
        }
    }
    apply(state, rules, command, now)
}

fn end_not_final(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    match &command {
        Command::Cancel(id, _) if state.status(*id).is_some_and(|job| job.status == Status::Completed) => {
            begin_again(state, rules, *id, now);
            let (_, effects) = apply(state, rules, command, now);
            (Outcome::Cancel(Cancel::Cancelled), effects)
        }
        _ => apply(state, rules, command, now),
    }
}

fn reap_forgets_cancel(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    match &command {
        Command::Reap(id, _) if state.status(*id).is_some_and(|job| job.status == Status::Cancelled) => {
            let effects = begin_again(state, rules, *id, now);
            (Outcome::Reap(ReapOutcome::GivenBack), effects)
        }
        _ => apply(state, rules, command, now),
    }
}

/// Requeues an ended job.
fn begin_again(state: &mut State, rules: &Rules, id: JobId, now: Micros) -> Vec<Effect> {
    let Some(ended) = state.job(id).cloned() else { return Vec::new() };
    apply(state, rules, Command::Forget(id), now);
    apply(state, rules, Command::Submit(Box::new(ended), Quota::default()), now).1
}

/// A tenant gets more places than it may have.
fn quota_not_looked_at(
    state: &mut State,
    rules: &Rules,
    mut command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    if let Command::Submit(_, quota) = &mut command {
        *quota = Quota::default();
    }
    apply(state, rules, command, now)
}

fn wake_kept(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    let claims = matches!(command, Command::TryClaim(_));
    let (outcome, mut effects) = apply(state, rules, command, now);
    let woken = effects.iter().find_map(|effect| match effect {
        Effect::Woken(app, Some(capabilities)) if claims => Some((app.clone(), capabilities.clone())),
        _ => None,
    });
    if let Some((app, capabilities)) = woken {
        apply(state, rules, Command::TakeWake(app, capabilities), now);
        effects.retain(|effect| !matches!(effect, Effect::Woken(..)));
    }
    (outcome, effects)
}

/// A worker gets a job that it is not capable of.
fn needs_not_looked_at(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    let Command::TryClaim(claim) = &command else { return apply(state, rules, command, now) };
    let answer = apply(state, rules, command.clone(), now);
    if answer.0 != Outcome::Claim(None) {
        return answer;
    }
    let unfinished = state.due(Micros(u64::MAX));
    let needs: Vec<_> = unfinished.iter().filter_map(|id| Some(&state.job(*id)?.needs)).collect();
    let pixels = needs.iter().map(|needs| needs.pixels()).max().unwrap_or(0);
    let words: Vec<_> = needs.iter().flat_map(|needs| needs.words()).cloned().collect();
    let anything = Claim { capabilities: Capabilities::new(pixels, words), ..claim.clone() };
    apply(state, rules, Command::TryClaim(anything), now)
}

fn first_hides_others(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    if let Command::TryClaim(claim) = &command {
        let unfinished = state.due(Micros(u64::MAX));
        let jobs = unfinished.iter().filter_map(|id| state.status(*id));
        let mut firsts = jobs.filter(|job| job.app == claim.app && job.position == Some(0));
        if firsts.any(|first| !first.needs.met_by(&claim.capabilities)) {
            return (Outcome::Claim(None), Vec::new());
        }
    }
    apply(state, rules, command, now)
}

fn one_kind_woken(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    let (outcome, mut effects) = apply(state, rules, command, now);
    let mut woken = 0;
    effects.retain(|effect| match effect {
        Effect::Woken(app, Some(capabilities)) => {
            woken += 1;
            if woken > 1 {
                apply(state, rules, Command::TakeWake(app.clone(), capabilities.clone()), now);
            }
            woken == 1
        }
        _ => true,
    });
    (outcome, effects)
}

fn wake_goes(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    match command {
        Command::Wake(..) => (Outcome::Done, Vec::new()),
        command => apply(state, rules, command, now),
    }
}

fn nothing_wakes_next(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    let claim = match &command {
        Command::TryClaim(claim) => Some((claim.app.clone(), claim.capabilities.clone())),
        _ => None,
    };
    let (outcome, mut effects) = apply(state, rules, command, now);
    if let Some((app, capabilities)) = claim.filter(|_| outcome == Outcome::Claim(None)) {
        effects.extend(apply(state, rules, Command::Wake(app, capabilities), now).1);
    }
    (outcome, effects)
}

/// The worker gets the answer that the job is requeued, but it is not.
fn give_back_lost(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    let held = matches!(command, Command::Release(..))
        && matches!(
            apply(&mut state.clone(), rules, command.clone(), now).0,
            Outcome::Release(Released::Released)
        );
    if held { (Outcome::Release(Released::Released), Vec::new()) } else { apply(state, rules, command, now) }
}

/// The request to finish early is lost with the attempt.
fn finish_not_passed_on(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    let (mut outcome, effects) = apply(state, rules, command, now);
    if let Outcome::Claim(Some(lease)) = &mut outcome {
        lease.finish_early = None;
    }
    (outcome, effects)
}

/// A worker that did not get the message never hears of it.
fn finish_not_told(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    match apply(state, rules, command, now) {
        (Outcome::Renew(Hold::FinishEarly(_)), effects) => (Outcome::Renew(Hold::Held), effects),
        answer => answer,
    }
}

fn fault_as_drain(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    let command = match command {
        Command::Release(fence, Release::Fault(_)) => Command::Release(fence, Release::Drain),
        command => command,
    };
    apply(state, rules, command, now)
}

/// A worker ends its job, and nobody calls the webhook.
fn webhook_forgotten(
    state: &mut State,
    rules: &Rules,
    command: Command,
    now: Micros,
) -> (Outcome, Vec<Effect>) {
    let ends = match &command {
        Command::Finish(fence, ..) | Command::Release(fence, _) => Some(fence.id),
        _ => None,
    };
    let answer = apply(state, rules, command, now);
    if let Some(id) = ends.filter(|id| state.delivery(*id).is_some()) {
        apply(state, rules, Command::SettleDelivery(id, 0, Report::Acknowledged), now);
    }
    answer
}

/// The lease of a delivery is not looked at.
fn called_by_two(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    let answer = apply(state, rules, command.clone(), now);
    match answer.0 {
        Outcome::Delivery(None) => apply(state, rules, command, now.after(rules.webhook_lease)),
        _ => answer,
    }
}

/// A process that was frozen reports a failure, and a try of another process is cut short.
fn old_try_counts(state: &mut State, rules: &Rules, command: Command, now: Micros) -> (Outcome, Vec<Effect>) {
    match command {
        Command::SettleDelivery(id, number, report) => {
            let newest = state.delivery(id).map_or(number, |(_, tries)| tries);
            apply(state, rules, Command::SettleDelivery(id, newest, report), now)
        }
        command => apply(state, rules, command, now),
    }
}
