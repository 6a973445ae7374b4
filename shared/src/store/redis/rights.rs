//! Whether the user may do all that a process does, tried without doing any of it.
//!
//! The scripts' commands are tried in a script that may not write (lua/trial.lua), which is refused each of them after
//! its rights were looked at. What is sent besides scripts is sent, with unused names.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Cmd, Value, cmd};

use super::{
    backend::Backend,
    failure::{Failure, denies, is_about_rights},
    keys::PartitionKeys,
    obstacle::{Obstacle, forbidden, is_unknown, no_command},
    pool::Pooled,
    scripts::TRIAL,
};
use crate::{error::StoreError, id::Partition};

/// What a process does with the store: it needs the rights for that and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Submits jobs and follows them.
    Api,
    /// Claims jobs and makes them.
    Worker,
    /// Both in one.
    Both,
}

/// What a key or a channel is of; see [`keys`](super::keys).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Job,
    Log,
    Checkpoint,
    Queue,
    Wake,
    Looking,
    Pace,
    Due,
    Dead,
    Claim,
    Cancel,
    Workers,
    Swept,
    Secret,
    /// The command names none.
    Nothing,
}

/// A command of the scripts: what follows its key so that it is whole, and what an API and a worker use it on.
type Right = (&'static str, &'static [&'static str], &'static [Kind], &'static [Kind]);

const RIGHTS: &[Right] = {
    use Kind::{
        Cancel, Checkpoint, Claim, Dead, Due, Job, Log, Looking, Nothing, Pace, Queue, Secret, Swept, Wake,
        Workers,
    };
    &[
        ("DEL", &[], &[Job, Log, Checkpoint], &[Log, Checkpoint]),
        ("EXISTS", &[], &[Job], &[]),
        ("GET", &[], &[Pace, Looking, Secret], &[Pace, Claim, Checkpoint, Looking, Swept]),
        ("HDEL", &["f"], &[], &[Workers]),
        ("HGET", &["f"], &[Job], &[Job]),
        ("HGETALL", &[], &[], &[Workers]),
        ("HINCRBY", &["f", "1"], &[], &[Job]),
        ("HMGET", &["f"], &[Job], &[Job]),
        ("HSET", &["f", "v"], &[Job], &[Job, Workers]),
        ("HVALS", &[], &[Workers], &[]),
        ("LLEN", &[], &[Wake], &[Wake]),
        ("PEXPIRE", &["1"], &[Job, Log, Wake], &[Job, Log, Looking, Wake]),
        ("PTTL", &[], &[], &[Job]),
        ("RPUSH", &["v"], &[Wake], &[Wake]),
        ("SET", &["v"], &[Looking, Secret], &[Pace, Claim, Checkpoint, Looking, Swept]),
        ("SPUBLISH", &["m"], &[Log, Cancel], &[Log]),
        ("TIME", &[], &[Nothing], &[Nothing]),
        ("XADD", &["1-1", "f", "v"], &[Log], &[Log]),
        ("XDEL", &["1-1"], &[Log], &[Log]),
        ("XRANGE", &["-", "+"], &[Log], &[]),
        ("XREVRANGE", &["+", "-"], &[Log], &[]),
        ("ZADD", &["1", "m"], &[Queue, Due, Dead], &[Queue, Due, Dead, Looking]),
        ("ZCARD", &[], &[Queue], &[]),
        ("ZRANGE", &["0", "0"], &[Due, Dead, Looking], &[Due, Queue, Looking]),
        ("ZRANK", &["m"], &[Queue], &[Queue]),
        ("ZREM", &["m"], &[Queue, Due, Dead, Looking], &[Queue, Due, Looking]),
        ("ZREMRANGEBYRANK", &["0", "0"], &[Dead], &[Dead]),
        ("ZSCORE", &["m"], &[Dead], &[Looking]),
    ]
};

/// What the user may not do: commands, each with the first name that it was tried on.
#[derive(Default)]
struct Missing {
    rights: BTreeMap<(String, Kind), String>,
    commands: BTreeSet<String>,
}

impl Process {
    fn is_api(self) -> bool {
        self != Self::Worker
    }

    fn is_worker(self) -> bool {
        self != Self::Api
    }

    /// What it uses a command on.
    fn uses(self, (_, _, api, worker): &Right) -> BTreeSet<Kind> {
        let of = |used: &&'static [Kind], uses| if uses { *used } else { &[] };
        of(api, self.is_api()).iter().chain(of(worker, self.is_worker())).copied().collect()
    }
}

impl Backend {
    /// Tries all rights in all partitions.
    pub(super) async fn all_rights(&self, process: Process) -> Result<(), Obstacle> {
        self.rights(process, Partition::all()).await
    }

    /// Tries all rights where others may hold: of a cluster in all partitions, since each node has its own users; else
    /// in one.
    pub(super) async fn rights_on_each_node(&self, process: Process) -> Result<(), Obstacle> {
        let partitions = if self.nodes.is_cluster() { usize::MAX } else { 1 };
        self.rights(process, Partition::all().take(partitions)).await
    }

    async fn rights(
        &self,
        process: Process,
        partitions: impl Iterator<Item = Partition>,
    ) -> Result<(), Obstacle> {
        let mut missing = Missing::default();
        let tried = partitions.map(|partition| self.rights_in(process, partition));
        let workers = vec![self.keys.workers(), self.keys.swept()];
        let workers = self.try_scripts(process, workers, |kind| match kind {
            Kind::Workers => Some(self.keys.workers()),
            Kind::Swept => Some(self.keys.swept()),
            _ => None,
        });
        let secret = self.try_scripts(process, vec![self.keys.secret()], |kind| {
            (kind == Kind::Secret).then(|| self.keys.secret())
        });
        let (tried, workers, secret) = futures::join!(futures::future::join_all(tried), workers, secret);
        let mut passing = None;
        for found in tried.into_iter().chain([workers, secret]) {
            match found {
                Ok(found) => missing.add(found),
                Err(why) => passing = Some(why),
            }
        }
        missing.verdict()?;
        passing.map_or(Ok(()), |why| Err(Obstacle::Passing(why)))
    }

    async fn rights_in(&self, process: Process, partition: Partition) -> Result<Missing, String> {
        let keys = self.keys.of(partition);
        let all = [
            Kind::Job,
            Kind::Log,
            Kind::Checkpoint,
            Kind::Queue,
            Kind::Wake,
            Kind::Looking,
            Kind::Pace,
            Kind::Due,
            Kind::Dead,
            Kind::Claim,
        ];
        let names = all.iter().filter_map(|kind| name(&keys, *kind)).collect();
        let mut missing = self.try_scripts(process, names, |kind| name(&keys, kind)).await?;
        for (command, kind, words) in direct(process, &keys, self.rules.submit_replicas) {
            if let Err(failure) = self.nodes.query(&keys.due(), &words).await {
                missing.note(command, kind, &name(&keys, kind).unwrap_or_default(), failure)?;
            }
        }
        for (kind, channel) in listens(process, &keys) {
            self.try_listening(&keys.due(), kind, &channel, &mut missing).await?;
        }
        Ok(missing)
    }

    /// Subscribes and unsubscribes, on one connection.
    async fn try_listening(
        &self,
        key: &str,
        kind: Kind,
        channel: &str,
        missing: &mut Missing,
    ) -> Result<(), String> {
        let subscribed = self.nodes.query_through(key, cmd("SSUBSCRIBE").arg(channel)).await;
        let mut unsubscribe = cmd("SUNSUBSCRIBE");
        unsubscribe.arg(channel);
        let unsubscribed = match subscribed {
            Ok((_, mut connection)) => {
                let answer = connection.send(&unsubscribe).await.map_err(Failure::from);
                if answer.is_err() {
                    // It is still subscribed, so it must not be reused.
                    drop(Pooled::take(connection));
                }
                answer
            }
            Err(failure) => {
                missing.note("SSUBSCRIBE", kind, channel, failure)?;
                self.nodes.query(key, &unsubscribe).await
            }
        };
        match unsubscribed {
            Ok(_) => Ok(()),
            Err(failure) => missing.note("SUNSUBSCRIBE", kind, channel, failure),
        }
    }

    /// Tries the scripts' commands, on those of `keys` that `name` gives.
    async fn try_scripts(
        &self,
        process: Process,
        keys: Vec<String>,
        name: impl Fn(Kind) -> Option<String>,
    ) -> Result<Missing, String> {
        let mut missing = Missing::default();
        let mut tried = Vec::new();
        let first = keys.first().cloned().unwrap_or_default();
        let mut call = TRIAL.keys(keys);
        for right @ (command, rest, ..) in RIGHTS {
            for kind in process.uses(right) {
                let Some(name) = name(kind) else { continue };
                let named = usize::from(kind != Kind::Nothing);
                call = call.value(1 + named + rest.len()).text(command);
                if named > 0 {
                    call = call.value(&name);
                }
                call = rest.iter().fold(call, |call, word| call.text(word));
                tried.push((*command, kind, name));
            }
        }
        match call.query(&self.nodes).await {
            Ok(answer) => {
                for (number, error) in refusals(answer).map_err(|error| error.to_string())? {
                    if let Some((command, kind, name)) = tried.get(number.wrapping_sub(1)) {
                        missing.say(command, *kind, name, &error);
                    }
                }
            }
            Err(failure) => missing.note("EVALSHA", Kind::Job, &first, failure)?,
        }
        Ok(missing)
    }
}

/// What is sent besides scripts, in a form that changes nothing.
fn direct(process: Process, keys: &PartitionKeys, replicas: u32) -> Vec<(&'static str, Kind, Cmd)> {
    let command = |words: &[&str]| {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    let mut all = vec![
        ("PING", Kind::Nothing, command(&["PING"])),
        ("UNWATCH", Kind::Nothing, command(&["UNWATCH"])),
        ("EVAL", Kind::Due, command(&["EVAL", TRIAL.code(), "1", &keys.due()])),
        ("HGET", Kind::Job, command(&["HGET", &keys.jobs(), "app"])),
    ];
    if process.is_api() && replicas > 0 {
        all.push(("WAIT", Kind::Nothing, command(&["WAIT", "0", "1"])));
    }
    if process.is_worker() {
        all.push(("BLPOP", Kind::Wake, command(&["BLPOP", &keys.no_wake(), "0.001"])));
    }
    all
}

/// The channels that it listens to.
fn listens(process: Process, keys: &PartitionKeys) -> Vec<(Kind, String)> {
    let mut all = Vec::new();
    if process.is_api() {
        all.push((Kind::Log, keys.logs()));
    }
    if process.is_worker() {
        all.push((Kind::Cancel, keys.cancel()));
    }
    all
}

/// An unused name of a partition, or one that is only read.
fn name(keys: &PartitionKeys, kind: Kind) -> Option<String> {
    Some(match kind {
        Kind::Job => keys.jobs(),
        Kind::Log => keys.logs(),
        Kind::Checkpoint => keys.checkpoints(),
        Kind::Queue => keys.no_queue(),
        Kind::Wake => keys.no_wake(),
        Kind::Looking => keys.no_looking(),
        Kind::Pace => keys.no_pace(),
        Kind::Due => keys.due(),
        Kind::Dead => keys.dead(),
        Kind::Claim => keys.no_claim(),
        Kind::Cancel => keys.cancel(),
        Kind::Nothing => String::new(),
        Kind::Workers | Kind::Swept | Kind::Secret => return None,
    })
}

/// What the trial answers.
fn refusals(answer: Value) -> Result<Vec<(usize, String)>, StoreError> {
    super::shape::read_as("a trial of rights", answer)
}

impl Missing {
    /// Takes note of a command that was not answered; an error if that says nothing about rights.
    fn note(&mut self, command: &str, kind: Kind, name: &str, failure: Failure) -> Result<(), String> {
        match failure {
            Failure::Redis(error) if is_about_rights(&error) => self.say(command, kind, name, "NOPERM"),
            Failure::Redis(error) if error.detail().is_some_and(is_unknown) => {
                self.commands.insert(command.to_owned());
            }
            other => return Err(StoreError::from(other).to_string()),
        }
        Ok(())
    }

    fn say(&mut self, command: &str, kind: Kind, name: &str, error: &str) {
        if denies(error) {
            self.rights.entry((command.to_owned(), kind)).or_insert_with(|| name.to_owned());
        } else if is_unknown(error) {
            self.commands.insert(command.to_owned());
        }
    }

    fn add(&mut self, other: Self) {
        for (right, name) in other.rights {
            self.rights.entry(right).or_insert(name);
        }
        self.commands.extend(other.commands);
    }

    fn verdict(self) -> Result<(), Obstacle> {
        if let Some(command) = self.commands.first() {
            return Err(Obstacle::Lasting(no_command("the server", command)));
        }
        if self.rights.is_empty() {
            return Ok(());
        }
        const SHOWN: usize = 5;
        let more = self.rights.len().saturating_sub(SHOWN);
        let shown = self.rights.into_iter().take(SHOWN);
        let mut commands: Vec<_> = shown
            .map(
                |((command, _), name)| if name.is_empty() { command } else { format!("{command} on {name}") },
            )
            .collect();
        if more > 0 {
            commands.push(format!("and {more} more"));
        }
        Err(Obstacle::Lasting(forbidden("the server", &commands)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::scripts::*;

    fn called(code: &str) -> BTreeSet<String> {
        let calls = code.split("redis.call('").skip(1).filter_map(|rest| rest.split('\'').next());
        calls.map(str::to_owned).collect()
    }

    fn tried(process: Process) -> BTreeSet<String> {
        RIGHTS
            .iter()
            .filter(|right| !process.uses(right).is_empty())
            .map(|(command, ..)| (*command).to_owned())
            .collect()
    }

    #[test]
    fn every_command_of_a_processs_scripts_is_tried_and_no_other() {
        let api = vec![
            &SUBMIT, &RETRY, &CANCEL, &REAP, &DUE, &NOW, &DEAD, &FORGET, &STATUS, &READ, &WORKERS, &SECRET,
        ];
        let worker = vec![
            &CLAIM,
            &WAKE,
            &RENEW,
            &CHECKPOINT,
            &PUBLISH,
            &FINISH,
            &RELEASE,
            &REAP,
            &DUE,
            &NOW,
            &HEARTBEAT,
        ];
        for (process, scripts) in [(Process::Api, api), (Process::Worker, worker)] {
            let used: BTreeSet<_> = scripts.iter().flat_map(|script| called(script.code())).collect();
            assert_eq!(tried(process), used, "{process:?}");
        }
    }
}
