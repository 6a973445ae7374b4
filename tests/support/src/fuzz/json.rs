//! Changes of JSON that usually leave it valid JSON.

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Map, Value, json};

/// Texts that a `Value` cannot represent.
const RAW: [&str; 8] =
    ["NaN", "Infinity", "-Infinity", "1e400", "1E18", "-0", "99999999999999999999999", "?"];
/// Deeper than any reader should read.
const DEEP: usize = 100_000;
/// The length of an absurdly long text.
const LONG: usize = 100_000;
/// The length of an absurdly long list.
const MOST: usize = 200_000;

/// One change of a document.
#[derive(Debug, Clone)]
pub enum Change {
    /// Replaces a value.
    Put(Index, Value),
    /// Replaces a value by text: an index into the texts above, then nesting, then a long text.
    Raw(Index, usize),
    /// Replaces a number.
    Number(Index, Value),
    /// Copies the value of another place.
    Copy(Index, Index),
    /// Removes a member or an entry.
    Remove(Index),
    /// Repeats the entries of a list; another value becomes a list of itself.
    Multiply(Index, usize),
    /// Adds an unknown member or entry.
    Add(Index, Value),
}

/// Numbers at the limits of their types, and at the limits of usual values.
fn number() -> impl Strategy<Value = Value> {
    let fixed = vec![
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(4),
        json!(-1),
        json!(7),
        json!(31),
        json!(32),
        json!(63),
        json!(64),
        json!(65),
        json!(1000),
        json!(65_535),
        json!(65_536),
        json!(i32::MAX),
        json!(u32::MAX),
        json!(1_u64 << 32),
        json!(1_u64 << 53),
        json!(1_000_000_000_000_000_000_u64),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(0.5),
        json!(-0.0),
        json!(1e-300),
        json!(-1e308),
        json!(1e308),
    ];
    prop_oneof![
        6 => prop::sample::select(fixed),
        1 => any::<i64>().prop_map(Value::from),
        1 => (0_u64..200).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ]
}

/// Anything.
fn nasty() -> impl Strategy<Value = Value> {
    let fixed = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!("NaN"),
        json!("0"),
        json!("x\u{0}\u{202e}🪁"),
        json!([]),
        json!({}),
        json!([[]]),
        json!([0]),
        json!([0, 0, 0]),
        json!([1_000_000_000_000_000_000_u64, 0]),
        json!([u64::MAX, u64::MAX]),
        json!({ "": null }),
    ];
    prop_oneof![
        3 => number(),
        3 => prop::sample::select(fixed),
        1 => ".{0,20}".prop_map(Value::from),
        1 => vec(any::<u64>(), 0..6).prop_map(Value::from),
    ]
}

/// Any change.
pub fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        8 => (at(), nasty()).prop_map(|(at, value)| Change::Put(at, value)),
        8 => (at(), number()).prop_map(|(at, value)| Change::Number(at, value)),
        1 => (at(), 0..RAW.len() + 2).prop_map(|(at, which)| Change::Raw(at, which)),
        2 => (at(), at()).prop_map(|(to, from)| Change::Copy(to, from)),
        2 => at().prop_map(Change::Remove),
        1 => (at(), prop::sample::select(vec![2, 3, 70, 1000])).prop_map(|(at, by)| Change::Multiply(at, by)),
        1 => (at(), nasty()).prop_map(|(at, value)| Change::Add(at, value)),
    ]
}

/// One to a few changes.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec(change(), 1..5)
}

impl Change {
    /// The text of a document with all `changes`.
    pub fn all(changes: &[Self], document: &Value) -> String {
        let mut document = document.clone();
        changes.iter().for_each(|change| change.apply(&mut document));
        let mut text = document.to_string();
        let marked = changes.iter().filter_map(|change| match change {
            Self::Raw(_, which) => Some(*which),
            _ => None,
        });
        for which in marked {
            let raw = match which.checked_sub(RAW.len()) {
                None => RAW[which].to_owned(),
                Some(0) => "[".repeat(DEEP) + &"]".repeat(DEEP),
                Some(_) => json!("x".repeat(LONG)).to_string(),
            };
            // Other changes may have repeated it many times.
            text = text.replacen(&json!(mark(which)).to_string(), &raw, 3);
        }
        text
    }

    fn apply(&self, document: &mut Value) {
        let places = places(document);
        let pick = |at: &Index| places[at.index(places.len())].clone();
        match self {
            Self::Put(at, value) => put(document, &pick(at), value.clone()),
            Self::Number(at, value) => {
                let numbers = numbers(document);
                if !numbers.is_empty() {
                    put(document, &numbers[at.index(numbers.len())], value.clone());
                }
            }
            Self::Raw(at, which) => put(document, &pick(at), mark(*which).into()),
            Self::Copy(to, from) => {
                let value = document.pointer(&pick(from)).cloned().unwrap_or_default();
                put(document, &pick(to), value);
            }
            Self::Remove(at) => {
                let place = pick(at);
                let Some((parent, name)) = place.rsplit_once('/') else { return };
                match document.pointer_mut(parent) {
                    Some(Value::Object(members)) => drop(members.remove(&unescaped(name))),
                    Some(Value::Array(entries)) => drop(entries.remove(name.parse().expect("an index"))),
                    _ => {}
                }
            }
            Self::Multiply(at, by) => {
                let place = pick(at);
                let value = document.pointer(&place).cloned().unwrap_or_default();
                let entries = match value {
                    Value::Array(entries) => entries,
                    other => vec![other],
                };
                // A document that is repeated twice still fits into memory.
                let by = (*by).min(MOST / length(&entries).max(1)).max(1);
                let many = std::iter::repeat_n(entries, by).flatten().collect();
                put(document, &place, Value::Array(many));
            }
            Self::Add(at, value) => match document.pointer_mut(&pick(at)) {
                Some(Value::Object(members)) => drop(members.insert("unknown".to_owned(), value.clone())),
                Some(Value::Array(entries)) => entries.push(value.clone()),
                _ => {}
            },
        }
    }
}

/// How long a list is as text.
fn length(entries: &[Value]) -> usize {
    entries.iter().map(|entry| entry.to_string().len()).sum()
}

fn mark(which: usize) -> String {
    format!("@raw {which}@")
}

fn put(document: &mut Value, place: &str, value: Value) {
    if let Some(slot) = document.pointer_mut(place) {
        *slot = value;
    }
}

/// JSON pointers to every number.
pub fn numbers(document: &Value) -> Vec<String> {
    let mut places = places(document);
    places.retain(|place| document.pointer(place).is_some_and(Value::is_number));
    places
}

/// JSON pointers to every value, the whole document's first.
fn places(document: &Value) -> Vec<String> {
    fn walk(value: &Value, place: String, places: &mut Vec<String>) {
        let members = |members: &Map<String, Value>, places: &mut Vec<String>| {
            for (name, value) in members {
                walk(value, format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        };
        places.push(place.clone());
        match value {
            Value::Object(object) => members(object, places),
            Value::Array(entries) => {
                for (index, value) in entries.iter().enumerate() {
                    walk(value, format!("{place}/{index}"), places);
                }
            }
            _ => {}
        }
    }
    let mut places = Vec::new();
    walk(document, String::new(), &mut places);
    places
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}
