//! `POST /v1/images/generations` and `POST /v1/images/edits`.

use axum::{
    Extension,
    extract::{
        State,
        multipart::{Multipart, MultipartRejection},
    },
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use glimpse_shared::{
    id::App,
    job::Class,
    request::{Dialect, Endpoint, FieldError, Names},
};
use serde_json::Value;

use super::{answer::Answer, form, options::Options};
use crate::{
    accept::{Terms, enter},
    admission::Served,
    connection::ClientInput,
    edge::with_id,
    error::ApiError,
    intake::{Headers, Parsed, parsed},
    reader::Reader,
    state::{Api, StoreDeadline},
    waiting,
    wire::OPENAI,
};

/// `POST /v1/images/generations`.
pub(super) async fn generate(
    State(api): State<Api>,
    Extension(input): Extension<ClientInput>,
    reader: Reader,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let fields = parsed(&api, &body).await?;
    // The client may wait long, and the memory for bodies is limited.
    drop(body);
    pictures(Endpoint::Generation, fields, &reader, &headers, input).await
}

/// `POST /v1/images/edits`.
pub(super) async fn edit(
    State(api): State<Api>,
    Extension(input): Extension<ClientInput>,
    reader: Reader,
    headers: HeaderMap,
    body: Result<Multipart, MultipartRejection>,
) -> Result<Response, ApiError> {
    let fields = form::parsed(&api, body).await?;
    pictures(Endpoint::Edit, fields, &reader, &headers, input).await
}

async fn pictures(
    endpoint: Endpoint,
    mut parsed: Parsed,
    reader: &Reader,
    headers: &HeaderMap,
    input: ClientInput,
) -> Result<Response, ApiError> {
    let api = reader.api();
    let place = api.stream()?;
    let options = Options::take(&mut parsed.fields);
    let mut headers = Headers::new(headers);
    let mut terms = Terms {
        caller: reader.caller().clone(),
        class: Class::Normal,
        start_timeout: api.config.start_timeout,
        on_disconnect: headers.on_disconnect().unwrap_or(api.config.on_disconnect),
        traceparent: headers.traceparent(),
        webhook: None,
        errors: options.errors,
    };
    terms.errors.append(&mut headers.errors);
    let mut deadline = StoreDeadline::default();
    let admitted = deadline.with(admitted(api, options.model)).await?;
    let dialect = Dialect { names: Names::OpenAi(endpoint), ..OPENAI.reads };
    let mut entered = enter(api, admitted, terms, parsed, dialect, deadline).await?;
    let id = entered.waited.id();
    let answer = Answer {
        endpoint,
        quality: options.quality,
        output_format: entered.output_format,
        pictures_at: options.with_urls.then(|| format!("{}/v1/jobs/{id}/image", reader.origin())),
    };
    let response = if options.streams {
        waiting::stream(reader, answer, entered, input, place).await
    } else {
        match waiting::completed(reader, &mut entered.waited, &input).await {
            Ok(json) => answer.whole(api, json).await,
            Err(error) => Err(error),
        }
    };
    Ok(with_id(response.into_response(), id))
}

/// The app of a request. Without a name it is the only one.
async fn admitted(api: &Api, model: Option<String>) -> Result<(App, Served), ApiError> {
    let app = match model {
        Some(name) => match name.parse::<App>() {
            Ok(app) => app,
            Err(_) => {
                return Err(ApiError::AppUnknown { app: name, served: api.admission.apps().await? });
            }
        },
        None => {
            let mut apps = api.admission.apps().await?;
            match (apps.pop(), apps.is_empty()) {
                (Some(only), true) => only,
                (None, _) => return Err(ApiError::NoneServed),
                (Some(last), false) => {
                    apps.push(last);
                    let names: Vec<_> = apps.iter().map(App::as_str).collect();
                    let msg = format!("Field required: this server has several models: {}", names.join(", "));
                    return Err(ApiError::field(FieldError::body("model", "missing", msg, &Value::Null)));
                }
            }
        }
    };
    let served = api.admission.served(&app).await?;
    Ok((app, served))
}
