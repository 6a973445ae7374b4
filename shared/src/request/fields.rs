//! Readers of an object's members: each takes a member, checks it, and records an error if it is invalid.

use serde_json::{Map, Number, Value, json};

use super::{
    dialect::Unknown,
    field_error::{FieldError, Loc, sent},
};

/// The unread members, and the errors of the read ones. A reader returns `None` for a member that is absent, `null` or
/// invalid; for an invalid member it records an error.
pub(super) struct Fields {
    /// The object's location in the body.
    at: Vec<Loc>,
    /// The whole object, for the errors of members that are missing.
    sent: Value,
    pub(super) body: Map<String, Value>,
    pub(super) errors: Vec<FieldError>,
}

/// The lower bound of a field's numbers.
#[derive(Clone, Copy)]
pub(super) enum Least {
    /// This number or above.
    From(f64),
    /// Above this number.
    Above(f64),
}

impl Fields {
    /// The members of the whole body.
    pub(super) fn new(body: Map<String, Value>) -> Self {
        Self::at(Vec::new(), body)
    }

    /// The members of an object within the body.
    pub(super) fn at(at: Vec<Loc>, body: Map<String, Value>) -> Self {
        Self { at, sent: sent(&body), body, errors: Vec::new() }
    }

    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.body.remove(field).filter(|value| !value.is_null())
    }

    /// Takes a wire's own field; `None` if one of ours gives the same.
    pub(super) fn take_beside(&mut self, field: &str, ours: &[&str]) -> Option<Value> {
        let value = self.take(field);
        let given = |own: &&str| self.body.get(*own).is_some_and(|value| !value.is_null());
        value.filter(|_| !ours.iter().any(given))
    }

    pub(super) fn wrong(&mut self, field: &str, kind: &'static str, msg: impl Into<String>, input: &Value) {
        let within = self.at.iter().cloned().chain([Loc::Name(field.to_owned())]);
        self.errors.push(FieldError::within_body(within, kind, msg, input));
    }

    /// An error about an entry of a list.
    pub(super) fn wrong_entry(
        &mut self,
        field: &str,
        index: usize,
        kind: &'static str,
        msg: impl Into<String>,
        input: &Value,
    ) {
        self.wrong(field, kind, msg, input);
        if let Some(error) = self.errors.last_mut() {
            error.loc.push(Loc::Index(index));
        }
    }

    pub(super) fn out_of_bounds(
        &mut self,
        field: &str,
        kind: &'static str,
        msg: impl Into<String>,
        input: &Value,
        ctx: Value,
    ) {
        self.wrong(field, kind, msg, input);
        if let Some(error) = self.errors.last_mut() {
            error.ctx = Some(ctx);
        }
    }

    /// A member that is required is not there.
    pub(super) fn missing(&mut self, field: &str) {
        let sent = self.sent.clone();
        self.wrong(field, "missing", "Field required", &sent);
    }

    /// A required text; returns the empty text if it is absent or invalid.
    pub(super) fn required_text(&mut self, field: &str, least: usize, most: usize) -> String {
        if self.body.get(field).is_none_or(Value::is_null) {
            self.body.remove(field);
            self.missing(field);
            return String::new();
        }
        self.text(field, least, most).unwrap_or_default()
    }

    pub(super) fn text(&mut self, field: &str, least: usize, most: usize) -> Option<String> {
        let value = self.take(field)?;
        let Value::String(text) = &value else {
            self.wrong(field, "string_type", "Input should be a valid string", &value);
            return None;
        };
        let chars = text.chars().count();
        if chars < least {
            let msg = format!("String should have at least {least} character");
            self.out_of_bounds(field, "string_too_short", msg, &value, json!({ "min_length": least }));
            return None;
        }
        if chars > most {
            let msg = format!("String should have at most {most} characters");
            self.out_of_bounds(field, "string_too_long", msg, &value, json!({ "max_length": most }));
            return None;
        }
        let Value::String(text) = value else { return None };
        Some(text)
    }

    fn number(&mut self, field: &str, kind: &'static str, msg: &str) -> Option<Number> {
        match self.take(field)? {
            Value::Number(number) => Some(number),
            other => {
                self.wrong(field, kind, msg, &other);
                None
            }
        }
    }

    pub(super) fn integer(&mut self, field: &str, least: u64, most: u64) -> Option<u64> {
        let number = self.number(field, "int_type", "Input should be a valid integer")?;
        let input = Value::Number(number.clone());
        // 20.0 is valid: it is an integer for JavaScript and for pydantic.
        let float = number.as_f64().unwrap_or(f64::NAN);
        if number.as_u64().is_none() && float.fract() != 0.0 {
            let msg = "Input should be a valid integer, got a number with a fractional part";
            self.wrong(field, "int_from_float", msg, &input);
            return None;
        }
        if float < least as f64 {
            let msg = format!("Input should be greater than or equal to {least}");
            self.out_of_bounds(field, "greater_than_equal", msg, &input, json!({ "ge": least }));
            return None;
        }
        let value = number.as_u64().unwrap_or(float as u64);
        if value > most || float > most as f64 {
            let msg = format!("Input should be less than or equal to {most}");
            self.out_of_bounds(field, "less_than_equal", msg, &input, json!({ "le": most }));
            return None;
        }
        Some(value)
    }

    pub(super) fn float(&mut self, field: &str, least: Least, most: f64) -> Option<f64> {
        let number = self.number(field, "float_type", "Input should be a valid number")?;
        let value = number.as_f64().unwrap_or(f64::NAN);
        let input = Value::Number(number);
        match least {
            Least::From(least) if value < least || value.is_nan() => {
                let msg = format!("Input should be greater than or equal to {least}");
                self.out_of_bounds(field, "greater_than_equal", msg, &input, json!({ "ge": least }));
                None
            }
            Least::Above(least) if value <= least || value.is_nan() => {
                let msg = format!("Input should be greater than {least}");
                self.out_of_bounds(field, "greater_than", msg, &input, json!({ "gt": least }));
                None
            }
            _ if value > most => {
                let msg = format!("Input should be less than or equal to {most}");
                self.out_of_bounds(field, "less_than_equal", msg, &input, json!({ "le": most }));
                None
            }
            _ => Some(value),
        }
    }

    pub(super) fn boolean(&mut self, field: &str) -> Option<bool> {
        match self.take(field)? {
            Value::Bool(value) => Some(value),
            other => {
                self.wrong(field, "bool_type", "Input should be a valid boolean", &other);
                None
            }
        }
    }

    pub(super) fn one_of<T: Copy>(&mut self, field: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.take(field)?;
        let chosen = choices.iter().find(|(word, _)| value.as_str() == Some(word));
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let msg = format!("Input should be one of {}", words.join(", "));
            self.out_of_bounds(field, "one_of", msg, &value, json!({ "expected": words }));
        }
        chosen.map(|(_, value)| *value)
    }

    /// Reads a list of at most `most` objects: returns what `read` makes of them, and records the errors.
    pub(super) fn list<T>(
        &mut self,
        field: &str,
        most: usize,
        unknown: Unknown,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for entry in self.objects(field, most) {
            let mut fields = match entry {
                Ok(fields) => fields,
                Err(error) => {
                    self.errors.push(*error);
                    continue;
                }
            };
            all.extend(read(&mut fields));
            if unknown == Unknown::Refused {
                fields.refuse_rest();
            }
            self.errors.append(&mut fields.errors);
        }
        all
    }

    /// The entries of a list of objects, at most `most`: an error for each that is none.
    fn objects(&mut self, field: &str, most: usize) -> Vec<Result<Self, Box<FieldError>>> {
        let entries = match self.take(field) {
            None => return Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(other) => {
                self.wrong(field, "list_type", "Input should be a valid list", &other);
                return Vec::new();
            }
        };
        if entries.len() > most {
            let msg = format!("List should have at most {most} items");
            let ctx = json!({ "max_length": most });
            self.out_of_bounds(field, "sequence_too_long", msg, &Value::Array(entries), ctx);
            return Vec::new();
        }
        let object = |(index, entry)| {
            let at = vec![Loc::Name(field.to_owned()), Loc::Index(index)];
            match entry {
                Value::Object(members) => Ok(Self::at(at, members)),
                entry => {
                    let msg = "Input should be a valid dictionary or object to extract fields from";
                    Err(FieldError::within_body(at, "model_attributes_type", msg, &entry).into())
                }
            }
        };
        entries.into_iter().enumerate().map(object).collect()
    }

    pub(super) fn refuse_rest(&mut self) {
        let mut rest = std::mem::take(&mut self.body);
        rest.sort_keys();
        for (field, value) in rest {
            self.wrong(&field, "extra_forbidden", "Extra inputs are not permitted", &value);
        }
    }
}
