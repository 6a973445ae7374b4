//! Stores in Redis: one server for each test, or one cluster or one server with users for all tests.

use std::{any::Any, sync::Arc};

use futures::{FutureExt, StreamExt};
use glimpse_shared::store::{Clock, SharedStore, redis::RedisStore};
use glimpse_test_support::{
    RedisCluster, RedisServer, SOON,
    shipped::{SHIPPED_CONFIG, create_shipped_user},
    until,
};

use super::{Fixture, START, app, rules};

pub async fn on_a_server() -> Fixture {
    let server = RedisServer::start_with(&[]);
    let (clock, store) = connect(&server.url(), "glimpse");
    let listening = listen(&store, std::slice::from_ref(&server), "glimpse");
    Fixture { store, clock, rules: rules(), _keep: Box::new((listening, server)) }
}

/// The cluster that all tests share; their prefixes separate them.
pub struct Cluster(RedisCluster);

impl Cluster {
    pub fn start() -> Self {
        Self(RedisCluster::start())
    }

    pub async fn fixture(&self, prefix: &str) -> Fixture {
        let (clock, store) = connect(&self.0.url(), prefix);
        let listening = listen(&store, self.0.masters(), prefix);
        Fixture { store, clock, rules: rules(), _keep: Box::new(listening) }
    }
}

/// A server with the shipped configuration, where each test is a user with only the rights that it needs.
pub struct Users(RedisServer);

impl Users {
    pub fn start() -> Self {
        Self(RedisServer::start_with(&[SHIPPED_CONFIG]))
    }

    pub async fn fixture(&self, prefix: &str) -> Fixture {
        let url = create_shipped_user(&self.0, prefix);
        let (clock, store) = connect(&url, prefix);
        let listening = listen(&store, std::slice::from_ref(&self.0), prefix);
        Fixture { store, clock, rules: rules(), _keep: Box::new(listening) }
    }
}

fn connect(url: &str, prefix: &str) -> (Clock, SharedStore) {
    let clock = Clock::manual(START);
    let store = RedisStore::connect(&url.into(), &prefix.parse().unwrap(), rules(), clock.clone()).unwrap();
    (clock, Arc::new(store))
}

/// Subscribes to cancellations before the test starts, so that the test's own subscription works at once. In a fleet a
/// worker subscribes long before it claims.
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
