//! What is wrong with a request, field by field, in the shape that fal's clients read (pydantic's).

use serde::Serialize;
use serde_json::Value;

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

/// What of a wrong value is sent back: enough to recognise it, never megabytes.
pub(super) fn shown(input: &Value) -> Value {
    const MOST: usize = 200;
    match input {
        Value::String(text) if text.chars().count() > MOST => {
            Value::String(text.chars().take(MOST).chain(['…']).collect())
        }
        Value::Array(_) | Value::Object(_) if input.to_string().len() > MOST => Value::Null,
        other => other.clone(),
    }
}
