//! Parses a message in MessagePack into the object that the same message in JSON gives.

use std::cell::Cell;

use serde::{
    Deserialize,
    de::{DeserializeSeed, IgnoredAny},
};
use serde_json::{Map, Value, json};

use super::{
    field_error::{FieldError, Loc},
    object::{Counted, MOST_VALUES, object_of},
};

/// How deep lists and maps may be nested, as in JSON.
const DEEPEST: usize = 128;

/// Parses a message into an object, with the limits of [`super::parse_object`]. Bytes become a data URI, as a picture in
/// JSON has it.
///
/// # Errors
/// One entry with `loc` = `["body"]` if the bytes are not one value, or are not a map whose keys are strings.
pub fn parse_msgpack(message: &[u8]) -> Result<Map<String, Value>, Vec<FieldError>> {
    let parsed = parse(message).map_err(|error| {
        vec![FieldError {
            loc: vec![Loc::Name("body".to_owned())],
            msg: "MessagePack decode error".to_owned(),
            kind: "msgpack_invalid",
            input: Some(json!({})),
            ctx: Some(json!({ "error": error })),
        }]
    });
    object_of(parsed?)
}

fn parse(message: &[u8]) -> Result<Value, String> {
    let left = Cell::new(MOST_VALUES);
    let mut msgpack = rmp_serde::Deserializer::from_read_ref(message);
    msgpack.set_max_depth(DEEPEST);
    let value = Counted(&left).deserialize(&mut msgpack).map_err(|error| error.to_string())?;
    match IgnoredAny::deserialize(&mut msgpack) {
        Ok(_) => Err("more than one value".to_owned()),
        Err(_) => Ok(value),
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
        assert_eq!(Value::Object(parse_msgpack(&message).unwrap()), object);
        // {"image": <3 bytes>}
        let message = b"\x81\xa5image\xc4\x03\xff\xd8\xff";
        assert_eq!(Value::Object(parse_msgpack(message).unwrap()), json!({ "image": "data:;base64,/9j/" }));
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
