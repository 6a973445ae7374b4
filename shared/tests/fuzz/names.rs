//! Names, cursors and addresses.

use glimpse_shared::{
    id::{App, JobId, Micros, Seq, WorkerId},
    job::Status,
    request::LoraName,
    store::{
        Checkpoint, Clock, Rules,
        redis::{Prefix, RedisStore, RedisUrl},
    },
};
use glimpse_test_support::fuzz::{self, damages};
use proptest::{collection::vec, prelude::*};

/// A text that is similar to a name.
fn text() -> impl Strategy<Value = String> {
    let names = prop::sample::select(&NAMES[..]);
    let damaged = (names, damages()).prop_map(|(name, damages)| {
        let mut bytes = name.as_bytes().to_vec();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    prop_oneof![2 => damaged, 1 => ".{0,80}", 1 => "[0-9a-f-]{30,40}", 1 => "[+-]?[0-9]{0,25}"]
}

const NAMES: [&str; 9] = [
    "glimpse/demo",
    "01938c00-0000-7000-8000-000000000007",
    "gpu-1-0123456789ab",
    "18446744073709551615",
    "queued",
    "style/x.safetensors",
    "redis://user:secret@127.0.0.1:6379/3",
    "redis+cluster://user:secret@[::1]:6379,host:7000",
    "rediss+sentinel://:secret@a:1,b/mymaster/2?sentinel_username=u&sentinel_password=secret",
];

proptest! {
    #![proptest_config(fuzz::cases(4000))]

    #[test]
    fn a_name_round_trips_or_is_invalid(text in text()) {
        if let Ok(app) = text.parse::<App>() {
            prop_assert_eq!(app.to_string(), &*text);
            let _ = app.partition();
        }
        if let Ok(id) = text.parse::<JobId>() {
            prop_assert_eq!(id.to_string(), &*text);
            prop_assert_eq!(id.partition(), id.retried().partition());
        }
        if let Ok(worker) = text.parse::<WorkerId>() {
            prop_assert_eq!(worker.as_str(), &*text);
        }
        if let Some(status) = Status::parse(&text) {
            prop_assert_eq!(status.as_str(), &*text);
        }
        if let Some(name) = LoraName::parse(text.clone()) {
            prop_assert!(!name.as_str().split('/').any(|part| matches!(part, "" | "." | "..")));
        }
        if let Ok(prefix) = text.parse::<Prefix>() {
            prop_assert_eq!(prefix.as_str(), &*text);
        }
        prop_assert!(WorkerId::new(&text).as_str().parse::<WorkerId>().is_ok());
    }

    /// An invalid address is refused, and an address is shown without its password.
    #[test]
    fn an_address_is_read_and_shown_without_its_password(text in text()) {
        let url: RedisUrl = (&*text).into();
        let shown = format!("{url} {url:?}");
        let after = text.split_once("://").map_or("", |(_, after)| after);
        if after.contains("secret@") && text.matches("secret").count() == 1 {
            prop_assert!(!shown.contains("secret"), "{shown}");
        }
        let prefix: Prefix = "glimpse".parse().unwrap();
        if let Err(error) = RedisStore::connect(&url, &prefix, Rules::default(), Clock::Store) {
            prop_assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn any_number_is_a_cursor_and_a_time(number in prop_oneof![any::<u64>(), Just(u64::MAX)], other: u64) {
        let (seq, at) = (Seq(number), Micros(number));
        prop_assert!(seq.next() >= seq);
        prop_assert!(at.after(at.since(Micros(other))) >= at);
        let _ = at.rfc3339();
    }

    #[test]
    fn a_checkpoint_is_kept_up_to_a_size(bytes in vec(any::<u8>(), 0..100)) {
        let kept = Checkpoint::new(bytes.clone());
        prop_assert_eq!(kept.map(|kept| kept.bytes().to_vec()), (!bytes.is_empty()).then_some(bytes));
    }
}
