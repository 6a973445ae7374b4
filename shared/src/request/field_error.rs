//! What is wrong with a request, field by field, in the shape that fal's clients read (pydantic's).

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One wrong field: an entry of a 422's `detail`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldError {
    /// Where: `["body", field]`, and further down into it.
    pub loc: Vec<Loc>,
    /// What is wrong, for people.
    pub msg: String,
    /// What is wrong, for programs.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The value that was sent; long ones are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The bound that was crossed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Value>,
}

/// A part of a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Loc {
    /// `body`, `header` or a field.
    Name(String),
    /// A place in a text that is not JSON.
    Offset(usize),
    /// An entry of a list.
    Index(usize),
}

impl FieldError {
    /// An error about a field of the body.
    pub fn body(field: &str, kind: &'static str, msg: impl Into<String>, input: &Value) -> Self {
        Self::within_body([Loc::Name(field.to_owned())], kind, msg, input)
    }

    /// An error about a part of the body: the path to it.
    pub fn within_body(
        path: impl IntoIterator<Item = Loc>,
        kind: &'static str,
        msg: impl Into<String>,
        input: &Value,
    ) -> Self {
        let loc = std::iter::once(Loc::Name("body".to_owned())).chain(path).collect();
        Self { loc, msg: msg.into(), kind, input: Some(shown(input)), ctx: None }
    }

    /// An error about a header.
    pub fn header(name: &str, kind: &'static str, msg: impl Into<String>, input: &str) -> Self {
        let mut error = Self::body(name, kind, msg, &Value::from(input));
        error.loc[0] = Loc::Name("header".to_owned());
        error
    }

    /// An error about a parameter of the query.
    pub fn query(name: &str, kind: &'static str, msg: impl Into<String>, input: &str) -> Self {
        let mut error = Self::body(name, kind, msg, &Value::from(input));
        error.loc[0] = Loc::Name("query".to_owned());
        error
    }

    /// Adds the bound that was crossed.
    pub fn with_ctx(mut self, ctx: Value) -> Self {
        self.ctx = Some(ctx);
        self
    }

    /// The field's name: of the whole field, also where only a part of it is wrong.
    pub fn field(&self) -> String {
        match self.loc.get(1) {
            Some(Loc::Name(name)) => name.clone(),
            _ => "body".to_owned(),
        }
    }
}

/// Parses a body into an object. An empty body is `{}` (fal's JavaScript client sends one for no input).
///
/// # Errors
/// One entry with `loc[0]` = `body` for bytes that are no JSON (NaN, bad UTF-8 and lone surrogates are not) or
/// no object.
pub fn parse_object(body: &[u8]) -> Result<Map<String, Value>, Vec<FieldError>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(vec![FieldError {
            loc: vec![Loc::Name("body".to_owned())],
            msg: "Input should be a valid dictionary or object to extract fields from".to_owned(),
            kind: "model_attributes_type",
            input: Some(shown(&other)),
            ctx: None,
        }]),
        Err(error) => Err(vec![FieldError {
            loc: vec![Loc::Name("body".to_owned()), Loc::Offset(offset(body, error.line(), error.column()))],
            msg: "JSON decode error".to_owned(),
            kind: "json_invalid",
            input: Some(json!({})),
            ctx: Some(json!({ "error": error.to_string() })),
        }]),
    }
}

/// The byte offset of a 1-based line and column.
fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let before: usize =
        body.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)).min(body.len())
}

/// What of a wrong value is sent back: enough to recognise it, never megabytes.
fn shown(input: &Value) -> Value {
    const MOST: usize = 200;
    match input {
        Value::String(text) if text.chars().count() > MOST => {
            Value::String(text.chars().take(MOST).chain(['…']).collect())
        }
        Value::Array(_) | Value::Object(_) if input.to_string().len() > MOST => Value::Null,
        other => other.clone(),
    }
}
