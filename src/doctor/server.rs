//! Checks a Redis.

use std::time::Duration;

use glimpse_shared::store::{
    Clock, Rules,
    redis::{ClockDifference, Examined, Persistence, RedisConfig, RedisStore, RedisUrl},
};

use super::check::Check;

/// The timeout of the whole check.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A round trip that is longer than this makes previews late.
const SLOW: Duration = Duration::from_millis(20);
/// Clocks that differ by more than this show wrong ages of jobs, and receivers may refuse webhooks.
const APART: Duration = Duration::from_secs(5);

/// The line of the Redis at this URL.
pub async fn check(url: &RedisUrl, config: &RedisConfig) -> Check {
    // The URL is shown without its login.
    let what = format!("redis {url}");
    let examined = async {
        let store = RedisStore::connect(url, &config.redis_prefix, Rules::default(), Clock::Store)
            .map_err(|error| error.to_string())?;
        store.examine().await.map_err(|error| error.to_string())
    };
    match tokio::time::timeout(TIMEOUT, examined).await {
        Ok(Ok(examined)) => Check::Ok { what, remarks: remarks(&examined) },
        Ok(Err(why)) => Check::Fail { what, why, advice: ADVICE.to_owned() },
        Err(_) => Check::Fail {
            what,
            why: format!("no answer within {} s", TIMEOUT.as_secs()),
            advice: ADVICE.to_owned(),
        },
    }
}

/// What to do, besides what the error says itself.
const ADVICE: &str = "change the server or --redis-url, and run glimpse doctor again (docs/operations.md)";

fn remarks(examined: &Examined) -> Vec<String> {
    let Examined { server, latency, clock, persistence, warnings } = examined;
    let ClockDifference { by, is_ahead } = clock;
    let mut remarks = vec![
        server.clone(),
        "all rights are there".to_owned(),
        format!("answers in {:.1} ms", latency.as_secs_f64() * 1e3),
    ];
    if *latency > SLOW {
        remarks.push("that is slow, so previews are late: run Redis near its APIs and workers".to_owned());
    }
    remarks.push(match by {
        by if *by > APART => format!(
            "its clock is {:.0} s {} this machine's: set both by NTP",
            by.as_secs_f64(),
            if *is_ahead { "ahead of" } else { "behind" }
        ),
        _ => "its clock agrees with this machine's".to_owned(),
    });
    remarks.push(
        match persistence {
            Some(Persistence::Log) => "it writes every command to its file",
            Some(Persistence::Snapshots) => {
                "it only takes snapshots, so a restart loses the jobs since the last: set appendonly yes"
            }
            Some(Persistence::Nothing) => {
                "it has no persistence, so a restart loses all jobs: set appendonly yes, as in deploy/redis.conf"
            }
            None => "whether it has persistence is not known: the user may not ask (INFO, CONFIG GET)",
        }
        .to_owned(),
    );
    remarks.extend(warnings.iter().cloned());
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined() -> Examined {
        Examined {
            server: "Redis 7.2.4, standalone".to_owned(),
            latency: Duration::from_micros(200),
            clock: ClockDifference { by: Duration::from_millis(3), is_ahead: true },
            persistence: Some(Persistence::Log),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_good_server_has_no_advice() {
        let text = remarks(&examined()).join("; ");
        assert!(text.starts_with("Redis 7.2.4, standalone; all rights are there; answers in 0.2 ms; "));
        assert!(!text.contains("set "), "{text}");
    }

    #[test]
    fn advice_is_a_remark() {
        let bad = Examined {
            latency: Duration::from_millis(80),
            clock: ClockDifference { by: Duration::from_secs(90), is_ahead: false },
            persistence: Some(Persistence::Nothing),
            warnings: vec!["set maxmemory-policy noeviction".to_owned()],
            ..examined()
        };
        let text = remarks(&bad).join("; ");
        for said in ["run Redis near", "90 s behind", "no persistence", "noeviction"] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}
