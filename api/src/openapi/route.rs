//! The description of a route: one method of one path.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Content, ObjectBuilder, RefOr, Required, Schema,
    path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
    request_body::RequestBodyBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::answer::Answer;

/// The names of the ways to send a key.
const BEARER: &str = "bearer";
const KEY: &str = "key";

/// The ways to send a key.
pub(super) fn schemes() -> [(String, RefOr<SecurityScheme>); 2] {
    let text = "A key of `--keys-file`. Without keys everybody is served, and a key is ignored.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text)).build();
    let key =
        ApiKeyValue::with_description("Authorization", "The same, as fal's clients send it: `Key KEY`.");
    [
        (BEARER.to_owned(), RefOr::T(SecurityScheme::Http(bearer))),
        (KEY.to_owned(), RefOr::T(SecurityScheme::ApiKey(ApiKey::Header(key)))),
    ]
}

/// A route that is described.
pub(super) struct Route {
    operation: OperationBuilder,
    answers: BTreeMap<u16, Answer>,
}

impl Route {
    /// With the name that generated clients give to the call.
    pub(super) fn new(name: &str, tag: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new().operation_id(Some(name)).tag(tag).summary(Some(summary));
        Self { operation, answers: BTreeMap::new() }
    }

    /// Adds what the summary does not say.
    pub(super) fn says(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// A part of the path.
    pub(super) fn path(self, name: &str, schema: ObjectBuilder, text: &str) -> Self {
        self.parameter(name, ParameterIn::Path, Required::True, schema, text)
    }

    /// An optional parameter of the query.
    pub(super) fn query(self, name: &str, schema: impl Into<RefOr<Schema>>, text: &str) -> Self {
        self.parameter(name, ParameterIn::Query, Required::False, schema, text)
    }

    /// An optional header.
    pub(super) fn header(self, name: &str, schema: ObjectBuilder, text: &str) -> Self {
        self.parameter(name, ParameterIn::Header, Required::False, schema, text)
    }

    fn parameter(
        mut self,
        name: &str,
        within: ParameterIn,
        required: Required,
        schema: impl Into<RefOr<Schema>>,
        text: &str,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(within)
            .required(required)
            .schema(Some(schema))
            .description(Some(text));
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// The body, in JSON.
    pub(super) fn body(self, schema: RefOr<Schema>) -> Self {
        self.body_of("application/json", schema)
    }

    /// The body, a form.
    pub(super) fn form(self, schema: RefOr<Schema>) -> Self {
        self.body_of("multipart/form-data", schema)
    }

    /// The body, a file of one of these media types.
    pub(super) fn file(mut self, media_types: &[&str]) -> Self {
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        let body = media_types
            .iter()
            .fold(body, |body, media_type| body.content(*media_type, Content::new(None::<RefOr<Schema>>)));
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    fn body_of(mut self, media_type: &str, schema: RefOr<Schema>) -> Self {
        let body = RequestBodyBuilder::new()
            .content(media_type, Content::new(Some(schema)))
            .required(Some(Required::True));
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    /// Where the API has keys, the route needs one.
    pub(super) fn secured(mut self) -> Self {
        let one_of = [BEARER, KEY].map(|scheme| SecurityRequirement::new(scheme, [""; 0]));
        self.operation = self.operation.security(SecurityRequirement::default());
        self.operation = one_of.into_iter().fold(self.operation, OperationBuilder::security);
        self
    }

    /// An answer, besides the ones with this status that were added before.
    pub(super) fn answer(mut self, status: u16, answer: Answer) -> Self {
        let known = self.answers.remove(&status);
        self.answers.insert(
            status,
            match known {
                Some(known) => known.or(answer),
                None => answer,
            },
        );
        self
    }

    /// The finished description.
    pub(super) fn build(self) -> Operation {
        let answers = self.answers.into_iter();
        answers
            .fold(self.operation, |operation, (status, answer)| {
                operation.response(status.to_string(), answer.build())
            })
            .build()
    }
}
