//! Parses a body into a JSON object with a bound on its memory.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, json};

use super::field_error::{FieldError, Loc, shown};

/// The maximum of values in a body, including the names of members. `[{},{},…]` takes many times more memory than its
/// text. A real request has less than 100 values.
pub(super) const MOST_VALUES: usize = 10_000;

/// The bytes with which some programs begin a text in UTF-8. JSON forbids them, and they are ignored here.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Parses a body into an object. An empty body is `{}` (fal's JavaScript client sends one for no input).
///
/// # Errors
/// One entry with `loc[0]` = `body` if the bytes are not JSON (NaN, invalid UTF-8 and lone surrogates are not), have
/// more than 10,000 values, or are not an object.
pub fn parse_object(body: &[u8]) -> Result<Map<String, Value>, Vec<FieldError>> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match parse(body) {
        Ok(value) => object_of(value),
        Err(error) => Err(vec![FieldError {
            loc: vec![Loc::Name("body".to_owned()), Loc::Offset(offset(body, error.line(), error.column()))],
            msg: "JSON decode error".to_owned(),
            kind: "json_invalid",
            input: Some(json!({})),
            ctx: Some(json!({ "error": error.to_string() })),
        }]),
    }
}

/// The object that a value is.
///
/// # Errors
/// One entry if it is something else.
pub(super) fn object_of(value: Value) -> Result<Map<String, Value>, Vec<FieldError>> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(vec![FieldError {
            loc: vec![Loc::Name("body".to_owned())],
            msg: "Input should be a valid dictionary or object to extract fields from".to_owned(),
            kind: "model_attributes_type",
            input: Some(shown(&other)),
            ctx: None,
        }]),
    }
}

fn parse(body: &[u8]) -> serde_json::Result<Value> {
    let left = Cell::new(MOST_VALUES);
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = Counted(&left).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// The byte offset of a 1-based line and column.
fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let before: usize =
        body.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)).min(body.len())
}

/// Builds a value, and counts every value in it against the limit.
#[derive(Clone, Copy)]
struct Counted<'a>(&'a Cell<usize>);

/// Counts one value. `left` is how many more there may be.
pub(super) fn count<E: Error>(left: &Cell<usize>) -> Result<(), E> {
    let fewer = left.get().checked_sub(1);
    left.set(fewer.ok_or_else(|| E::custom(format_args!("more than {MOST_VALUES} values")))?);
    Ok(())
}

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        count(self.0)?;
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key()? {
            count(self.0)?;
            members.insert(name, map.next_value_seed(self)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_parsed_as_serde_json_parses_it() {
        let text = r#" {"a": [null, true, -1, 18446744073709551615, 0.1, 1e300, "x\u00e9\n"], "b": {}, "a ": "", "b": {"c": [[]]}} "#;
        let parsed = Value::Object(parse_object(text.as_bytes()).unwrap());
        assert_eq!(parsed, serde_json::from_str::<Value>(text).unwrap());
        assert!(parse_object(b"{} {}").is_err());
        let marked = [BYTE_ORDER_MARK, text.as_bytes()].concat();
        assert_eq!(Value::Object(parse_object(&marked).unwrap()), parsed);
        assert_eq!(parse_object(BYTE_ORDER_MARK).unwrap(), Map::new());
        assert!(parse_object(&[BYTE_ORDER_MARK, &marked].concat()).is_err());
        assert!(parse_object(b"{\"a\": 1e999}").is_err());
    }

    #[test]
    fn a_body_of_very_many_values_is_refused_before_they_are_kept() {
        let body = |count: usize| format!("{{\"a\": [{}0]}}", "{},".repeat(count));
        // The object, its member's name, the list and the 0 count too.
        assert!(parse_object(body(MOST_VALUES - 4).as_bytes()).is_ok());
        let errors = parse_object(body(MOST_VALUES - 3).as_bytes()).unwrap_err();
        let message = errors[0].ctx.as_ref().unwrap()["error"].as_str().unwrap();
        assert!(message.starts_with("more than 10000 values at line 1 column"), "{message}");
        let names: String = (0..MOST_VALUES).map(|n| format!("\"{n}\": 0, ")).collect();
        assert!(parse_object(format!("{{{names}\"end\": 0}}").as_bytes()).is_err());
    }
}
