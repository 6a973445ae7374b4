//! The stores in Redis: one server for each test, or one cluster or one server with users for all of them.

use std::{any::Any, sync::Arc};

use futures::{FutureExt, StreamExt};
use glimpse_shared::store::{Clock, SharedStore, redis::RedisStore};
use glimpse_test_support::{RedisCluster, RedisServer, SOON, until};

use super::{Home, START, app, rules};

pub async fn on_a_server() -> Home {
    let server = RedisServer::start_with(&[]);
    let (clock, store) = connect(&server.url(), "glimpse");
    let listening = listen(&store, std::slice::from_ref(&server), "glimpse");
    Home { store, clock, rules: rules(), _keep: Box::new((listening, server)) }
}

/// The cluster that all tests share; their prefixes separate them.
pub struct Cluster(RedisCluster);

impl Cluster {
    pub fn start() -> Self {
        Self(RedisCluster::start())
    }

    pub async fn home(&self, prefix: &str) -> Home {
        let (clock, store) = connect(&self.0.url(), prefix);
        let listening = listen(&store, self.0.masters(), prefix);
        Home { store, clock, rules: rules(), _keep: Box::new(listening) }
    }
}

/// The configuration that we ship.
pub const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redis.conf");

/// The user in it, as a command that creates one with the given name for the given prefix.
pub fn shipped_user(prefix: &str) -> Vec<String> {
    let file = std::fs::read_to_string(SHIPPED).unwrap();
    let user = file.lines().find_map(|line| line.strip_prefix("# user glimpse ")).expect("the user's line");
    let rights = user.replace("glimpse:*", &format!("{prefix}:*"));
    ["ACL", "SETUSER", prefix].into_iter().chain(rights.split(' ')).map(str::to_owned).collect()
}

/// A server with the shipped configuration, where each test is a user with only the rights that it needs.
pub struct Users(RedisServer);

impl Users {
    pub fn start() -> Self {
        Self(RedisServer::start_with(&[SHIPPED]))
    }

    pub async fn home(&self, prefix: &str) -> Home {
        let words = shipped_user(prefix);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        assert_eq!(self.0.ask(&words).text(), "OK");
        let url = format!("redis://{prefix}:change-me@127.0.0.1:{}", self.0.port());
        let (clock, store) = connect(&url, prefix);
        let listening = listen(&store, std::slice::from_ref(&self.0), prefix);
        Home { store, clock, rules: rules(), _keep: Box::new(listening) }
    }
}

fn connect(url: &str, prefix: &str) -> (Clock, SharedStore) {
    let clock = Clock::manual(START);
    let store = RedisStore::connect(&url.into(), &prefix.parse().unwrap(), rules(), clock.clone()).unwrap();
    (clock, Arc::new(store))
}

/// Subscribes to cancellations before the test begins, so that the test's own subscription works at once: in a fleet a
/// worker is subscribed long before it claims.
fn listen(store: &SharedStore, servers: &[RedisServer], prefix: &str) -> Box<dyn Any + Send + Sync> {
    let mut listening = store.cancellations(&app());
    assert!(listening.next().now_or_never().is_none());
    let channel = format!("{prefix}:{{{}}}:cancel", app().partition());
    until("the subscription", SOON, || {
        servers.iter().any(|server| {
            matches!(&server.ask(&["PUBSUB", "SHARDCHANNELS"]), reply if reply.texts().contains(&&*channel))
        })
    });
    Box::new(std::sync::Mutex::new(listening))
}
