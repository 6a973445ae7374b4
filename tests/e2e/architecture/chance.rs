//! Random numbers in tests must come from a seed, so that every run does the same.

use super::names::{Names, Tests};

/// The places of a test's source text that draw without a seed, as `line: path`.
pub fn unseeded_in(text: &str) -> Vec<String> {
    let names = Names::of(text, Tests::Counted);
    let is_unseeded = |segments: &[&str]| match segments {
        ["rand", .., "random" | "random_range" | "random_bool" | "random_iter" | "rng" | "thread_rng"] => {
            true
        }
        [.., "Tensor", "rand" | "randn"] => true,
        [.., "from_os_rng" | "from_entropy" | "thread_rng"] => true,
        // Without a seed of `fuzz::cases`.
        [.., "ProptestConfig", _] | [.., "TestRunner", "default"] => true,
        _ => false,
    };
    let paths = names.paths.iter().map(|named| (named.line, &named.segments));
    let found = paths.filter(|(_, path)| is_unseeded(&path.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut found: Vec<_> = found.map(|(line, path)| format!("{line}: {}", path.join("::"))).collect();
    let count = |what: &str| text.matches(what).count();
    if count("proptest! {") != count("#![proptest_config(fuzz::cases(") {
        found.push("a proptest! without fuzz::cases".to_owned());
    }
    found
}

#[test]
fn what_draws_without_a_seed_is_found() {
    for text in [
        "fn f() -> u32 { rand::random() }",
        "fn f() -> u32 { rand::random_range(0..6) }",
        "fn f() { list.shuffle(&mut rand::rng()); }",
        "use rand::rng; fn f() { list.shuffle(&mut rng()); }",
        "fn f() -> SmallRng { SmallRng::from_os_rng() }",
        "fn f() -> Result<Tensor> { Tensor::randn(0f32, 1f32, (2, 3), &Device::Cpu) }",
        "fn f() { assert_close(&candle_core::Tensor::rand(0f32, 1f32, 3, &device)); }",
        "fn f() { TestRunner::new(ProptestConfig::default()); }",
        "proptest! { #[test] fn f(n: u32) {} }",
        "proptest! { #![proptest_config(ProptestConfig::with_cases(64))] #[test] fn f(n: u32) {} }",
    ] {
        assert!(!unseeded_in(text).is_empty(), "not found: {text}");
    }
    for text in [
        "fn f() -> SmallRng { SmallRng::seed_from_u64(7) }",
        "fn f(rng: &mut SmallRng) -> u32 { rng.random() }",
        "fn f() -> Vec<f32> { Generator::new(GeneratorKind::Cpu, 7).normal(3) }",
        "// rand::random()\nfn f() -> &'static str { \"rand::random()\" }",
        "fn f() -> ProptestConfig { ProptestConfig { failure_persistence: None, ..fuzz::cases(60) } }",
        "proptest! { #![proptest_config(fuzz::cases(64))] #[test] fn f(n: u32) {} }",
    ] {
        assert_eq!(unseeded_in(text), [""; 0], "{text}");
    }
}
