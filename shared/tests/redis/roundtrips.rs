//! A command costs one round trip on a healthy connection, and a broken connection is replaced.

use glimpse_shared::store::Store;
use glimpse_test_support::{RedisServer, jobs::job};

use crate::helpers::{calls, eventually, store};

#[tokio::test]
async fn a_command_costs_one_round_trip() {
    const COMMANDS: u64 = 200;
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    store.now().await.unwrap();
    server.ask(&["CONFIG", "RESETSTAT"]);
    for _ in 0..COMMANDS {
        store.now().await.unwrap();
    }
    assert_eq!(calls(&server, "evalsha"), COMMANDS);
    assert_eq!((calls(&server, "ping"), calls(&server, "unwatch")), (0, 0));
}

#[tokio::test]
async fn a_connection_that_was_closed_is_replaced_before_it_is_used() {
    let server = RedisServer::start_with(&[]);
    let store = store(&server.url());
    for n in 0..5 {
        store.submit(&job(&format!("job {n}"))).await.unwrap();
        server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        eventually("the connection to go", || {
            server.ask(&["CLIENT", "LIST", "TYPE", "normal"]).text().lines().count() == 1
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_came_back_is_found_by_the_first_command() {
    let mut server = RedisServer::start();
    let store = store(&server.url());
    // Several connections, all of which break.
    let all = (0..8).map(|_| store.now());
    futures::future::try_join_all(all).await.unwrap();
    server.restart();
    let all = (0..8).map(|_| store.now());
    futures::future::try_join_all(all).await.unwrap();
}
