//! Generates pictures on a server: submits a job and follows it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use glimpse_shared::{environment, id::App, shutdown::Shutdown};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde_json::{Map, Value, json};

use super::{
    failure::{Failure, at},
    from::RecipeFile,
    made::Made,
    view::JobView,
};

/// The time in which a server must answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The time in which a server that is full must have a place for a patient client, and the longest wait between two tries.
const PLACE_WITHIN: Duration = Duration::from_secs(60 * 60);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Submits the request, shows its progress, and returns its pictures. Ctrl-C and SIGTERM cancel the job. A `patient` client
/// waits for a place where the server has none left.
///
/// # Errors
/// See [`Failure`].
pub async fn make(
    server: &Server,
    app: &App,
    request: &Map<String, Value>,
    view: &JobView<'_>,
    patient: bool,
    shutdown: &Shutdown,
) -> Result<Made, Failure> {
    let submit = server.submit(app, request, patient);
    tokio::pin!(submit);
    let job = tokio::select! {
        job = &mut submit => job?,
        signal = shutdown.requested() => {
            view.cancelling();
            // The job may exist already: cancel it once its id is known.
            if let Ok(Ok(job)) = tokio::time::timeout(ANSWER_WITHIN, submit).await {
                server.cancel(&job).await?;
            }
            return Err(Failure::Interrupted(signal));
        }
    };
    tracing::info!(job_id = %job, %app, "submitted");
    view.submitted(&job);
    let steps = request.get("num_inference_steps").and_then(Value::as_u64);
    view.at(0, steps.and_then(|steps| u32::try_from(steps).ok()).unwrap_or(20));
    tokio::select! {
        made = server.follow(&job, view) => made,
        signal = shutdown.requested() => {
            view.cancelling();
            server.cancel(&job).await?;
            Err(Failure::Interrupted(signal))
        }
    }
}

/// A server, and how it is reached.
pub struct Server {
    /// The address without a query, a fragment and a trailing `/`.
    url: String,
    /// The same without a login, for messages.
    name: String,
    client: Client,
}

impl Server {
    /// The server at `url`, which may want a key.
    ///
    /// # Errors
    /// If the address or the key cannot be one.
    pub fn new(url: &str, key: Option<&str>) -> Result<Self, Failure> {
        let wrong = |why: &str| Err(Failure::BadInput(format!("--server: {why}")));
        let url = match reqwest::Url::parse(url.trim()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            _ => return wrong("it is not an http:// or https:// address, such as http://localhost:8080"),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("it has a query (?) or a fragment (#): leave that out");
        }
        if url.port() == Some(0) {
            return wrong("its port is 0, where no server listens");
        }
        environment::check_proxies().map_err(|error| Failure::BadInput(error.to_string()))?;
        let mut named = url.clone();
        // This cannot fail for an address with a host.
        let _ = named.set_password(None).and_then(|()| named.set_username(""));
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let value = HeaderValue::try_from(format!("Bearer {key}"));
            let mut value = value.map_err(|_| {
                Failure::BadInput(
                    "--key: it has a character that no key has, such as a line break".to_owned(),
                )
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client =
            Client::builder().connect_timeout(Duration::from_secs(10)).default_headers(headers).build();
        let bare = |url: reqwest::Url| url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url: bare(url), name: bare(named), client: client.map_err(Failure::unforeseen)? })
    }

    /// The request for the events of a job.
    pub(super) fn events(&self, job: &str) -> RequestBuilder {
        self.client.get(format!("{}/v1/jobs/{job}/events", self.url))
    }

    /// The request for a picture of a completed job.
    pub(super) fn image(&self, job: &str, index: usize) -> RequestBuilder {
        self.client.get(format!("{}/v1/jobs/{job}/image?index={index}", self.url))
    }

    pub(super) fn lost(&self, cause: String) -> Failure {
        Failure::Unreachable { server: self.name.clone(), cause }
    }

    pub(super) fn unreachable(&self, cause: &reqwest::Error) -> Failure {
        // The outermost text is only "error sending request"; the innermost names the cause.
        let mut cause: &dyn std::error::Error = cause;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let mut cause = cause.to_string();
        if cause.contains("UnknownIssuer") {
            cause.push_str("; set SSL_CERT_FILE to the server's ca.pem");
        }
        self.lost(cause)
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        match tokio::time::timeout(ANSWER_WITHIN, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.lost(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
        }
    }

    pub(super) async fn json(&self, response: Response) -> Result<Value, Failure> {
        let status = response.status();
        let body = response.json::<Value>().await;
        if status.is_success() {
            return body.map_err(Failure::unforeseen);
        }
        let detail = body.ok().map(|body| detail(&body)).unwrap_or_else(|| status.to_string());
        Err(match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                self.lost(format!("it returned {status}: {detail}"))
            }
            StatusCode::UNAUTHORIZED => Failure::BadInput(format!(
                "refused by {}: it wants a key (--key or GLIMPSE_KEY), and this is none of its keys",
                self.name
            )),
            _ if status.is_client_error() => Failure::BadInput(format!("refused by {}: {detail}", self.name)),
            _ => Failure::Unforeseen(format!("{} returned {status}: {detail}", self.name)),
        })
    }

    /// The app of a server that has one.
    ///
    /// # Errors
    /// Names the apps if there are several. See [`Failure`].
    pub async fn only_app(&self) -> Result<App, Failure> {
        let response = self.send(self.client.get(format!("{}/v1/apps", self.url))).await?;
        let answer = self.json(response).await?;
        let apps = answer["apps"].as_array().cloned().unwrap_or_default();
        let apps: BTreeSet<&str> = apps.iter().filter_map(|offer| offer["app"].as_str()).collect();
        let mut names = apps.iter();
        match (names.next(), names.next()) {
            (Some(app), None) => app.parse().map_err(Failure::unforeseen),
            (None, _) => Err(Failure::BadInput(format!("app (--app): {} has no workers", self.name))),
            _ => {
                let names: Vec<&str> = apps.into_iter().collect();
                Err(Failure::BadInput(format!("app: choose one with --app: {}", names.join(", "))))
            }
        }
    }

    /// Asks the server what of a picture's recipe it does not have. A server of an earlier release cannot say.
    ///
    /// # Errors
    /// If something is missing that no flag replaces: `has_app` and `has_loras` say for what there are flags.
    pub async fn check_recipe(
        &self,
        from: &RecipeFile,
        has_app: bool,
        has_loras: bool,
    ) -> Result<(), Failure> {
        let post = self.client.post(format!("{}/v1/recipe", self.url));
        let response = self.send(post.body(from.bytes().clone())).await?;
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Ok(());
        }
        let answer = self.json(response).await?;
        let missing = answer["missing"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_missing = |part: &&Value| match part["what"].as_str() {
            Some("app") => !has_app,
            Some("lora") => !has_loras,
            Some("model") => true,
            // Pictures are checked here, and settings of other programs are said.
            _ => false,
        };
        let messages: Vec<_> =
            missing.iter().filter(is_missing).filter_map(|part| part["message"].as_str()).collect();
        if messages.is_empty() {
            return Ok(());
        }
        Err(Failure::BadInput(format!("--from: {}", messages.join("; "))))
    }

    async fn submit(
        &self,
        app: &App,
        request: &Map<String, Value>,
        patient: bool,
    ) -> Result<String, Failure> {
        let mut body = json!(request);
        body["app"] = json!(app);
        // The answer may be lost: with this key a second submit returns the same job.
        let key = uuid::Uuid::new_v4().to_string();
        let post = || {
            let post = self.client.post(format!("{}/v1/jobs", self.url));
            self.send(post.header("Idempotency-Key", &key).json(&body))
        };
        let begun = Instant::now();
        let response = loop {
            let response = match post().await {
                Ok(response) => response,
                Err(_) => post().await?,
            };
            let is_full = response.status() == StatusCode::TOO_MANY_REQUESTS;
            if !(patient && is_full && begun.elapsed() < PLACE_WITHIN) {
                break response;
            }
            tokio::time::sleep(retry_after(&response)).await;
        };
        let answer = self.json(response).await?;
        answer["id"]
            .as_str()
            .map(ToOwned::to_owned)
            .ok_or_else(|| Failure::Unforeseen(format!("{} returned no job id", self.name)))
    }

    /// The answer to a GET of this path.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        let response = self.send(self.client.get(format!("{}{path}", self.url))).await?;
        self.json(response).await
    }

    /// The answer to a DELETE of this path.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        let response = self.send(self.client.delete(format!("{}{path}", self.url))).await?;
        self.json(response).await
    }

    async fn cancel(&self, job: &str) -> Result<(), Failure> {
        let response = self.send(self.client.delete(format!("{}/v1/jobs/{job}", self.url))).await?;
        self.json(response).await.map(drop)
    }
}

/// How long a server asks a client to wait.
fn retry_after(response: &Response) -> Duration {
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(header.unwrap_or(1)).clamp(Duration::from_secs(1), LONGEST_WAIT)
}

/// The text of fal's error bodies: a string, or one entry per wrong field.
fn detail(body: &Value) -> String {
    match &body["detail"] {
        Value::String(text) => text.clone(),
        Value::Array(entries) => {
            let lines =
                entries.iter().map(|entry| at(&entry["loc"], entry["msg"].as_str().unwrap_or("wrong")));
            lines.collect::<Vec<_>>().join("; ")
        }
        _ => body.to_string(),
    }
}
