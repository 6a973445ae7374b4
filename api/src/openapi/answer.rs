//! The answers of a route.

use utoipa::openapi::{
    Content, Header, Object, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema,
    schema::{AnyOfBuilder, Type},
};

use super::field::{member, string};

/// The answers with one status: one, or several that the client tells apart by their members.
#[derive(Default)]
pub(super) struct Answer {
    /// When it is given: one sentence each.
    texts: Vec<&'static str>,
    /// Media types and schemas.
    bodies: Vec<(&'static str, RefOr<Schema>)>,
    /// Names of headers, besides those of every answer.
    headers: Vec<&'static str>,
}

/// An answer without a body.
pub(super) fn empty(text: &'static str) -> Answer {
    Answer { texts: vec![text], ..Answer::default() }
}

/// An answer in JSON.
pub(super) fn json(text: &'static str, schema: RefOr<Schema>) -> Answer {
    body(text, "application/json", schema)
}

/// A server-sent event, whose `data` is JSON of this schema.
pub(super) fn event(data: RefOr<Schema>) -> ObjectBuilder {
    let data = string().content_media_type("application/json").content_schema(Some(data));
    member(Object::builder(), "data", data).description(Some("Each event of the stream"))
}

/// Server-sent events. Up to OpenAPI 3.1 the schema of a stream is that of each of its events.
pub(super) fn events(text: &'static str, event: ObjectBuilder) -> Answer {
    body(text, "text/event-stream", event.into())
}

/// A file of one of these media types.
pub(super) fn file(text: &'static str, media_types: &[&'static str]) -> Answer {
    let bytes = || RefOr::T(Object::builder().schema_type(Type::String).build().into());
    Answer {
        texts: vec![text],
        bodies: media_types.iter().map(|media_type| (*media_type, bytes())).collect(),
        headers: Vec::new(),
    }
}

fn body(text: &'static str, media_type: &'static str, schema: RefOr<Schema>) -> Answer {
    Answer { texts: vec![text], bodies: vec![(media_type, schema)], headers: Vec::new() }
}

impl Answer {
    /// Adds a header.
    pub(super) fn header(mut self, name: &'static str) -> Self {
        if !self.headers.contains(&name) {
            self.headers.push(name);
        }
        self
    }

    /// Adds another answer of the same status.
    pub(super) fn or(mut self, other: Self) -> Self {
        self.texts.extend(other.texts);
        for (media_type, schema) in other.bodies {
            if !self.bodies.contains(&(media_type, schema.clone())) {
                self.bodies.push((media_type, schema));
            }
        }
        other.headers.into_iter().fold(self, Self::header)
    }

    /// The description of the response.
    pub(super) fn build(self) -> Response {
        let mut response = ResponseBuilder::new().description(self.texts.join(" "));
        let mut media_types: Vec<_> = self.bodies.iter().map(|(media_type, _)| *media_type).collect();
        media_types.sort_unstable();
        media_types.dedup();
        for media_type in media_types {
            let schemas = self.bodies.iter().filter(|(known, _)| *known == media_type);
            let schemas: Vec<_> = schemas.map(|(_, schema)| schema.clone()).collect();
            response = response.content(media_type, Content::new(Some(any_of(schemas))));
        }
        for name in self.headers.into_iter().chain([HEADERS[0].0, HEADERS[1].0]) {
            response = response.header_ref(name, Ref::new(format!("#/components/headers/{name}")));
        }
        response.build()
    }
}

/// The headers that answers have: their names, types and meanings. Every answer has the first two.
const HEADERS: [(&str, Type, &str); 5] = [
    ("X-Request-Id", Type::String, "The id of the job if there is one, else of the request"),
    ("X-Fal-Request-Id", Type::String, "The same as `X-Request-Id`"),
    (RETRY_AFTER, Type::Integer, "Seconds after which to try again"),
    (LOCATION, Type::String, "The path of the job"),
    (WWW_AUTHENTICATE, Type::String, "The schemes of a key"),
];

pub(super) const RETRY_AFTER: &str = "Retry-After";
pub(super) const WWW_AUTHENTICATE: &str = "WWW-Authenticate";
pub(super) const LOCATION: &str = "Location";

/// The headers of answers, by their names.
pub(super) fn headers() -> impl Iterator<Item = (&'static str, RefOr<Header>)> {
    HEADERS.into_iter().map(|(name, of, text)| {
        let mut header = Header::new(Object::with_type(of));
        header.description = Some(text.to_owned());
        (name, RefOr::T(header))
    })
}

/// One schema, or any of several.
pub(super) fn any_of(mut schemas: Vec<RefOr<Schema>>) -> RefOr<Schema> {
    if schemas.len() == 1 {
        return schemas.remove(0);
    }
    schemas.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
}
