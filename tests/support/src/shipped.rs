//! The Redis configuration in `deploy`, and the user in it.

use crate::RedisServer;

/// The path of the shipped configuration.
pub const SHIPPED_CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/redis.conf");

/// The command that creates the shipped user with the name `prefix`, for the keys of `prefix`.
pub fn shipped_user(prefix: &str) -> Vec<String> {
    let file = std::fs::read_to_string(SHIPPED_CONFIG).unwrap();
    let user = file.lines().find_map(|line| line.strip_prefix("# user glimpse ")).expect("the user's line");
    let rights = user.replace("glimpse:*", &format!("{prefix}:*"));
    ["ACL", "SETUSER", prefix].into_iter().chain(rights.split(' ')).map(str::to_owned).collect()
}

/// Creates the shipped user on a server. Returns the URL that logs in as it.
pub fn create_shipped_user(server: &RedisServer, prefix: &str) -> String {
    let words = shipped_user(prefix);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    assert_eq!(server.ask(&words).text(), "OK");
    format!("redis://{prefix}:change-me@127.0.0.1:{}", server.port())
}

/// A server with the shipped configuration, and the URL of the shipped user.
pub fn shipped_server() -> (RedisServer, String) {
    let server = RedisServer::start_with(&[SHIPPED_CONFIG]);
    let url = create_shipped_user(&server, "glimpse");
    (server, url)
}
