//! Tests of the oracle: a good history breaks no rule, and for each rule there is a history that breaks it.

use std::time::Duration;

use crate::{
    hooks::{Call, Hook},
    oracle::judge,
    rules::Rule,
    story::{Audit, Fate, Follow, Heard, Seen, Story, What, World},
};

const EXHAUSTED: What = What::Failed("attempts_exhausted");

fn seen(seq: u64, what: What) -> Seen {
    Seen { seq, what }
}

fn started(seq: u64, attempt: u32, worker: &str) -> Seen {
    seen(seq, What::Started { attempt, worker: worker.to_owned() })
}

fn preview(seq: u64, attempt: u32, step: u32) -> Seen {
    seen(seq, What::Preview { attempt, step })
}

/// A follower that stayed connected, over one connection.
fn heard(events: &[Seen]) -> Follow {
    Follow { heard: events.iter().cloned().map(Heard::Event).collect(), stayed: true }
}

/// A job that lost its first worker, `a`, to a fault, and was completed by `b`.
fn story() -> Story {
    let watched = vec![
        seen(1, What::Queued),
        started(2, 1, "a"),
        preview(3, 1, 0),
        seen(4, What::Queued),
        started(5, 2, "b"),
        preview(6, 2, 0),
        seen(7, What::Completed(99)),
    ];
    Story {
        fate: Fate::Innocent,
        request: Some("a heart".to_owned()),
        follows: vec![heard(&watched)],
        cancel_answers: Vec::new(),
        finish_answers: Vec::new(),
        audit: Some(ended(watched[6].clone())),
        watched,
    }
}

fn ended(end: Seen) -> Audit {
    let status = end.status().map(str::to_owned);
    Audit { status, log: vec![end.clone()], late: vec![end] }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn call(at: u64, acknowledged: bool) -> Call {
    Call { at: seconds(at), ids: [(); 2].map(|()| "good".to_owned()), body: b"{}".to_vec(), acknowledged }
}

/// A webhook that was refused once.
fn hook() -> Hook {
    Hook { id: "good".to_owned(), calls: vec![call(10, false), call(15, true)] }
}

/// A job that ends with `attempts_exhausted`.
fn poison() -> Story {
    let mut watched = vec![seen(1, What::Queued)];
    for attempt in 1..=3 {
        let last = watched.len() as u64;
        watched.push(started(last + 1, attempt, "c"));
        watched.push(seen(last + 2, if attempt < 3 { What::Queued } else { EXHAUSTED }));
    }
    let audit = Some(ended(watched.last().unwrap().clone()));
    Story { fate: Fate::Poison, follows: vec![heard(&watched)], audit, watched, ..Story::default() }
}

fn world() -> World {
    let mut world = World::default();
    world.stories.insert("good".to_owned(), story());
    world.stories.insert("poison".to_owned(), poison());
    world.struck.insert("a".to_owned());
    world.dead.insert("poison".to_owned());
    world.hooks.insert("/1".to_owned(), hook());
    world.disturbed.push((seconds(50), seconds(60)));
    world.fresh.insert("glimpse/demo".to_owned(), "completed".to_owned());
    world
}

/// The rules that are broken after `change`.
fn broken(change: impl FnOnce(&mut World)) -> Vec<Rule> {
    let mut world = world();
    change(&mut world);
    let mut rules: Vec<_> = judge(&world).into_iter().map(|breach| breach.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// The same for a change to the good story.
fn broken_by(change: impl FnOnce(&mut Story)) -> Vec<Rule> {
    broken(|world| change(world.stories.get_mut("good").unwrap()))
}

#[test]
fn a_good_history_breaks_no_rule() {
    assert_eq!(broken(|_| {}), []);
    // A late follower receives only the end; one that returns resumes; a slow one receives a gap.
    let part = |story: &Story, kept: &[usize]| {
        heard(&kept.iter().map(|n| story.watched[*n].clone()).collect::<Vec<_>>())
    };
    assert_eq!(broken_by(|story| story.follows.push(part(story, &[6]))), []);
    assert_eq!(broken_by(|story| story.follows[0].heard.insert(3, Heard::Again)), []);
    assert_eq!(
        broken_by(|story| {
            story.follows[0] = part(story, &[0, 1, 6]);
            story.follows[0].heard.insert(2, Heard::Gap);
        }),
        []
    );
    // A client that left need not have received the end.
    assert_eq!(broken_by(|story| story.follows = vec![Follow { stayed: false, heard: Vec::new() }]), []);
}

#[test]
fn a_job_ends_once_and_every_follower_gets_the_end() {
    let lost = broken_by(|story| {
        story.watched.pop();
        story.follows[0].heard.pop();
        story.audit = Some(Audit { status: Some("running".to_owned()), ..Audit::default() });
    });
    assert_eq!(lost, [Rule::Ends, Rule::EndDelivered]);
    assert_eq!(broken_by(|story| story.audit = None), [Rule::Ends]);
    assert_eq!(broken_by(|story| story.watched.push(seen(8, What::Cancelled("client")))), [Rule::EndsOnce]);
    let other = |story: &mut Story| story.audit.as_mut().unwrap().status = Some("failed".to_owned());
    assert_eq!(broken_by(other), [Rule::EndsOnce]);
    let follower =
        |story: &mut Story| *story.follows[0].heard.last_mut().unwrap() = Heard::Event(seen(7, EXHAUSTED));
    assert_eq!(broken_by(follower), [Rule::EndsOnce]);
    let log = |story: &mut Story| story.audit.as_mut().unwrap().log.insert(0, seen(1, What::Queued));
    assert_eq!(broken_by(log), [Rule::LogIsTheEnd, Rule::EndDelivered]);
    assert_eq!(broken_by(|story| story.cancel_answers.push("cancelled".to_owned())), [Rule::CancelKept]);
}

#[test]
fn a_follower_misses_nothing_and_receives_nothing_twice() {
    assert_eq!(broken_by(|story| drop(story.follows[0].heard.pop())), [Rule::EndDelivered]);
    let twice = |story: &mut Story| {
        let end = story.follows[0].heard.last().unwrap().clone();
        story.follows[0].heard.extend([Heard::Again, end]);
    };
    assert_eq!(broken_by(twice), [Rule::EndDeliveredOnce, Rule::IdsRise]);
    assert_eq!(
        broken_by(|story| story.follows[0].heard.push(Heard::Event(preview(8, 2, 1)))),
        [Rule::EndDeliveredOnce]
    );
    let back = |story: &mut Story| story.follows[0].heard.insert(4, Heard::Event(seen(1, What::Queued)));
    assert!(broken_by(back).contains(&Rule::IdsRise));
    // Not even after a gap: no writes were lost.
    let gap = |story: &mut Story| {
        let again = Heard::Event(seen(1, What::Queued));
        drop(story.follows[0].heard.splice(4..4, [Heard::Gap, again]));
    };
    assert!(broken_by(gap).contains(&Rule::IdsRise));
    assert_eq!(broken_by(|story| drop(story.follows[0].heard.remove(1))), [Rule::NoHoles]);
    assert_eq!(broken_by(|story| drop(story.follows[0].heard.remove(0))), [Rule::NoHoles]);
}

#[test]
fn a_write_of_a_stale_worker_is_found() {
    let late = |story: &mut Story| story.watched[5] = preview(6, 1, 1);
    assert_eq!(broken_by(late), [Rule::Fenced]);
    let before_the_next = |story: &mut Story| {
        story.watched[2] = seen(3, What::Queued);
        story.watched[3] = preview(4, 1, 1);
    };
    assert_eq!(broken_by(before_the_next), [Rule::Fenced]);
    let to_a_follower = |story: &mut Story| story.follows[0].heard[5] = Heard::Event(preview(6, 1, 1));
    assert_eq!(broken_by(to_a_follower), [Rule::Fenced]);
    let same_attempt = |story: &mut Story| story.watched[4] = started(5, 1, "b");
    assert!(broken_by(same_attempt).contains(&Rule::Fenced));
}

#[test]
fn the_log_has_every_event_once() {
    assert_eq!(broken_by(|story| drop(story.watched.remove(2))), [Rule::NoHoles]);
    assert_eq!(
        broken(|world| {
            world.blinks = 1;
            world.stories.get_mut("good").unwrap().watched.remove(2);
        }),
        []
    );
    let again = |story: &mut Story| {
        story.watched[5] = preview(6, 2, 0);
        story.watched[6] = preview(7, 2, 0);
        story.watched.push(seen(8, What::Completed(99)));
        story.audit = Some(ended(seen(8, What::Completed(99))));
        story.follows = vec![heard(&story.watched)];
    };
    assert_eq!(broken_by(again), [Rule::PreviewsOnce]);
}

#[test]
fn a_loss_has_a_cause_and_an_end_is_deserved() {
    assert_eq!(broken(|world| world.struck.clear()), [Rule::NoLossWithoutCause]);
    let end = |what: What| {
        move |story: &mut Story| {
            story.watched[6] = seen(7, what.clone());
            story.follows = vec![heard(&story.watched)];
            story.audit = Some(ended(seen(7, what)));
        }
    };
    assert_eq!(broken_by(end(What::Cancelled("client"))), [Rule::Deserved]);
    assert_eq!(broken_by(end(What::Failed("job_lost"))), [Rule::Deserved]);
    assert_eq!(broken_by(end(What::Failed("run_timeout"))), [Rule::Deserved]);
    let unwanted = |story: &mut Story| {
        story.fate = Fate::Unwanted;
        end(What::Cancelled("disconnect"))(story);
    };
    assert_eq!(broken_by(unwanted), []);
    // `attempts_exhausted` after one lost attempt is wrong; after three it is right.
    assert!(broken_by(end(EXHAUSTED)).contains(&Rule::Deserved));
    let innocent = |world: &mut World| {
        world.stories.get_mut("poison").unwrap().fate = Fate::Innocent;
        world.struck.insert("c".to_owned());
    };
    assert_eq!(broken(innocent), []);
}

#[test]
fn a_job_finishes_early_only_if_a_client_asked() {
    let early = |answers: &[u16], pictures| {
        let (finish_answers, end) = (answers.to_vec(), seen(7, What::FinishedEarly { pictures, step: 0 }));
        let mut story = Story { finish_answers, ..story() };
        story.watched[6] = end.clone();
        (story.follows, story.audit) = (vec![heard(&story.watched)], Some(ended(end)));
        story
    };
    let with = |stories: Vec<Story>| {
        broken(|world| world.stories.extend((0..).map(|n: u32| n.to_string()).zip(stories)))
    };
    assert_eq!(with(vec![early(&[], 1)]), [Rule::Deserved]);
    assert_eq!(with(vec![early(&[409], 1)]), [Rule::Deserved]);
    // It has other pictures than the whole job, and the same as another one that ended there.
    assert_eq!(with(vec![early(&[202], 1), early(&[409, 200], 1)]), []);
    assert_eq!(with(vec![early(&[202], 1), early(&[202], 2)]), [Rule::SamePictures]);
}

#[test]
fn pictures_keys_and_the_dead_are_accounted_for() {
    let other = |world: &mut World| {
        let mut story = story();
        story.watched[6] = seen(7, What::Completed(100));
        story.follows.clear();
        story.audit = Some(ended(seen(7, What::Completed(100))));
        world.stories.insert("other".to_owned(), story);
    };
    assert_eq!(broken(other), [Rule::SamePictures]);
    let two = ["good".to_owned(), "other".to_owned()];
    assert_eq!(broken(|world| drop(world.keys.insert("key".to_owned(), two.clone().into()))), [Rule::OneJob]);
    assert_eq!(broken(|world| world.dead.clear()), [Rule::DeadListed]);
    assert_eq!(broken(|world| world.dead.extend(["good".to_owned()])), [Rule::DeadListed]);
    assert_eq!(broken(|world| world.dead.extend(["unheard-of".to_owned()])), [Rule::DeadListed]);
    let retried =
        |world: &mut World| drop(world.retried.insert("poison".to_owned(), ["good".to_owned()].into()));
    assert_eq!(broken(retried), [Rule::DeadListed], "it is still listed");
}

#[test]
fn the_store_and_the_processes_are_checked() {
    let found = || vec!["found".to_owned()];
    assert_eq!(broken(|world| world.left = found()), [Rule::NothingLeft]);
    assert_eq!(broken(|world| world.immortal = found()), [Rule::Mortal]);
    assert_eq!(broken(|world| world.broken = found()), [Rule::Sound]);
    let failed = |world: &mut World| drop(world.fresh.insert("glimpse/demo".to_owned(), "failed".to_owned()));
    assert_eq!(broken(failed), [Rule::Serves]);
}

#[test]
fn a_webhook_is_delivered_and_not_called_again_without_a_cause() {
    let broken_by = |change: fn(&mut Hook)| broken(|world| change(world.hooks.get_mut("/1").unwrap()));
    assert_eq!(broken_by(|hook| drop(hook.calls.pop())), [Rule::HookCalled]);
    assert_eq!(broken_by(|hook| hook.calls.clear()), [Rule::HookCalled]);
    assert_eq!(broken_by(|hook| hook.calls.push(call(45, true))), [Rule::HookCalledOnce]);
    // A fault between the acknowledgement and the next call may have lost the report: one call for one fault.
    assert_eq!(broken_by(|hook| hook.calls.push(call(55, true))), []);
    assert_eq!(broken_by(|hook| hook.calls.extend([call(55, true), call(85, true)])), [Rule::HookCalledOnce]);
    let after = |world: &mut World| {
        world.hooks.get_mut("/1").unwrap().calls = vec![call(61, true), call(91, true)];
    };
    assert_eq!(broken(after), [Rule::HookCalledOnce], "the fault was over before the acknowledgement");
    assert_eq!(broken_by(|hook| hook.calls[1].ids[0] = "other".to_owned()), [Rule::HookSame]);
    assert_eq!(broken_by(|hook| hook.calls[1].body = b"[]".to_vec()), [Rule::HookSame]);
}
