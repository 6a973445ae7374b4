//! Parses a message in MessagePack into the object that the same message in JSON gives.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, json};

use super::{
    field_error::{FieldError, Loc},
    object::{MOST_VALUES, count, object_of},
};

/// How deep lists and maps may be nested, as in JSON.
const DEEPEST: usize = 128;

/// The fields that may be bytes: the file of a picture.
const PICTURES: [&str; 4] = ["image", "mask", "image_url", "mask_url"];
/// The same of each entry of `controlnets`.
const CONTROL_PICTURES: [&str; 2] = ["image", "image_url"];

/// The object of a message, and one entry for each value that JSON does not have.
pub type Unpacked = (Map<String, Value>, Vec<FieldError>);

/// Parses a message into an object, with the limits of [`super::parse_object`]. The bytes of a picture become a data URI,
/// as a picture in JSON has it. The second value has one entry for each value that JSON does not have: bytes elsewhere,
/// a text that is not UTF-8, NaN and the infinities. In the object these are `null`.
///
/// # Errors
/// One entry with `loc` = `["body"]` if the bytes are not one value, or are not a map whose keys are strings.
pub fn parse_msgpack(message: &[u8]) -> Result<Unpacked, Vec<FieldError>> {
    let document = Document { left: Cell::new(MOST_VALUES), wrong: RefCell::default() };
    let parsed = parse(message, &document).map_err(|error| {
        vec![FieldError {
            loc: vec![Loc::Name("body".to_owned())],
            msg: "MessagePack decode error".to_owned(),
            kind: "msgpack_invalid",
            input: Some(json!({})),
            ctx: Some(json!({ "error": error })),
        }]
    });
    Ok((object_of(parsed?)?, document.wrong.into_inner()))
}

fn parse(message: &[u8], document: &Document) -> Result<Value, String> {
    let mut msgpack = rmp_serde::Deserializer::from_read_ref(message);
    msgpack.set_max_depth(DEEPEST);
    let whole = Node { document, place: Place::Whole };
    let value = whole.deserialize(&mut msgpack).map_err(|error| error.to_string())?;
    match IgnoredAny::deserialize(&mut msgpack) {
        Ok(_) => Err("more than one value".to_owned()),
        Err(_) => Ok(value),
    }
}

/// What is known of a message while it is read.
struct Document {
    /// How many more values it may have.
    left: Cell<usize>,
    wrong: RefCell<Vec<FieldError>>,
}

/// Where a value is.
#[derive(Clone, Copy)]
enum Place<'a> {
    Whole,
    Member(&'a Place<'a>, &'a str),
    Entry(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn path(self) -> Vec<Loc> {
        let (within, last) = match self {
            Self::Whole => return Vec::new(),
            Self::Member(within, name) => (within, Loc::Name(name.to_owned())),
            Self::Entry(within, index) => (within, Loc::Index(index)),
        };
        let mut path = within.path();
        path.push(last);
        path
    }

    /// Whether it is a field of a picture: of the request, or of one of its ControlNets.
    fn is_picture(self) -> bool {
        match self {
            Self::Member(Place::Whole, name) => PICTURES.contains(&name),
            Self::Member(Place::Entry(Place::Member(Place::Whole, "controlnets"), _), name) => {
                CONTROL_PICTURES.contains(&name)
            }
            _ => false,
        }
    }
}

/// Builds the value at a place.
#[derive(Clone, Copy)]
struct Node<'a> {
    document: &'a Document,
    place: Place<'a>,
}

impl Node<'_> {
    /// A value that JSON does not have.
    fn wrong(self, kind: &'static str, msg: &str) -> Value {
        let mut error = FieldError::within_body(self.place.path(), kind, msg, &Value::Null);
        // JSON cannot show it.
        error.input = None;
        self.document.wrong.borrow_mut().push(error);
        Value::Null
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, msgpack: D) -> Result<Value, D::Error> {
        count(&self.document.left)?;
        msgpack.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has, or bytes")
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
        let number = Number::from_f64(value).map(Value::Number);
        Ok(number.unwrap_or_else(|| self.wrong("finite_number", "Input should be a finite number")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    /// Also a text that is not UTF-8: the oldest form of MessagePack has no other bytes.
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        if self.place.is_picture() {
            return Ok(format!("data:;base64,{}", STANDARD.encode(bytes)).into());
        }
        let msg = format!(
            "Input should not be bytes, and a text should be UTF-8: only {} and {} of controlnets may be bytes",
            PICTURES.join(", "),
            CONTROL_PICTURES.join(", ")
        );
        Ok(self.wrong("string_unicode", &msg))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        let entry = |index| Node { place: Place::Entry(&self.place, index), ..self };
        while let Some(value) = seq.next_element_seed(entry(values.len()))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            count(&self.document.left)?;
            let member = Node { place: Place::Member(&self.place, &name), ..self };
            let value = map.next_value_seed(member)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_object_that_json_gives() {
        let object = json!({
            "prompt": "a é", "seed": 7, "neg": -3, "big": u64::MAX, "half": 0.5, "none": null, "yes": true,
            "list": [1, [2], {"a": "b"}],
        });
        let message = rmp_serde::to_vec_named(&object).unwrap();
        assert_eq!(parse_msgpack(&message).unwrap(), (object.as_object().unwrap().clone(), Vec::new()));
        // {"image": <3 bytes>}
        let message = b"\x81\xa5image\xc4\x03\xff\xd8\xff";
        let (object, wrong) = parse_msgpack(message).unwrap();
        assert_eq!((Value::Object(object), wrong), (json!({ "image": "data:;base64,/9j/" }), Vec::new()));
        for name in CONTROL_PICTURES {
            let length = [0xa0 | name.len() as u8];
            let head = &b"\x81\xabcontrolnets\x91\x81"[..];
            let message = [head, &length, name.as_bytes(), b"\xc4\x03\xff\xd8\xff"].concat();
            let (object, wrong) = parse_msgpack(&message).unwrap();
            let expected = json!({ "controlnets": [{ name: "data:;base64,/9j/" }] });
            assert_eq!((Value::Object(object), wrong), (expected, Vec::new()));
        }
    }

    #[test]
    fn values_that_json_does_not_have_are_named() {
        let bytes = &b"\xc4\x03\xff\xd8\xff"[..];
        let no_text = &b"\xa3\xff\xd8\xff"[..];
        let double = |number: f64| [&b"\xcb"[..], &number.to_be_bytes()].concat();
        let single = [&b"\xca"[..], &f32::INFINITY.to_be_bytes()].concat();
        let lora = |scale: &[u8]| [&b"\x91\x81\xa5scale"[..], scale].concat();
        for (name, value, loc, kind) in [
            ("guidance_scale", double(f64::NAN), json!(["body", "guidance_scale"]), "finite_number"),
            ("strength", double(f64::NEG_INFINITY), json!(["body", "strength"]), "finite_number"),
            ("seed", single, json!(["body", "seed"]), "finite_number"),
            ("loras", lora(&double(f64::NAN)), json!(["body", "loras", 0, "scale"]), "finite_number"),
            ("prompt", bytes.to_vec(), json!(["body", "prompt"]), "string_unicode"),
            ("prompt", no_text.to_vec(), json!(["body", "prompt"]), "string_unicode"),
            ("request_id", bytes.to_vec(), json!(["body", "request_id"]), "string_unicode"),
            ("image", [&b"\x91"[..], bytes].concat(), json!(["body", "image", 0]), "string_unicode"),
            (
                "controlnets",
                [&b"\x91\x81\xa4path"[..], bytes].concat(),
                json!(["body", "controlnets", 0, "path"]),
                "string_unicode",
            ),
        ] {
            let length = [0xa0 | name.len() as u8];
            let message = [&b"\x81"[..], &length, name.as_bytes(), &value].concat();
            let (_, wrong) = parse_msgpack(&message).unwrap();
            let told: Vec<_> = wrong.iter().map(|error| (json!(error.loc), error.kind)).collect();
            assert_eq!(told, [(loc, kind)], "{name}");
        }
        for name in PICTURES {
            for value in [bytes, no_text] {
                let length = [0xa0 | name.len() as u8];
                let message = [&b"\x81"[..], &length, name.as_bytes(), value].concat();
                let (object, wrong) = parse_msgpack(&message).unwrap();
                assert_eq!((&object[name], wrong), (&json!("data:;base64,/9j/"), Vec::new()));
            }
        }
    }

    #[test]
    fn other_messages_are_refused_and_take_little_memory() {
        let kind = |message: &[u8]| parse_msgpack(message).unwrap_err()[0].kind;
        let nested = [&b"\x81\xa1a"[..], &[0x91; 100_000]].concat();
        let many = [&b"\x81\xa1a\xdd\x00\x10\x00\x00"[..], &[0x80; 1 << 20]].concat();
        for message in [
            &b""[..],
            b"\x81",
            b"\xc1",
            b"\x81\x01\x02",
            b"\x81\xa1a\xc7\x01\x05\x00",
            b"\x81\xa1a\xdb\xff\xff\xff\xff",
            b"\x81\xa1a\xc6\xff\xff\xff\xff",
            b"\x81\xa1a\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\x80\x80",
            &nested,
            &many,
        ] {
            assert_eq!(kind(message), "msgpack_invalid", "{:?}", &message[..message.len().min(20)]);
        }
        for message in [&b"\x90"[..], b"\x01", b"\xa1a", b"\xc0"] {
            assert_eq!(kind(message), "model_attributes_type", "{message:?}");
        }
    }
}
