//! What a release left in Redis: its keys, its scripts, and what its own API said. `scripts/record-release` writes it.

use std::path::PathBuf;

use serde_json::Value;

use crate::RedisServer;

/// How long ago the release ended, when its keys are restored (us): longer than a lease, so that its workers have lost
/// their jobs, and not so long that their apps are unknown.
const AGO: u64 = 20_000_000;
/// Times of the record are at most this long before or after it (us).
const AROUND: u64 = 30 * 24 * 3600 * 1_000_000;
/// What a queue adds to a start for each class.
const CLASS: u64 = 1 << 51;

/// A record of one release.
#[derive(Debug)]
pub struct Recorded {
    folder: PathBuf,
    store: Value,
    jobs: Value,
}

/// A script of the release, and one of its calls.
#[derive(Debug, Clone)]
pub struct RecordedScript {
    /// The code as the release sent it.
    pub code: String,
    /// The keys of the call.
    pub keys: Vec<String>,
    /// The arguments of the call. Bytes that are no text are left out.
    pub args: Vec<String>,
}

impl Recorded {
    /// The record of a release: a folder of `tests/releases`.
    pub fn of(release: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../releases").join(release);
        let read = |name: &str| serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        Self { store: read("store.json"), jobs: read("jobs.json"), folder }
    }

    /// Writes the recorded keys to a server, as if the release had ended some seconds ago. The recorded webhooks call
    /// `receiver`.
    pub fn restore(&self, redis: &RedisServer, receiver: &str) {
        let seconds: u64 = redis.ask(&["TIME"]).first().parse().unwrap();
        let recorded_at = self.store["recorded_at"].as_u64().unwrap();
        let moved = Moved { recorded_at, by: seconds * 1_000_000 - AGO - recorded_at };
        let hook = self.jobs["receiver"].as_str().unwrap();
        for (key, entry) in self.store["keys"].as_object().unwrap() {
            for command in commands(key, &entry["type"], &entry["value"], &moved) {
                let words: Vec<_> = command.iter().map(|word| word.replace(hook, receiver)).collect();
                redis.ask(&words.iter().map(String::as_str).collect::<Vec<_>>());
            }
            if let Some(bytes) = entry["value"]["base64"].as_str() {
                redis.ask_bytes(&[b"SET", key.as_bytes(), &decoded(bytes)]);
            }
            if let Some(ttl) = entry["ttl"].as_u64() {
                redis.ask(&["PEXPIRE", key, &ttl.to_string()]);
            }
        }
    }

    /// The id of a job, by what it is an example of.
    pub fn job(&self, name: &str) -> &str {
        self.jobs["jobs"][name].as_str().unwrap_or_else(|| panic!("no recorded job {name}"))
    }

    /// Every job that had ended, by its name: what the release's API answered.
    pub fn answers(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.jobs["answers"].as_object().unwrap().iter().map(|(name, answer)| (name.as_str(), answer))
    }

    /// What the release's API answered at a path.
    pub fn list(&self, path: &str) -> &Value {
        &self.jobs["lists"][path]
    }

    /// The `--keys-file` of the recorded tenant.
    pub fn keys_file(&self) -> &str {
        self.jobs["keys_file"].as_str().unwrap()
    }

    /// The secret of the recorded tenant's key.
    pub fn key(&self) -> &str {
        self.jobs["key"].as_str().unwrap()
    }

    /// The recorded keys of Redis: each has its `type` and its `value`.
    pub fn keys(&self) -> &serde_json::Map<String, Value> {
        self.store["keys"].as_object().unwrap()
    }

    /// A script of the release.
    pub fn script(&self, name: &str) -> RecordedScript {
        let calls: Value =
            serde_json::from_slice(&std::fs::read(self.folder.join("calls.json")).unwrap()).unwrap();
        let texts = |part: &str| serde_json::from_value(calls[name][part].clone()).unwrap();
        let code = std::fs::read_to_string(self.folder.join("scripts").join(format!("{name}.lua"))).unwrap();
        RecordedScript { code, keys: texts("keys"), args: texts("args") }
    }
}

/// Whether a JSON value has everything that another one has: the same members, or more.
pub fn has_all(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(name, old)| new.get(name).is_some_and(|new| has_all(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| has_all(new, old))
        }
        _ => new == old,
    }
}

/// The commands that write a key; none for bytes.
fn commands(key: &str, kind: &Value, value: &Value, moved: &Moved) -> Vec<Vec<String>> {
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let fields = || value.as_object().unwrap().iter().map(|(name, text)| (name, text.as_str().unwrap()));
    match kind.as_str().unwrap() {
        "string" => {
            value.as_str().map(|text| command(&["SET", key, &moved.text(text)])).into_iter().collect()
        }
        "hash" => fields()
            .map(|(name, text)| {
                // The job never changes, and it has no times.
                let text = if name == "job" { text.to_owned() } else { moved.text(text) };
                command(&["HSET", key, name, &text])
            })
            .collect(),
        "zset" => {
            fields().map(|(member, score)| command(&["ZADD", key, &moved.text(score), member])).collect()
        }
        "list" => value
            .as_array()
            .unwrap()
            .iter()
            .map(|item| command(&["RPUSH", key, item.as_str().unwrap()]))
            .collect(),
        "stream" => value
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let mut words = command(&["XADD", key, entry[0].as_str().unwrap()]);
                for (name, text) in entry[1].as_object().unwrap() {
                    words.extend([name.clone(), text.as_str().unwrap().to_owned()]);
                }
                words
            })
            .collect(),
        other => panic!("{key} has the type {other}"),
    }
}

/// The times of the record, moved to now.
struct Moved {
    recorded_at: u64,
    by: u64,
}

impl Moved {
    /// The text with all its times moved. A score is a time and its class.
    fn text(&self, text: &str) -> String {
        let (mut out, mut digits) = (String::new(), String::new());
        for c in text.chars().chain(['\0']) {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            out += &digits.parse().map_or(digits.clone(), |number: u64| self.number(number, &digits));
            digits.clear();
            if c != '\0' {
                out.push(c);
            }
        }
        out
    }

    fn number(&self, number: u64, digits: &str) -> String {
        let is_time = (0..3).any(|class| {
            number.checked_sub(class * CLASS).is_some_and(|time| time.abs_diff(self.recorded_at) < AROUND)
        });
        if is_time { (number + self.by).to_string() } else { digits.to_owned() }
    }
}

fn decoded(base64: &str) -> Vec<u8> {
    let image = format!("data:application/octet-stream;base64,{base64}");
    let image = glimpse_shared::event::Image { url: image, content_type: String::new(), width: 0, height: 0 };
    image.decode().unwrap()
}
