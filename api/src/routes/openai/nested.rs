//! The names of a form's parts. OpenAI's clients write a list as `name[]`, an object as `name[key]`, and a list of objects
//! as `name[][key]`; other clients number the entries, `name[0][key]`.

use serde_json::{Map, Value};

/// How deep the values of a form may be nested.
const DEEPEST: usize = 4;

/// The name of a part: a field, and the way to a value in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) field: String,
    pub(super) steps: Vec<Step>,
}

/// A step to a value within a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `[]`: an entry of a list.
    Each,
    /// `[0]`: the entry of this number.
    Entry(usize),
    /// `[key]`: a member of an object.
    Member(String),
}

/// The brackets of a part's name are malformed, or contradict those of another part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Name {
    /// Reads the name of a part.
    ///
    /// # Errors
    /// The field, if its brackets are malformed.
    pub(super) fn read(name: &str) -> Result<Self, String> {
        let (field, rest) = name.split_at(name.find(['[', ']']).unwrap_or(name.len()));
        steps(rest).map(|steps| Self { field: field.to_owned(), steps }).ok_or_else(|| field.to_owned())
    }

    /// Whether it is a field itself, or an entry of a list in it.
    pub(super) fn is_flat(&self) -> bool {
        matches!(self.steps[..], [] | [Step::Each | Step::Entry(_)])
    }

    /// The name of the value: the last member, or the field.
    pub(super) fn last(&self) -> &str {
        let member = self.steps.iter().rev().find_map(|step| match step {
            Step::Member(name) => Some(&**name),
            _ => None,
        });
        member.unwrap_or(&self.field)
    }
}

fn steps(mut text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !text.is_empty() {
        let (inner, rest) = text.strip_prefix('[')?.split_once(']')?;
        let is_number = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
        steps.push(match inner {
            "" => Step::Each,
            number if is_number => Step::Entry(number.parse().ok()?),
            key if key.contains('[') => return None,
            key => Step::Member(key.to_owned()),
        });
        text = rest;
    }
    // Nothing says where an inner list ends.
    let nested = steps.windows(2).any(|pair| pair == [Step::Each, Step::Each]);
    (steps.len() <= DEEPEST && !nested).then_some(steps)
}

/// Puts a value where the name of its part says. A repeated field without brackets has its last value.
///
/// # Errors
/// If the place contradicts that of another part.
pub(super) fn put(fields: &mut Map<String, Value>, name: &Name, value: Value) -> Result<(), Malformed> {
    if name.steps.is_empty() {
        fields.insert(name.field.clone(), value);
        return Ok(());
    }
    within(fields.entry(&*name.field).or_insert(Value::Null), &name.steps, value)
}

/// `null` stands for a place without a value.
fn within(place: &mut Value, steps: &[Step], value: Value) -> Result<(), Malformed> {
    let Some((step, rest)) = steps.split_first() else {
        if !place.is_null() {
            return Err(Malformed);
        }
        *place = value;
        return Ok(());
    };
    match step {
        Step::Member(name) => {
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            let members = place.as_object_mut().ok_or(Malformed)?;
            within(members.entry(&**name).or_insert(Value::Null), rest, value)
        }
        Step::Entry(number) => {
            let entries = list(place)?;
            if *number == entries.len() {
                entries.push(Value::Null);
            }
            within(entries.get_mut(*number).ok_or(Malformed)?, rest, value)
        }
        Step::Each => {
            let entries = list(place)?;
            // The members of all entries come together, the first ones of each first, or one entry after the other.
            let open = entries.iter().position(|entry| !rest.is_empty() && has_room(entry, rest));
            let index = open.unwrap_or_else(|| {
                entries.push(Value::Null);
                entries.len() - 1
            });
            within(&mut entries[index], rest, value)
        }
    }
}

fn list(place: &mut Value) -> Result<&mut Vec<Value>, Malformed> {
    if place.is_null() {
        *place = Value::Array(Vec::new());
    }
    place.as_array_mut().ok_or(Malformed)
}

/// Whether there is no value at the end of these steps.
fn has_room(place: &Value, steps: &[Step]) -> bool {
    match (steps.split_first(), place) {
        (_, Value::Null) => true,
        (Some((Step::Member(name), rest)), Value::Object(members)) => {
            members.get(&**name).is_none_or(|member| has_room(member, rest))
        }
        (Some((Step::Entry(number), rest)), Value::Array(entries)) => {
            entries.get(*number).map_or(*number == entries.len(), |entry| has_room(entry, rest))
        }
        _ => false,
    }
}

/// Checks the objects of a list that came as `name[][key]`: if they do not all have the same members, it is not known
/// which entry a member belongs to.
///
/// # Errors
/// If it is not known.
pub(super) fn check_entries(list: &Value) -> Result<(), Malformed> {
    let mut entries = list.as_array().into_iter().flatten();
    let Some(first) = entries.next().and_then(Value::as_object) else { return Ok(()) };
    let are_alike = entries.all(|entry| entry.as_object().is_some_and(|entry| entry.keys().eq(first.keys())));
    if are_alike { Ok(()) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(parts: &[(&str, Value)]) -> Result<Value, Malformed> {
        let mut fields = Map::new();
        for (name, value) in parts {
            put(&mut fields, &Name::read(name).map_err(|_| Malformed)?, value.clone())?;
        }
        Ok(Value::Object(fields))
    }

    #[test]
    fn brackets_are_lists_and_objects() {
        let loras = json!({ "loras": [{ "path": "a", "scale": 1 }, { "path": "b", "scale": 2 }] });
        let (a, b) = (json!("a"), json!("b"));
        for names in [
            // As OpenAI's client for Python, as the one for JavaScript, and with numbers.
            [
                ("loras[][path]", &a),
                ("loras[][path]", &b),
                ("loras[][scale]", &json!(1)),
                ("loras[][scale]", &json!(2)),
            ],
            [
                ("loras[][path]", &a),
                ("loras[][scale]", &json!(1)),
                ("loras[][path]", &b),
                ("loras[][scale]", &json!(2)),
            ],
            [
                ("loras[0][path]", &a),
                ("loras[0][scale]", &json!(1)),
                ("loras[1][path]", &b),
                ("loras[1][scale]", &json!(2)),
            ],
        ] {
            assert_eq!(
                object(&names.map(|(name, value)| (name, value.clone()))),
                Ok(loras.clone()),
                "{names:?}"
            );
        }
        let flat =
            [("n", json!(1)), ("n", json!(2)), ("a[]", json!(1)), ("a[]", json!(2)), ("o[x][y]", json!(3))];
        assert_eq!(object(&flat), Ok(json!({ "n": 2, "a": [1, 2], "o": { "x": { "y": 3 } } })));
    }

    #[test]
    fn what_is_malformed_or_contradicts_is_refused() {
        for name in
            ["a[", "a]", "a[b", "a[b]c", "a[b[c]]", "a[][]", "a[1][2][3][4][5]", "a[99999999999999999999]"]
        {
            assert_eq!(Name::read(name), Err("a".to_owned()), "{name}");
        }
        for names in [["a[]", "a[b]"], ["a", "a[]"], ["a[0]", "a[0]"], ["a[b]", "a[b][c]"], ["a[0]", "a[2]"]]
        {
            assert_eq!(object(&names.map(|name| (name, json!(1)))), Err(Malformed), "{names:?}");
        }
    }

    #[test]
    fn entries_with_different_members_are_not_guessed() {
        assert_eq!(check_entries(&json!([{ "path": 1, "scale": 1 }, { "path": 2, "scale": 2 }])), Ok(()));
        assert_eq!(check_entries(&json!([{ "path": 1 }])), Ok(()));
        assert_eq!(check_entries(&json!([{ "path": 1, "scale": 1 }, { "path": 2 }])), Err(Malformed));
    }
}
