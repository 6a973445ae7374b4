//! Tests of the architecture checks: violations are found, and similar code is not reported.

use std::fs;

use super::{circles::circles, crates::Family, modules::Crate, names::Tests};

#[test]
fn every_way_to_name_a_crate_is_found() {
    for text in [
        "use redis::Client;",
        "use redis;",
        "use redis as r;",
        "use ::redis::Client;",
        "use std::io; use {redis::{Client, aio}};",
        "pub(crate) use redis::*;",
        "extern crate redis;",
        "extern crate redis as cache;",
        "fn f() -> redis::RedisResult<()> { todo!() }",
        "fn f() { let _ = ::redis::Client::open(URL); }",
        "fn f(of: Option<Vec<redis::Value>>) {}",
        "fn f() { use redis::Commands; }",
        "fn f() { redis::cmd!(GET); }",
        "fn f() { assert!(x.is_some_and(|value| value == redis::Value::Nil)); }",
        "fn f() { tokio::select! { answer = redis::cmd(GET) => {} } }",
        "fn f() { println!(\"{}\", ::redis::VERSION); }",
        "#[derive(Debug, redis::FromRedisValue)] struct Answer;",
        "#[redis::main] fn f() {}",
        "impl redis::ToRedisArgs for Answer {}",
        "impl From<redis::RedisError> for Answer {}",
        "fn f<C: redis::AsyncCommands>(c: C) {}",
        "type Pool = deadpool_redis::Pool;",
        "struct Answer { value: bb8_redis::Value }",
        "mod inner { mod inmost { use redis::Client; } }",
        "#[cfg(test)] mod tests { use redis::Client; }",
        "#[cfg(feature = \"other\")] fn f(value: redis::Value) {}",
        "macro_rules! get { ($key:expr) => { redis::cmd(\"GET\").arg($key) } }",
        "const N: usize = size_of::<redis::Value>();",
        "fn f() { r#redis::cmd(GET); }",
        // The module of that name is in another scope.
        "mod redis; mod inner { fn f() -> redis::Value { todo!() } }",
        "mod redis; fn f() -> ::redis::Value { todo!() }",
        // The name that the manifest gives to it.
        "use cache_client::Value;",
        "fn f(value: cache_client::Value) {}",
    ] {
        let renamed = ["cache_client".to_owned()];
        assert!(!Family::Redis.named_in(text, &renamed).is_empty(), "not found: {text}");
        let text = text.replace("deadpool_redis", "candle_nn").replace("bb8_redis", "candle_flash_attn");
        let text = text.replace("redis", "candle_core");
        assert!(!Family::Candle.named_in(&text, &renamed).is_empty(), "not found: {text}");
    }
}

#[test]
fn comments_strings_and_other_things_of_that_name_are_not_the_crate() {
    for text in [
        "// use redis::Client;",
        "/* redis::cmd(GET) */",
        "/// As [`redis::Client`] does. use redis::Client;\nstruct Answer;",
        "//! use redis::Client;",
        "#[doc = \"redis::Client\"] struct Answer;",
        "const TEXT: &str = \"use redis::Client;\";",
        "const TEXT: &str = r#\"redis::cmd(GET)\"#;",
        "fn f() { println!(\"redis::cmd {}\", 1); }",
        "fn f(redis: u16) -> u16 { redis + redis }",
        "struct Place { redis: u16 } fn f(place: Place) -> u16 { place.redis }",
        "fn f() { assert!(place.redis == 1); }",
        "mod redis; use self::redis::Store; use redis::Other; fn f() -> redis::Store { todo!() }",
        "use crate::store::redis::Store; fn f() -> crate::store::redis::Store { todo!() }",
        "use super::redis; fn f() -> redis::Store { todo!() }",
        "use glimpse_shared::store::{redis, Store}; fn f() { assert!(redis::store()); }",
        "use glimpse_shared::store::redis::{RedisStore, Prefix};",
        "fn f() { assert!(glimpse_shared::store::redis::store()); }",
        "use redistribute::Client; fn f() -> redirect::Policy { todo!() }",
        "use crate::candle; fn f() { candle::light() }",
        "fn f() { Wax::candle_core::<u8>(); }",
    ] {
        for family in [Family::Redis, Family::Candle] {
            assert_eq!(family.named_in(text, &[]), [""; 0], "{text}");
        }
    }
}

/// The circles of a crate of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    circles(&Crate::read(&folder.path().join("lib.rs"), Tests::LeftOut).uses())
}

#[test]
fn every_kind_of_circle_is_found() {
    let two = "mod a; mod b;";
    let cases: [(&str, &[(&str, &str)]); 15] = [
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "use crate::b::B; pub struct A;"),
                ("b.rs", "use super::a::A; pub struct B;"),
            ],
        ),
        // By paths alone.
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "pub fn a() { crate::b::b() }"),
                ("b.rs", "pub fn b() -> super::a::A { A }"),
            ],
        ),
        // In a macro, in an attribute.
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "pub fn a() { assert!(crate::b::b()) }"),
                ("b.rs", "#[derive(crate::a::A)] struct B;"),
            ],
        ),
        // A function's own import.
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "pub fn a() { use crate::b::b; b() }"),
                ("b.rs", "use crate::a; pub fn b() { a::a() }"),
            ],
        ),
        // Through a re-export, under another name.
        (
            "a -> b -> a",
            &[
                ("lib.rs", "mod a; mod b; pub use b::B as Other;"),
                ("a.rs", "use crate::Other; pub struct A;"),
                ("b.rs", "use crate::a::A; pub struct B;"),
            ],
        ),
        // Through the private import of a module above.
        (
            "m::a -> m::b -> m::a",
            &[
                ("lib.rs", "mod m;"),
                ("m/mod.rs", "mod a; mod b; use b::B;"),
                ("m/a.rs", "use super::B; pub struct A;"),
                ("m/b.rs", "use super::a::*; fn b(a: A) {} pub struct B;"),
            ],
        ),
        // By stars.
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "use crate::b::*; pub struct A;"),
                ("b.rs", "use crate::a::*; pub struct B;"),
            ],
        ),
        // A module's name on the way.
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "use super::b; pub fn a() { b::b() }"),
                ("b.rs", "use super::a as other; pub fn b() { other::a() }"),
            ],
        ),
        // Between a module and the one above it.
        (
            "m -> m::a -> m",
            &[
                ("lib.rs", "mod m;"),
                ("m.rs", "mod a; pub struct Thing; pub fn m() { a::a() }"),
                ("m/a.rs", "pub fn a(thing: super::Thing) {}"),
            ],
        ),
        (
            "a -> crate -> a",
            &[
                ("lib.rs", "mod a; pub struct Thing; fn f(a: a::A) {}"),
                ("a.rs", "pub struct A(crate::Thing);"),
            ],
        ),
        // The same, where the one above only passes on what is below.
        (
            "m -> m::a -> m",
            &[
                ("lib.rs", "mod m;"),
                ("m.rs", "mod a; pub use a::A; pub struct Thing;"),
                ("m/a.rs", "pub struct A(super::Thing);"),
            ],
        ),
        // Between braces.
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "mod inner { pub fn a() { super::super::b::b() } }"),
                ("b.rs", "pub fn b() { crate::a::inner::a() }"),
            ],
        ),
        // A variant, an associated function.
        (
            "a -> b -> a",
            &[
                ("lib.rs", two),
                ("a.rs", "pub enum A { One } fn f() { crate::b::B::new() }"),
                ("b.rs", "pub struct B; fn f() { crate::a::A::One; }"),
            ],
        ),
        // Of three.
        (
            "a -> b -> c -> a",
            &[
                ("lib.rs", "mod a; mod b; mod c;"),
                ("a.rs", "use crate::b::B; pub struct A;"),
                ("b.rs", "use crate::c::C; pub struct B;"),
                ("c.rs", "use crate::a::A; pub struct C;"),
            ],
        ),
        // Of folders.
        (
            "m -> n::inner -> m",
            &[
                ("lib.rs", "mod m; mod n;"),
                ("m.rs", "use crate::n::Inner; pub struct Thing;"),
                ("n/mod.rs", "mod inner; pub use inner::Inner;"),
                ("n/inner.rs", "pub struct Inner(crate::m::Thing);"),
            ],
        ),
    ];
    for (circle, files) in cases {
        assert_eq!(circles_of(files), [circle], "{files:?}");
    }
}

#[test]
fn what_is_no_circle_is_left_alone() {
    let cases: [&[(&str, &str)]; 7] = [
        // Both need a third one.
        &[
            ("lib.rs", "mod a; mod b; mod leaf;"),
            ("a.rs", "use crate::{b::B, leaf::Leaf};"),
            ("b.rs", "use crate::leaf::Leaf; pub struct B;"),
            ("leaf.rs", "pub struct Leaf;"),
        ],
        // A module above that passes on what is below, with what that needs.
        &[
            ("lib.rs", "mod m;"),
            ("m.rs", "mod a; mod thing; pub use {a::A, thing::Thing};"),
            ("m/a.rs", "pub struct A(super::Thing);"),
            ("m/thing.rs", "pub struct Thing;"),
        ],
        // Siblings that know each other by the names of the module above.
        &[
            ("lib.rs", "mod m;"),
            ("m.rs", "mod a; mod b; pub use {a::A, b::B};"),
            ("m/a.rs", "use super::B; pub struct A;"),
            ("m/b.rs", "pub struct B;"),
        ],
        // Tests may use everything.
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ],
        &[
            ("lib.rs", "mod a; #[cfg(test)] mod b;"),
            ("a.rs", "pub struct A; #[cfg(all(test, unix))] use crate::b::B;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ],
        // Comments and other crates.
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "/// See [`crate::a::A`].\npub struct B(::a::A, other::a::A);"),
        ],
        // To the same file.
        &[
            ("lib.rs", "mod a;"),
            ("a.rs", "use self::inner::Inner; pub struct A; mod inner { use super::A; pub struct Inner; }"),
        ],
    ];
    for files in cases {
        assert_eq!(circles_of(files), [""; 0], "{files:?}");
    }
}
