//! Checks whether the user has all rights that a process needs, without a write.
//!
//! The commands of scripts are tried in a read-only script (lua/trial.lua): Redis checks the user's rights first and
//! then refuses a write. The other commands are sent with unused names.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Cmd, Value, cmd};

use super::{
    backend::Backend,
    check_error::{CheckError, forbidden, refused},
    failure::{Failure, denies, is_about_rights, passes, refusal, shown},
    keys::PartitionKeys,
    pool::Pooled,
    process::Process,
    scripts::TRIAL,
};
use crate::{error::StoreError, id::Partition};

/// The kind of a key or a channel; see [`keys`](super::keys).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KeyKind {
    Job,
    Log,
    Checkpoint,
    Queue,
    Wake,
    Looking,
    Pace,
    Due,
    Dead,
    Hooks,
    Listed,
    Places,
    Claim,
    Cancel,
    Workers,
    Swept,
    Secret,
    WebhookSeed,
    Format,
    /// The command has no key.
    Nothing,
}

/// A command of the scripts: its name, the arguments after the key, and the kinds of keys that an API and a worker use
/// it on.
type Right = (&'static str, &'static [&'static str], &'static [KeyKind], &'static [KeyKind]);

const RIGHTS: &[Right] = {
    use KeyKind::{
        Cancel, Checkpoint, Claim, Dead, Due, Format, Hooks, Job, Listed, Log, Looking, Nothing, Pace,
        Places, Queue, Secret, Swept, Wake, WebhookSeed, Workers,
    };
    &[
        ("DEL", &[], &[Job, Log, Checkpoint], &[Log, Checkpoint]),
        ("EXISTS", &[], &[Job], &[]),
        (
            "GET",
            &[],
            &[Pace, Looking, Secret, WebhookSeed, Format],
            &[Pace, Claim, Checkpoint, Looking, Swept, Format],
        ),
        ("HDEL", &["f"], &[], &[Workers]),
        ("HGET", &["f"], &[Job], &[]),
        ("HGETALL", &[], &[], &[Workers]),
        ("HINCRBY", &["f", "1"], &[], &[Job]),
        ("HMGET", &["f"], &[Job], &[Job]),
        ("HSET", &["f", "v"], &[Job], &[Job, Workers]),
        ("HVALS", &[], &[Workers], &[]),
        ("LLEN", &[], &[Wake], &[Wake]),
        ("PEXPIRE", &["1"], &[Job, Listed, Log, Places, Wake], &[Job, Log, Looking, Wake]),
        ("PTTL", &[], &[Listed, Places], &[Job]),
        ("RPUSH", &["v"], &[Wake], &[Wake]),
        (
            "SET",
            &["v"],
            &[Looking, Secret, WebhookSeed, Format],
            &[Pace, Claim, Checkpoint, Looking, Swept, Format],
        ),
        ("SPUBLISH", &["m"], &[Log, Cancel], &[Log]),
        ("TIME", &[], &[Nothing], &[Nothing]),
        ("XADD", &["1-1", "f", "v"], &[Log], &[Log]),
        ("XDEL", &["1-1"], &[Log], &[Log]),
        ("XRANGE", &["-", "+"], &[Log], &[]),
        ("XREVRANGE", &["+", "-"], &[Log], &[]),
        (
            "ZADD",
            &["1", "m"],
            &[Queue, Due, Dead, Hooks, Listed, Places],
            &[Queue, Due, Dead, Hooks, Looking],
        ),
        ("ZCARD", &[], &[Queue, Places], &[]),
        ("ZRANGE", &["0", "0"], &[Due, Queue, Dead, Hooks, Listed, Looking, Places], &[Due, Queue, Looking]),
        ("ZRANK", &["m"], &[Queue], &[Queue]),
        ("ZREM", &["m"], &[Queue, Due, Dead, Hooks, Listed, Looking, Places], &[Queue, Due, Looking, Places]),
        ("ZREMRANGEBYRANK", &["0", "0"], &[Dead, Listed], &[Dead]),
        ("ZSCORE", &["m"], &[Dead, Hooks, Listed], &[Looking]),
    ]
};

/// The missing rights, each with the first key that it was tried on, and the commands that the server does not run, each
/// with the server's answer.
#[derive(Default)]
struct Missing {
    rights: BTreeMap<(String, KeyKind), String>,
    commands: BTreeMap<String, String>,
    /// The first server that something is missing on.
    server: Option<String>,
}

impl Process {
    /// The kinds of keys that the process uses a command on.
    fn uses(self, (_, _, api, worker): &Right) -> BTreeSet<KeyKind> {
        let of = |used: &&'static [KeyKind], uses| if uses { *used } else { &[] };
        of(api, self.is_api()).iter().chain(of(worker, self.is_worker())).copied().collect()
    }
}

impl Backend {
    /// Tries all rights in all partitions.
    pub(super) async fn all_rights(&self, process: Process) -> Result<(), CheckError> {
        self.rights(process, Partition::all()).await
    }

    /// Tries all rights: in a cluster in all partitions, because each node has its own users; otherwise in one.
    pub(super) async fn rights_on_each_node(&self, process: Process) -> Result<(), CheckError> {
        let partitions = if self.nodes.is_cluster() { usize::MAX } else { 1 };
        self.rights(process, Partition::all().take(partitions)).await
    }

    async fn rights(
        &self,
        process: Process,
        partitions: impl Iterator<Item = Partition>,
    ) -> Result<(), CheckError> {
        let mut missing = Missing::default();
        let tried = partitions.map(|partition| self.rights_in(process, partition));
        let workers = vec![self.keys.workers(), self.keys.swept()];
        let workers = self.try_scripts(process, workers, |kind| match kind {
            KeyKind::Workers => Some(self.keys.workers()),
            KeyKind::Swept => Some(self.keys.swept()),
            _ => None,
        });
        let secret = self.try_scripts(process, vec![self.keys.secret()], |kind| {
            (kind == KeyKind::Secret).then(|| self.keys.secret())
        });
        let seed = self.try_scripts(process, vec![self.keys.webhook_seed()], |kind| {
            (kind == KeyKind::WebhookSeed).then(|| self.keys.webhook_seed())
        });
        let format = self.try_scripts(process, vec![self.keys.format()], |kind| {
            (kind == KeyKind::Format).then(|| self.keys.format())
        });
        let tried = futures::future::join_all(tried);
        let (tried, workers, secret, seed, format) = futures::join!(tried, workers, secret, seed, format);
        let mut temporary = None;
        for found in tried.into_iter().chain([workers, secret, seed, format]) {
            match found {
                Ok(found) => missing.add(found),
                Err(why) => temporary = Some(why),
            }
        }
        missing.verdict()?;
        temporary.map_or(Ok(()), |why| Err(CheckError::Temporary(why)))
    }

    async fn rights_in(&self, process: Process, partition: Partition) -> Result<Missing, String> {
        let keys = self.keys.of(partition);
        let all = [
            KeyKind::Job,
            KeyKind::Log,
            KeyKind::Checkpoint,
            KeyKind::Queue,
            KeyKind::Wake,
            KeyKind::Looking,
            KeyKind::Pace,
            KeyKind::Due,
            KeyKind::Dead,
            KeyKind::Hooks,
            KeyKind::Listed,
            KeyKind::Places,
            KeyKind::Claim,
        ];
        let names = all.iter().filter_map(|kind| name(&keys, *kind)).collect();
        let mut missing = self.try_scripts(process, names, |kind| name(&keys, kind)).await?;
        for (command, kind, words) in direct_commands(process, &keys, self.rules.submit_replicas) {
            if let Err(failure) = self.nodes.query(&keys.due(), &words).await {
                missing.record_failure(command, kind, &name(&keys, kind).unwrap_or_default(), failure)?;
            }
        }
        for (kind, channel) in subscribed_channels(process, &keys) {
            self.try_subscription(&keys.due(), kind, &channel, &mut missing).await?;
        }
        Ok(self.located(missing, &keys.due()).await)
    }

    /// Adds the server that holds `key`.
    async fn located(&self, missing: Missing, key: &str) -> Missing {
        match missing.is_empty() {
            true => missing,
            false => Missing { server: Some(self.server_of(key).await), ..missing },
        }
    }

    /// How a message names the server that holds `key`.
    pub(super) async fn server_of(&self, key: &str) -> String {
        let address = self.nodes.address_of(key).await;
        address.map_or_else(|| "the server".to_owned(), |address| format!("the server at {address}"))
    }

    /// Subscribes and unsubscribes, on one connection.
    async fn try_subscription(
        &self,
        key: &str,
        kind: KeyKind,
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
                missing.record_failure("SSUBSCRIBE", kind, channel, failure)?;
                self.nodes.query(key, &unsubscribe).await
            }
        };
        match unsubscribed {
            Ok(_) => Ok(()),
            Err(failure) => missing.record_failure("SUNSUBSCRIBE", kind, channel, failure),
        }
    }

    /// Tries the scripts' commands on `keys`. `name` gives the key of a kind; kinds without a key are skipped.
    async fn try_scripts(
        &self,
        process: Process,
        keys: Vec<String>,
        name: impl Fn(KeyKind) -> Option<String>,
    ) -> Result<Missing, String> {
        let mut missing = Missing::default();
        let mut tried = Vec::new();
        let first = keys.first().cloned().unwrap_or_default();
        let mut call = TRIAL.keys(keys);
        for right @ (command, rest, ..) in RIGHTS {
            for kind in process.uses(right) {
                let Some(name) = name(kind) else { continue };
                let named = usize::from(kind != KeyKind::Nothing);
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
                        missing.record_refusal(command, *kind, name, &error);
                    }
                }
            }
            Err(failure) => missing.record_failure("EVALSHA", KeyKind::Job, &first, failure)?,
        }
        Ok(self.located(missing, &first).await)
    }
}

/// The commands besides the scripts, in a form that changes nothing.
fn direct_commands(
    process: Process,
    keys: &PartitionKeys,
    replicas: u32,
) -> Vec<(&'static str, KeyKind, Cmd)> {
    let command = |words: &[&str]| {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    let mut all = vec![
        ("PING", KeyKind::Nothing, command(&["PING"])),
        ("UNWATCH", KeyKind::Nothing, command(&["UNWATCH"])),
        ("EVAL", KeyKind::Due, command(&["EVAL", TRIAL.code(), "1", &keys.due()])),
        ("HGET", KeyKind::Job, command(&["HGET", &keys.jobs(), "app"])),
    ];
    if process.is_api() {
        all.push(("ZSCORE", KeyKind::Listed, command(&["ZSCORE", &keys.listed("no-tenant"), "m"])));
    }
    if process.is_api() && replicas > 0 {
        all.push(("WAIT", KeyKind::Nothing, command(&["WAIT", "0", "1"])));
    }
    if process.is_worker() {
        all.push(("BLPOP", KeyKind::Wake, command(&["BLPOP", &keys.no_wake(), "0.001"])));
    }
    all
}

/// The channels that a process subscribes to.
fn subscribed_channels(process: Process, keys: &PartitionKeys) -> Vec<(KeyKind, String)> {
    let mut all = Vec::new();
    if process.is_api() {
        all.push((KeyKind::Log, keys.logs()));
    }
    if process.is_worker() {
        all.push((KeyKind::Cancel, keys.cancel()));
    }
    all
}

/// The key of a kind in a partition: an unused key, or one that is only read.
fn name(keys: &PartitionKeys, kind: KeyKind) -> Option<String> {
    Some(match kind {
        KeyKind::Job => keys.jobs(),
        KeyKind::Log => keys.logs(),
        KeyKind::Checkpoint => keys.checkpoints(),
        KeyKind::Queue => keys.no_queue(),
        KeyKind::Wake => keys.no_wake(),
        KeyKind::Looking => keys.no_looking(),
        KeyKind::Pace => keys.no_pace(),
        KeyKind::Due => keys.due(),
        KeyKind::Dead => keys.dead(),
        KeyKind::Hooks => keys.hooks(),
        KeyKind::Listed => keys.listed("no-tenant"),
        KeyKind::Places => keys.places("no-tenant"),
        KeyKind::Claim => keys.no_claim(),
        KeyKind::Cancel => keys.cancel(),
        KeyKind::Nothing => String::new(),
        KeyKind::Workers | KeyKind::Swept | KeyKind::Secret | KeyKind::WebhookSeed | KeyKind::Format => {
            return None;
        }
    })
}

/// Whether a command was refused only because a trial must not write.
fn is_about_writes(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    ["write command", "read-only", "readonly", "read only", "replicate"]
        .iter()
        .any(|words| error.contains(words))
}

/// Reads the reply of `trial`.
fn refusals(answer: Value) -> Result<Vec<(usize, String)>, StoreError> {
    super::shape::read_as("a trial of rights", answer)
}

impl Missing {
    /// Records a failed command. Returns an error that is not about rights or a missing command.
    fn record_failure(
        &mut self,
        command: &str,
        kind: KeyKind,
        name: &str,
        failure: Failure,
    ) -> Result<(), String> {
        match failure {
            Failure::Redis(error) if is_about_rights(&error) => {
                self.record_refusal(command, kind, name, "NOPERM")
            }
            Failure::Redis(error) if error.code() == Some("NOPROTO") => {
                self.commands.insert("HELLO 3".to_owned(), shown(&error.to_string()));
            }
            // The key is not ours; the right is there.
            Failure::Redis(error) if error.code() == Some("WRONGTYPE") => {}
            Failure::Redis(error) => match refusal(&error) {
                Some(answer) => drop(self.commands.insert(command.to_owned(), answer)),
                None => return Err(shown(&error.to_string())),
            },
            Failure::NoConnection(why) => return Err(why),
        }
        Ok(())
    }

    fn record_refusal(&mut self, command: &str, kind: KeyKind, name: &str, error: &str) {
        if denies(error) {
            // Of a prefix, the keys that begin with it.
            let keys = if name.ends_with(':') { format!("{name}*") } else { name.to_owned() };
            self.rights.entry((command.to_owned(), kind)).or_insert(keys);
        } else if error.starts_with("ERR") && !is_about_writes(error) && !passes(error) {
            self.commands.insert(command.to_owned(), shown(error));
        }
    }

    fn is_empty(&self) -> bool {
        self.rights.is_empty() && self.commands.is_empty()
    }

    fn add(&mut self, other: Self) {
        for (right, name) in other.rights {
            self.rights.entry(right).or_insert(name);
        }
        self.commands.extend(other.commands);
        self.server = self.server.take().or(other.server);
    }

    fn verdict(self) -> Result<(), CheckError> {
        let server = self.server.as_deref().unwrap_or("the server");
        if let Some((command, answer)) = self.commands.first_key_value() {
            return Err(CheckError::Permanent(refused(server, command, answer)));
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
        Err(CheckError::Permanent(forbidden(server, &commands)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::scripts::*;

    fn called(code: &str) -> BTreeSet<String> {
        let code = code.replace("redis.pcall('", "redis.call('");
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
    fn exactly_the_commands_of_a_processs_scripts_are_tried() {
        let api = vec![
            &SUBMIT,
            &RETRY,
            &ACTIVE,
            &CANCEL,
            &FINISH_EARLY,
            &REAP,
            &DUE,
            &DROP,
            &NOW,
            &DEAD,
            &FORGET,
            &STATUS,
            &READ,
            &WORKERS,
            &SECRET,
            &DELIVER,
            &REPORT,
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
            &DROP,
            &NOW,
            &HEARTBEAT,
        ];
        for (process, scripts) in [(Process::Api, api), (Process::Worker, worker)] {
            let used: BTreeSet<_> = scripts.iter().flat_map(|script| called(script.code())).collect();
            assert_eq!(tried(process), used, "{process:?}");
        }
    }
}
