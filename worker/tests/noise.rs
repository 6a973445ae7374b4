//! Compares the noise with torch's CPU generator and with the known emulation of its CUDA generator.

#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;
#[cfg(test)]
mod support;
#[cfg(test)]
#[path = "support/tensors.rs"]
mod tensors;

use glimpse_worker::noise::{Generator, GeneratorKind};
use numbers::numbers;
use serde::Deserialize;
use support::parity;
use tensors::load;

#[derive(Deserialize)]
struct Row {
    name: String,
    seed: u64,
    shape: Vec<usize>,
    dtype: String,
    count: usize,
    sum: f64,
    sum_sq: f64,
}

/// Library functions differ in the last bit, which is amplified near u = 0.
fn limit(name: &str) -> f64 {
    if name.starts_with("cpu") { 4e-6 } else { 1e-5 }
}

#[test]
fn every_row_of_the_noise_table() {
    let text = std::fs::read_to_string(parity().join("noise.json")).expect("the table");
    let rows: Vec<Row> = serde_json::from_str(&text).expect("the table");
    let tensors = load(parity().join("noise.safetensors"));
    let mut compared = 0;
    // Latents are drawn in f32 and rounded afterwards, so the model's dtype does not change the noise. torch's f16
    // draws differ in count (see the fixtures' README).
    for row in rows.iter().filter(|r| r.dtype == "float32") {
        let kind = if row.name.starts_with("cpu") { GeneratorKind::Cpu } else { GeneratorKind::Cuda };
        let mut generator = Generator::new(kind, row.seed);
        let (name, draws) = match row.name.split_once(".draw") {
            Some((_, draw)) => (row.name.as_str(), draw.parse().expect("a number")),
            None => (row.name.as_str(), 0),
        };
        assert_eq!(row.shape.iter().product::<usize>(), row.count);
        for _ in 0..draws {
            generator.normal(row.count);
        }
        let values: Vec<f64> = generator.normal(row.count).into_iter().map(f64::from).collect();
        let sum: f64 = values.iter().sum();
        let sum_sq: f64 = values.iter().map(|v| v * v).sum();
        assert!((sum - row.sum).abs() < 1e-2 && (sum_sq - row.sum_sq).abs() < 1e-2, "sums of {name}");
        let parts: [(String, Vec<f64>); 4] = [
            (name.to_owned(), values.clone()),
            (format!("{name}.first64"), values[..64.min(row.count)].to_vec()),
            (format!("{name}.last64"), values[row.count.saturating_sub(64)..].to_vec()),
            (format!("{name}.every997"), values.iter().step_by(997).copied().collect()),
        ];
        for (part, actual) in parts {
            let Some(expected) = tensors.get(&part) else { continue };
            for (i, (a, b)) in actual.iter().zip(numbers(expected)).enumerate() {
                assert!((a - b).abs() < limit(name), "{part}[{i}]: {a} and not {b}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 36, "{compared} tensors were compared");
}

#[test]
fn small_draws_of_the_cpu_generator() {
    // torch.manual_seed(0); torch.randn(5); torch.randn(4)
    let mut generator = Generator::new(GeneratorKind::Cpu, 0);
    let first = generator.normal(5);
    let second = generator.normal(4);
    let expected = [
        1.5409961f32,
        -0.2934289f32,
        -2.1787894f32,
        0.5684313f32,
        -1.0845224f32,
        -1.3985955f32,
        0.4033468f32,
        0.8380263f32,
        -0.7192576f32,
    ];
    for (a, b) in first.iter().chain(&second).zip(expected) {
        assert!((a - b).abs() < 1e-6, "{a} and not {b}");
    }
}

#[test]
fn a_picture_of_a_batch_has_its_part_of_one_draw() {
    for kind in [GeneratorKind::Cuda, GeneratorKind::Cpu] {
        for seed in [0, 42, 1 << 53] {
            let single = Generator::new(kind, seed).normal(4 * 8 * 8);
            let batch = Generator::new(kind, seed).normal(4 * 4 * 8 * 8);
            assert_eq!(batch[..single.len()], single);
            assert_ne!(batch[single.len()..2 * single.len()], single);
        }
    }
}
