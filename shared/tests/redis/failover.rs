//! Failover: writes that the new master lacks are a gap or a lost job, and nothing hangs.

use std::time::Duration;

use glimpse_shared::{
    event::{Event, Followed},
    job::Status,
    store::{Clock, Finish, Hold, Rules, Store},
};
use glimpse_test_support::{
    RedisServer, Sentinel, Sentinels,
    jobs::{app, completed, job, plain, plain_claim, preview, worker},
};
use tokio::time::Instant;

use crate::{
    crowd::Crowd,
    helpers::{answered, caught_up, claim, eventually, store, store_with, unavailable},
    relay::Relay,
    streams::{cursor, frame, next, over},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lacks_the_last_writes_takes_over() {
    let master = RedisServer::start();
    let replica = master.start_replica();
    let address = Relay::to(master.port()).await;
    let store = store(&address.url());
    // The replica lacks the last previews of the first job, the claim of the second, and the submit of the third.
    let (ahead, claimed, unknown) = (job("ahead"), job("claimed"), job("unknown"));
    store.submit(&ahead).await.unwrap();
    let mut held = claim(&store, "w1", 1).await;
    let step = preview(&held, 0);
    store.publish(&mut held, &step).await.unwrap();
    store.submit(&claimed).await.unwrap();
    caught_up(&master, &replica).await;
    replica.ask(&["REPLICAOF", "NO", "ONE"]);

    for step in [5, 10] {
        let step = preview(&held, step);
        store.publish(&mut held, &step).await.unwrap();
    }
    let mut zombie = claim(&store, "w2", 1).await;
    assert_eq!((zombie.job.id, zombie.attempt), (claimed.id, 1));
    store.submit(&unknown).await.unwrap();
    let mut lost = claim(&store, "w3", 1).await;
    let mut of_ahead = store.follow(ahead.id, cursor(4));
    assert_eq!(frame(next(&mut of_ahead).await).0, 5);
    let mut of_claimed = store.follow(claimed.id, cursor(1));
    assert_eq!(frame(next(&mut of_claimed).await).0, 2);
    let mut of_unknown = store.follow(unknown.id, cursor(1));
    assert_eq!(frame(next(&mut of_unknown).await).0, 2);

    drop(master);
    address.lead_to(replica.port());
    // The cursor is beyond the log: the follower gets a gap and continues at the log's end.
    assert_eq!(next(&mut of_ahead).await, Followed::Gap);
    // The worker continues: its first number is wrong and then corrected.
    let again = preview(&held, 15);
    assert_eq!(answered(|| store.renew(&held, None)).await, Hold::Held);
    for _ in 0..2 {
        assert_eq!(store.publish(&mut held, &again).await.unwrap(), Hold::Held);
    }
    assert!(matches!(frame(next(&mut of_ahead).await), (4, Event::Preview { step: 15, .. })));
    assert_eq!(store.finish(&mut held, &completed()).await.unwrap(), Finish::Finished);
    assert!(matches!(frame(next(&mut of_ahead).await), (5, Event::Completed { .. })));
    over(&mut of_ahead).await;

    // Another worker gets the same attempt number, and the first worker is fenced.
    assert_eq!(next(&mut of_claimed).await, Followed::Gap);
    let mut second = claim(&store, "w4", 1).await;
    assert_eq!((second.job.id, second.attempt), (claimed.id, zombie.attempt));
    let step = preview(&zombie, 0);
    assert_eq!(store.renew(&zombie, None).await.unwrap(), Hold::Lost);
    assert_eq!(store.publish(&mut zombie, &step).await.unwrap(), Hold::Lost);
    assert_eq!(store.finish(&mut zombie, &completed()).await.unwrap(), Finish::Lost);
    assert_eq!(frame(next(&mut of_claimed).await), (2, Event::Started { attempt: 1, worker: worker("w4") }));
    assert_eq!(store.finish(&mut second, &completed()).await.unwrap(), Finish::Finished);
    assert!(matches!(frame(next(&mut of_claimed).await), (3, Event::Completed { .. })));
    over(&mut of_claimed).await;

    // The third job is lost: its stream ends, and its worker loses the lease.
    assert_eq!(next(&mut of_unknown).await, Followed::Lost);
    over(&mut of_unknown).await;
    assert_eq!(store.finish(&mut lost, &completed()).await.unwrap(), Finish::Lost);
    assert_eq!(store.status(unknown.id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_no_writes_until_it_is_the_master() {
    let mut master = RedisServer::start();
    let replica = master.start_replica();
    let store = store(&replica.url());
    let job = job("a heart");
    unavailable(store.submit(&job).await);
    // The replica can be read, but it is not ready and does not reap.
    unavailable(store.now().await);
    unavailable(store.reap(Default::default()).await);
    unavailable(store.wait_for_work(&app(), &plain()).await);
    unavailable(store.try_claim(&plain_claim(worker("w1"), 1)).await);
    let mut stream = store.follow(job.id, None);
    assert_eq!(next(&mut stream).await, Followed::Lost);
    master.kill();
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    // The same address now leads to the new master.
    store.submit(&job).await.unwrap();
    store.wait_for_work(&app(), &plain()).await.unwrap();
    let mut lease = claim(&store, "w1", 1).await;
    assert_eq!(store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_demoted_is_left_with_all_its_connections() {
    let first = RedisServer::start();
    let second = first.start_replica();
    let address = Relay::to(first.port()).await;
    let store = store(&address.url());
    let job = job("a heart");
    store.submit(&job).await.unwrap();
    // Fills the pool with idle connections.
    futures::future::join_all((0..64).map(|_| store.status(job.id))).await;
    caught_up(&first, &second).await;
    second.ask(&["REPLICAOF", "NO", "ONE"]);
    first.ask(&["REPLICAOF", "127.0.0.1", &second.port().to_string()]);
    // New connections go to the new master. The old ones still answer; only a write shows the demotion.
    address.reroute(second.port());
    assert_eq!(store.status(job.id).await.unwrap().unwrap().status, Status::Queued);
    let first_try = plain_claim(worker("w1"), 1);
    unavailable(store.try_claim(&first_try).await);
    // After one failed write nothing is sent to the demoted server, whose data may be old.
    first.pause();
    let mut lease = claim(&store, "w1", 1).await;
    for _ in 0..32 {
        assert_eq!(store.status(job.id).await.unwrap().unwrap().status, Status::Running);
    }
    assert_eq!(store.finish(&mut lease, &completed()).await.unwrap(), Finish::Finished);
    first.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_run_through_a_failover_of_sentinels() {
    let mut servers = Sentinels::start();
    let rules = Rules { lease: Duration::from_secs(3), ..Rules::default() };
    let store = store_with(&servers.url(), rules, Clock::Store);
    let crowd = Crowd::start(&store, 40, 3).await;
    let [first, second] = servers.pair();
    caught_up(first, second).await;
    crowd.until_ended(5).await;
    servers.first().kill();
    let totals = crowd.totals().await;
    assert_eq!(servers.pair()[1].ask(&["ROLE"]).first(), "master");
    assert_eq!(totals.lost, 0, "every job was on the replica");
    assert_eq!(totals.ends, 40);
    let latest = Duration::from_secs(30);
    assert!(totals.took < latest, "{:?}", totals.took);

    // And back: the first server returns as a replica and is promoted, while one sentinel is down.
    servers.first().restart();
    let port = servers.first().port().to_string();
    eventually("the first to follow", || {
        // A sentinel closes the connections of a server that it makes a replica.
        let info = servers.first().try_ask(&["INFO", "replication"]);
        info.is_ok_and(|info| info.text().contains("master_link_status:up"))
    })
    .await;
    let [away, awake, ..] = servers.sentinels_mut() else { panic!("three sentinels") };
    away.server.kill();
    eventually("the sentinel to fail over", || {
        awake.server.ask(&["SENTINEL", "FAILOVER", "fleet"]);
        let master = awake.server.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "fleet"]);
        master.texts().get(1) == Some(&&*port)
    })
    .await;
    let job = job("after both");
    answered(|| store.submit(&job)).await;
    assert_eq!(servers.pair()[0].ask(&["ROLE"]).first(), "master");
    assert_eq!(store.status(job.id).await.unwrap().unwrap().status, Status::Queued);
}

#[tokio::test]
async fn sentinels_and_their_master_have_passwords_of_their_own() {
    let master = RedisServer::start_with(&[]);
    let sentinel = Sentinel::of(&master, 1);
    master.ask(&["ACL", "SETUSER", "fleet", "on", ">of master", "~*", "&*", "+@all"]);
    sentinel.server.ask(&[
        "ACL",
        "SETUSER",
        "asker",
        "on",
        ">of sentinel",
        "+sentinel|get-master-addr-by-name",
    ]);
    // From now on every server requires a login.
    for server in [&master, &sentinel.server] {
        server.ask(&["ACL", "SETUSER", "default", "off"]);
    }
    let at = format!("127.0.0.1:{}", sentinel.server.port());
    let with = "sentinel_username=asker&sentinel_password=of%20sentinel";
    let fleet = store(&format!("redis+sentinel://fleet:of%20master@{at}/fleet/3?{with}"));
    let job = job("a heart");
    fleet.submit(&job).await.unwrap();
    let mut stream = fleet.follow(job.id, None);
    assert_eq!(frame(next(&mut stream).await).0, 1);
    for (url, message) in [
        (format!("redis+sentinel://fleet:of%20master@{at}/fleet"), "NOAUTH"),
        (format!("redis+sentinel://fleet:wrong@{at}/fleet?{with}"), "authentication failed"),
        (
            format!("redis+sentinel://fleet:of%20master@{at}/flotilla?{with}"),
            "monitors no master named flotilla",
        ),
    ] {
        let refusal = store(&url).now().await.expect_err("a refusal").to_string();
        assert!(refusal.contains(message), "{refusal}");
    }
    // There is no server at all.
    let since = Instant::now();
    unavailable(store("redis+sentinel://127.0.0.1:1,127.0.0.1:2/fleet").now().await);
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sentinels_and_nodes_time_out_within_5_s() {
    let master = RedisServer::start_with(&[]);
    let sentinel = Sentinel::of(&master, 1);
    // It accepts connections and does not respond.
    let frozen = RedisServer::start_with(&[]);
    frozen.pause();
    let silent = format!("127.0.0.1:{},", frozen.port()).repeat(4);
    let since = Instant::now();
    let url = format!("redis+sentinel://{silent}127.0.0.1:{}/fleet", sentinel.server.port());
    store(&url).now().await.unwrap();
    assert!(since.elapsed() < Duration::from_millis(1900), "{:?}", since.elapsed());

    // If no node responds, all callers get the same error together.
    let silent = silent.trim_end_matches(',');
    for url in [format!("redis+cluster://{silent}"), format!("redis+sentinel://{silent}/fleet")] {
        let since = Instant::now();
        let store = store(&url);
        let job = job("a heart");
        for answer in futures::future::join_all((0..50).map(|_| store.status(job.id))).await {
            unavailable(answer);
        }
        assert!(since.elapsed() < Duration::from_secs(8), "{url}: {:?}", since.elapsed());
    }
    frozen.resume();
}
