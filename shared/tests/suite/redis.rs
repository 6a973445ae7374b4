//! The homes in Redis: a server for each story, or one cluster for all.

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

/// The ground that stories on a cluster share; their prefixes keep them apart.
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

fn connect(url: &str, prefix: &str) -> (Clock, SharedStore) {
    let clock = Clock::manual(START);
    let store = RedisStore::connect(&url.into(), &prefix.parse().unwrap(), rules(), clock.clone()).unwrap();
    (clock, Arc::new(store))
}

/// Somebody listens to cancellations before the story begins, so that its own listener is heard from its first
/// moment: in a fleet a worker listens for long before it claims.
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
