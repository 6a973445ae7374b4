//! Inputs of a realtime connection: a map in msgpack or in JSON.

use std::collections::VecDeque;

use bytes::Bytes;
use glimpse_shared::request::{FieldError, parse_msgpack, parse_object, sent};
use serde_json::{Map, Value};

use crate::{error::ApiError, state::Api};

/// The format of an input, and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Msgpack,
    Json,
}

/// An input that is not parsed yet.
pub(super) struct Message {
    pub(super) format: Format,
    /// Its memory counts as that of the bodies of requests.
    pub(super) bytes: Bytes,
}

/// A request.
pub(super) struct Input {
    /// The body of the same request over HTTP, in JSON.
    pub(super) body: Bytes,
    /// The client's name for it, which its answer repeats.
    pub(super) request_id: Option<Value>,
    /// The input as the errors of missing fields show it.
    pub(super) sent: Value,
    /// One entry for each value that JSON does not have.
    pub(super) errors: Vec<FieldError>,
}

impl Message {
    /// Parses the input.
    ///
    /// # Errors
    /// When it is not a map.
    pub(super) async fn parsed(self, api: &Api) -> Result<Input, ApiError> {
        let Self { format, bytes } = self;
        let size = bytes.len();
        let parse = move || {
            let (mut fields, errors) = match format {
                Format::Msgpack => parse_msgpack(&bytes)?,
                Format::Json => (parse_object(&bytes)?, Vec::new()),
            };
            let sent = sent(&fields);
            let request_id = fields.remove("request_id").filter(|id| !id.is_null());
            adapt(&mut fields);
            let body = Value::Object(fields).to_string().into();
            Ok::<_, Vec<FieldError>>(Input { body, request_id, sent, errors })
        };
        api.requests.run_if_large(size, parse).await?.map_err(ApiError::Fields)
    }
}

/// Adapts a request to a connection that sends final pictures, and sends them itself.
fn adapt(fields: &mut Map<String, Value>) {
    fields.insert("preview_every".to_owned(), 0.into());
    fields.insert("sync_mode".to_owned(), true.into());
}

/// The inputs that wait. When it is full, the oldest is dropped for a new one.
pub(super) struct Waiting {
    inputs: VecDeque<Message>,
    /// How many may wait.
    most: usize,
}

impl Waiting {
    pub(super) fn new(most: usize) -> Self {
        Self { inputs: VecDeque::new(), most }
    }

    pub(super) fn push(&mut self, input: Message) {
        while self.inputs.len() >= self.most && self.inputs.pop_front().is_some() {}
        self.inputs.push_back(input);
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        self.inputs.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.inputs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest() {
        for (most, left) in [(1, &["4"][..]), (3, &["2", "3", "4"]), (9, &["1", "2", "3", "4"])] {
            let mut waiting = Waiting::new(most);
            for name in ["1", "2", "3", "4"] {
                waiting.push(Message { format: Format::Json, bytes: name.into() });
            }
            let names: Vec<_> = std::iter::from_fn(|| waiting.pop()).map(|input| input.bytes).collect();
            assert_eq!(names, left);
        }
    }
}
