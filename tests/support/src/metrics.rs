//! Reads Prometheus' text format with a parser that is not ours.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_parse::{Sample, Scrape, Value};

/// The metrics of one answer.
pub struct Parsed {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
}

/// Labels of a sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Parsed {
    /// Reads a text; panics if a line cannot be read.
    pub fn of(text: &str) -> Self {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let samples = Scrape::parse(lines).expect("Prometheus' text format").samples;
        let types = text.lines().filter_map(|line| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            Some((name.to_owned(), kind.to_owned()))
        });
        Self { samples, types: types.collect() }
    }

    /// The families, each with its type.
    pub fn families(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    /// The names of all labels.
    pub fn labels(&self) -> BTreeSet<&str> {
        self.samples.iter().flat_map(|sample| sample.labels.keys().map(String::as_str)).collect()
    }

    /// The samples of this name.
    pub fn samples(&self, name: &str) -> usize {
        self.samples.iter().filter(|sample| sample.metric == name).count()
    }

    /// The value of a counter or a gauge with exactly these labels; panics if there is not one.
    pub fn value(&self, name: &str, labels: Labels<'_>) -> f64 {
        match self.found(name, labels) {
            Some(Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value)) => *value,
            other => panic!("{name} {labels:?} is {other:?}"),
        }
    }

    /// The number of observations of a histogram; panics if there is none.
    pub fn count(&self, name: &str, labels: Labels<'_>) -> f64 {
        self.value(&format!("{name}_count"), labels)
    }

    fn found(&self, name: &str, labels: Labels<'_>) -> Option<&Value> {
        let fits = |sample: &&Sample| {
            sample.metric == name
                && sample.labels.len() == labels.len()
                && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
        };
        self.samples.iter().find(fits).map(|sample| &sample.value)
    }
}
