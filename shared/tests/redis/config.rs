//! Valid and invalid URLs, and their display without a password.

use glimpse_shared::store::{
    Clock, Rules,
    redis::{Prefix, RedisStore, RedisUrl},
};

fn connect(url: &str) -> Result<(), String> {
    let prefix: Prefix = "glimpse".parse().unwrap();
    // Without a runtime and a server: nothing is sent.
    RedisStore::connect(&url.into(), &prefix, Rules::default(), Clock::Store)
        .map(drop)
        .map_err(|e| e.to_string())
}

#[test]
fn every_form_of_a_url_is_accepted() {
    for url in [
        "redis://localhost",
        "redis://127.0.0.1:7000/3",
        "redis://user:pass@redis.example:6380/0",
        "redis://:pass@redis.example",
        "rediss://user:pass@redis.example:6380",
        "redis+cluster://10.0.0.1:7000,10.0.0.2:7000,10.0.0.3:7000",
        "redis+cluster://user:p,a@ss@one:7000,two:7001/",
        "rediss+cluster://user:pass@one,two",
        "redis+sentinel://one,two:26380,[::1],[::1]:26381/fleet",
        "redis+sentinel://user:pass@one:26379/fleet/3?sentinel_username=u&sentinel_password=p%40ss",
        "rediss+sentinel://:pass@one/fleet?sentinel_password=pass",
        "redis://localhost?db=2",
        "redis://localhost/2?db=2",
        "redis://localhost/?protocol=resp3",
        "redis://[::1]:7000/3/",
        "redis://us%40er:p%2Fss@redis_1.internal",
        " redis://localhost\n",
        "redis+cluster://one,two/0",
        "redis+sentinel://one/fleet?db=3",
        "REDIS://localhost",
        "Rediss+Sentinel://one/fleet?sentinel_password=p@ss",
    ] {
        assert_eq!(connect(url), Ok(()), "{url}");
    }
}

#[test]
fn an_error_does_not_repeat_the_password() {
    for url in [
        "",
        "localhost:6379",
        "http://user:secret@localhost",
        "redis://user:secret@",
        "redis://user:secret@host:port",
        "redis+cluster://",
        "redis+cluster://user:secret@one,,two",
        "redis+cluster://user:secret@one:7000/3",
        "redis+sentinel://user:secret@one:26379",
        "redis+sentinel://user:secret@one:26379/",
        "redis+sentinel://user:secret@one,,two/fleet",
        "redis+sentinel://user:secret@one/fleet/three",
        "redis+sentinel://user@one/fleet?secret",
        "redis+elsewhere://user:secret@one",
    ] {
        let wrong = connect(url).expect_err(url);
        assert!(wrong.starts_with("--redis-url: "), "{wrong}");
        assert!(!wrong.contains("secret"), "{wrong}");
    }
}

#[test]
fn every_part_of_a_url_is_used_or_rejected() {
    for (url, named) in [
        ("redis://host/0?timeout=5", "timeout"),
        ("rediss://host?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("redis+cluster://one,two?read_from_replicas=true", "read_from_replicas"),
        ("redis+sentinel://one/fleet?role=replica", "role"),
        ("redis://host?sentinel_password=secret", "an option"),
        ("redis://host?password=secret", "user and password stand before the host"),
        ("redis://host?db=1&db=2", "twice"),
        ("redis://host/1?db=2", "two databases"),
        ("redis://host?db=", "database"),
        ("redis://host?db", "no value"),
        ("redis://host?protocol=2", "protocol"),
        ("redis://host#x", "fragment"),
        ("rediss://host/#insecure", "fragment"),
        ("redis+sentinel://one/fleet#x", "fragment"),
        ("redis://host/0/1", "database"),
        ("redis://host/-1", "database"),
        ("redis://host/+1", "database"),
        ("redis://host/99999999999999999999", "database"),
        ("redis+cluster://one/3", "no database but 0"),
        ("redis+cluster://one?db=3", "no database but 0"),
        ("redis+sentinel://one/fleet/1/2", "database"),
        ("redis+sentinel://one/fleet?sentinel_username=secret", "sentinel_username"),
        ("redis+sentinel://one/fleet?sentinel_password=", "sentinel_password"),
        ("redis://user@host", "user without a password"),
        ("redis://user:@host", "user without a password"),
        ("redis://@host", "password"),
        ("redis://:@host", "password"),
        ("redis://", "host is missing"),
        ("redis://:6379", "host is missing"),
        ("redis://host:", "port is missing"),
        ("redis://host:0", "port"),
        ("redis://host:65536", "port"),
        ("redis://::1", "brackets"),
        ("redis://[::1]x:1", "between ]"),
        ("redis://[fe80::1%25eth0]", "IPv6"),
        ("redis://0.0.0.0", "0.0.0.0"),
        ("redis://one,two", "several hosts"),
        ("redis://user:se/cret@host", "%2F"),
        ("redis://user:1#secret@host", "%23"),
        ("redis://user:1?secret@host", "%3F"),
        ("redis://u:123?secret=@127.0.0.1:1", "%3F"),
        ("redis+cluster://u:1?db=0&secret@one,two", "%3F"),
        ("redis+sentinel://u:1?secret=1@one/fleet", "%3F"),
        ("redis://ho st", "space"),
        ("redis://%2Ftmp%2Fredis.sock", "Unix sockets"),
        ("unix:///tmp/redis.sock", "Unix sockets"),
        ("redis+unix:///tmp/redis.sock?db=1", "Unix sockets"),
        ("valkey://host", "redis://"),
    ] {
        let wrong = connect(url).expect_err(url);
        assert!(wrong.starts_with("--redis-url: ") && wrong.contains(named), "{url}: {wrong}");
        assert!(!wrong.contains("secret") && !wrong.contains("cret@"), "{wrong}");
    }
}

#[test]
fn a_url_prints_without_its_password() {
    let url: RedisUrl = "redis://user:sec@ret@host:6379/1".into();
    assert_eq!(url.to_string(), "redis://…@host:6379/1");
    assert_eq!(format!("{url:?}"), "redis://…@host:6379/1");
    for (url, printed) in [
        ("redis://host", "redis://host"),
        ("redis+sentinel://a:1,b:2/fleet", "redis+sentinel://a:1,b:2/fleet"),
        ("redis+sentinel://u:secret@a/fleet?sentinel_password=secret", "redis+sentinel://…@a/fleet?…"),
        ("redis+sentinel://a/fleet?sentinel_password=p@secret", "redis+sentinel://…"),
        ("redis://user:p?a@secret@host", "redis://…"),
        ("secret", "…"),
    ] {
        assert_eq!(RedisUrl::from(url).to_string(), printed);
    }
}

#[test]
fn a_prefix_cannot_move_the_hash_tag() {
    for wrong in ["", "a:b", "{x}", "with space", "ü", &"x".repeat(65)] {
        assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
    }
    assert!("fleet-2.test_1".parse::<Prefix>().is_ok());
}
