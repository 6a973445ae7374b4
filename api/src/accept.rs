//! Accepts a request whose client waits on its connection: checks it and submits its job.

use std::time::Duration;

use bytes::Bytes;
use glimpse_shared::{
    id::{App, JobId},
    job::{Class, Job},
    request::{Dialect, FieldError, OutputFormat},
    webhook::Webhook,
};

use crate::{
    admission::Served,
    caller::Caller,
    check::checked,
    config::OnDisconnect,
    error::ApiError,
    intake::{Parsed, parsed},
    state::{Api, StoreDeadline},
    submit::{Accepted, Waited, submit_waited, unconfirmed},
};

/// What a wire reads outside of the body.
pub(crate) struct Terms {
    pub(crate) caller: Caller,
    pub(crate) class: Class,
    pub(crate) start_timeout: Duration,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) traceparent: Option<String>,
    pub(crate) webhook: Option<Webhook>,
    /// One entry per invalid value. They are reported together with the errors of the body.
    pub(crate) errors: Vec<FieldError>,
}

/// A job that is in its queue.
pub(crate) struct Entered {
    /// Cancels the job if the client disconnects.
    pub(crate) waited: Waited,
    /// How many waiting jobs are served first.
    pub(crate) position: u64,
    /// The prompt of the request.
    pub(crate) prompt: String,
    /// The encoding of the final pictures.
    pub(crate) output_format: OutputFormat,
}

/// Checks a request to the app that `app` names, and submits its job. Takes the body, because its memory is limited and
/// the client may wait long.
///
/// # Errors
/// When no worker serves the app, a value is invalid, or the job is not in the store for sure.
pub(crate) async fn accept(
    api: &Api,
    app: &str,
    terms: Terms,
    body: Bytes,
    dialect: Dialect,
) -> Result<Entered, ApiError> {
    let mut deadline = StoreDeadline::default();
    let admitted = deadline.with(async {
        let Ok(app) = app.parse::<App>() else {
            let served = api.admission.apps().await?;
            return Err(ApiError::AppUnknown { app: app.to_owned(), served });
        };
        let served = api.admission.served(&app).await?;
        Ok((app, served))
    });
    let admitted = admitted.await?;
    let parsed = parsed(api, &body).await?;
    enter(api, admitted, terms, parsed, dialect, deadline).await
}

/// Checks the fields of a request to an app, and submits its job.
///
/// # Errors
/// When a value is invalid, or the job is not in the store for sure.
pub(crate) async fn enter(
    api: &Api,
    (app, served): (App, Served),
    terms: Terms,
    parsed: Parsed,
    dialect: Dialect,
    mut deadline: StoreDeadline,
) -> Result<Entered, ApiError> {
    let Terms { caller, class, start_timeout, on_disconnect, traceparent, webhook, mut errors } = terms;
    let Parsed { fields, sent, digest, size } = parsed;
    let spec = match checked(api, fields, size, served.offer.clone(), dialect).await? {
        Ok(spec) if errors.is_empty() => spec,
        wrong => {
            errors.extend(wrong.err().unwrap_or_default());
            return Err(ApiError::Fields(errors).of_sent(&sent));
        }
    };
    api.policy.check(&app, caller.tenant(), &spec).await?;
    let (prompt, output_format) = (spec.prompt().to_owned(), spec.output_format());
    let job = Job {
        needs: served.needs(&spec).map_err(ApiError::Fields)?,
        id: JobId::new(&app),
        app,
        weight: caller.weight(),
        tenant: caller.tenant().to_owned(),
        class,
        affinity: spec.affinity(),
        spec,
        digest,
        start_timeout,
        run_timeout: api.config.run_timeout,
        retry_of: None,
        traceparent,
        webhook,
    };
    let (waited, accepted) =
        deadline.with(submit_waited(api, job, caller.quota(), served.workers, on_disconnect)).await?;
    match accepted {
        // The client gets an error and does not wait, so the job is handled as after a disconnect.
        Accepted::Unconfirmed { replicas } => Err(unconfirmed(api, waited.id(), replicas)),
        Accepted::Now { position } => Ok(Entered { waited, position, prompt, output_format }),
        // The submit was repeated.
        Accepted::Before => Ok(Entered { waited, position: 0, prompt, output_format }),
    }
}
