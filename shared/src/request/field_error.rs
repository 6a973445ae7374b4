//! Errors of a request, one per field, in the form that fal's clients read (pydantic's).

use std::io;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{Array, Object, schema::SchemaType, schema::Type},
};

/// One invalid field: an entry of a 422's `detail`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// The location: `body`, `header` or `query`, then the field, and deeper parts of it: a name, an index of a list,
    /// or for `json_invalid` the byte offset.
    #[schema(schema_with = location)]
    pub loc: Vec<Loc>,
    /// The human-readable message.
    pub msg: String,
    /// The machine-readable kind of error.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The value that was sent; long ones are shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The limit that was exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub ctx: Option<Value>,
}

/// The schema of a location.
fn location() -> Array {
    let part = Object::builder().schema_type(SchemaType::from_iter([Type::String, Type::Integer]));
    Array::builder().items(part).min_items(Some(1)).build()
}

/// A part of a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Loc {
    /// `body`, `header` or a field.
    Name(String),
    /// The byte offset of a JSON error.
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
        // The name of an unknown member may have megabytes.
        let path = path.into_iter().map(|part| match part {
            Loc::Name(name) => Loc::Name(cut(&name).unwrap_or(name)),
            other => other,
        });
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

    /// Adds the limit that was exceeded.
    pub fn with_ctx(mut self, ctx: Value) -> Self {
        self.ctx = Some(ctx);
        self
    }

    /// Whether it is about the body, and not about a header or the query.
    pub fn is_of_body(&self) -> bool {
        matches!(self.loc.first(), Some(Loc::Name(name)) if name == "body")
    }

    /// The path to the field, for example `loras[0].path`; `None` if it is about the whole body.
    pub fn path(&self) -> Option<String> {
        let mut path = String::new();
        for part in self.loc.iter().skip(1) {
            match part {
                Loc::Name(name) if path.is_empty() => path.push_str(name),
                Loc::Name(name) => path.extend([".", name]),
                Loc::Index(index) => path.push_str(&format!("[{index}]")),
                Loc::Offset(_) => {}
            }
        }
        Some(path).filter(|path| !path.is_empty())
    }

    /// The name of the top-level field.
    pub fn field(&self) -> String {
        match self.loc.get(1) {
            Some(Loc::Name(name)) => name.clone(),
            _ => "body".to_owned(),
        }
    }
}

/// How many characters of an invalid value are returned.
const MOST: usize = 200;

/// The beginning of a long text.
fn cut(text: &str) -> Option<String> {
    let (end, _) = text.char_indices().nth(MOST)?;
    Some(format!("{}…", &text[..end]))
}

/// The part of an invalid value that is returned: enough to recognise it, never megabytes.
pub(super) fn shown(input: &Value) -> Value {
    match input {
        Value::String(text) => Value::String(cut(text).unwrap_or_else(|| text.clone())),
        Value::Array(_) | Value::Object(_) if serde_json::to_writer(AtMost(MOST), input).is_err() => {
            Value::Null
        }
        other => other.clone(),
    }
}

/// A whole body or an object in it as an error returns it: all its members, or nothing if it is long.
pub fn sent(members: &Map<String, Value>) -> Value {
    match serde_json::to_writer(AtMost(MOST), members) {
        Ok(()) => Value::Object(members.clone()),
        Err(_) => Value::Null,
    }
}

/// A writer that fails after this many bytes, so that a long value is not serialised only to measure it.
struct AtMost(usize);

impl io::Write for AtMost {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_value_is_shortened_or_left_out() {
        let text = |length: usize| Value::from("é".repeat(length));
        assert_eq!(shown(&text(200)), text(200));
        assert_eq!(shown(&text(201)), Value::from("é".repeat(200) + "…"));
        // With its quotes and brackets.
        assert_eq!(shown(&json!(["a".repeat(196)])), json!(["a".repeat(196)]));
        assert_eq!(shown(&json!(["a".repeat(197)])), Value::Null);
        assert_eq!(shown(&json!({ "a": "b".repeat(1 << 20) })), Value::Null);
        let error = FieldError::body(&"b".repeat(1 << 20), "extra_forbidden", "", &Value::Null);
        assert_eq!(error.field(), "b".repeat(200) + "…");
    }
}
