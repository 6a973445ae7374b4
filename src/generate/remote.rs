//! Generates pictures on a server: submits a job and follows it.

use std::{collections::BTreeSet, time::Duration};

use eventsource_stream::Eventsource;
use futures::StreamExt;
use glimpse_shared::{
    environment,
    event::{Event, Image, Warning},
    id::App,
    retry::Waits,
    shutdown::Shutdown,
};
use reqwest::{
    Client, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde_json::{Map, Value, json};

use super::{
    failure::{Failure, at},
    from::RecipeFile,
    made::Made,
    output::PreviewDir,
    progress::Progress,
};

/// The time in which a server must answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The number of times that a broken stream is resumed, and the first and the longest wait before that.
const RESUMES: u32 = 5;
const RESUME_WAITS: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(8));

/// Submits the request, shows its progress, and returns its pictures. Ctrl-C and SIGTERM cancel the job.
///
/// # Errors
/// See [`Failure`].
pub async fn make(
    server: Server,
    app: Option<App>,
    request: &Map<String, Value>,
    progress: &Progress,
    previews: Option<&PreviewDir>,
    shutdown: &Shutdown,
) -> Result<Made, Failure> {
    let app = match app {
        Some(app) => app,
        None => tokio::select! {
            app = server.only_app() => app?,
            signal = shutdown.requested() => return Err(Failure::Interrupted(signal)),
        },
    };
    let submit = server.submit(&app, request);
    tokio::pin!(submit);
    let job = tokio::select! {
        job = &mut submit => job?,
        signal = shutdown.requested() => {
            progress.cancelling();
            // The job may exist already: cancel it once its id is known.
            if let Ok(Ok(job)) = tokio::time::timeout(ANSWER_WITHIN, submit).await {
                server.cancel(&job).await?;
            }
            return Err(Failure::Interrupted(signal));
        }
    };
    tracing::info!(%job, %app, "submitted");
    let steps = request.get("num_inference_steps").and_then(Value::as_u64);
    let steps = steps.and_then(|steps| u32::try_from(steps).ok()).unwrap_or(20);
    tokio::select! {
        made = server.follow(&job, steps, progress, previews) => made,
        signal = shutdown.requested() => {
            progress.cancelling();
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

    fn unreachable(&self, cause: &reqwest::Error) -> Failure {
        // The outermost text is only "error sending request"; the innermost names the cause.
        let mut cause: &dyn std::error::Error = cause;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let mut cause = cause.to_string();
        if cause.contains("UnknownIssuer") {
            cause.push_str("; set SSL_CERT_FILE to the server's ca.pem");
        }
        Failure::Unreachable { server: self.name.clone(), cause }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        match tokio::time::timeout(ANSWER_WITHIN, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(Failure::Unreachable {
                server: self.name.clone(),
                cause: format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
            }),
        }
    }

    async fn json(&self, response: Response) -> Result<Value, Failure> {
        let status = response.status();
        let body = response.json::<Value>().await;
        if status.is_success() {
            return body.map_err(Failure::unforeseen);
        }
        let detail = body.ok().map(|body| detail(&body)).unwrap_or_else(|| status.to_string());
        Err(match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                Failure::Unreachable {
                    server: self.name.clone(),
                    cause: format!("it returned {status}: {detail}"),
                }
            }
            StatusCode::UNAUTHORIZED => Failure::BadInput(format!(
                "refused by {}: it wants a key (--key or GLIMPSE_KEY), and this is none of its keys",
                self.name
            )),
            _ if status.is_client_error() => Failure::BadInput(format!("refused by {}: {detail}", self.name)),
            _ => Failure::Unforeseen(format!("{} returned {status}: {detail}", self.name)),
        })
    }

    async fn only_app(&self) -> Result<App, Failure> {
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

    async fn submit(&self, app: &App, request: &Map<String, Value>) -> Result<String, Failure> {
        let mut body = json!(request);
        body["app"] = json!(app);
        // The answer may be lost: with this key a second submit returns the same job.
        let key = uuid::Uuid::new_v4().to_string();
        let post = || {
            let post = self.client.post(format!("{}/v1/jobs", self.url));
            self.send(post.header("Idempotency-Key", &key).json(&body))
        };
        let response = match post().await {
            Ok(response) => response,
            Err(_) => post().await?,
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

    /// Follows the job to its end and resumes a broken stream.
    async fn follow(
        &self,
        job: &str,
        steps: u32,
        progress: &Progress,
        previews: Option<&PreviewDir>,
    ) -> Result<Made, Failure> {
        progress.show(0, steps);
        let mut cursor: Option<String> = None;
        let mut broken = 0;
        let mut waits = Waits::new(RESUME_WAITS.0, RESUME_WAITS.1);
        loop {
            let mut get = self.client.get(format!("{}/v1/jobs/{job}/events", self.url));
            if let Some(id) = &cursor {
                get = get.header("Last-Event-ID", id);
            }
            let cause = match self.send(get).await {
                Ok(response) if response.status().is_success() => {
                    let mut events = response.bytes_stream().eventsource();
                    let mut cause = "the stream ended early".to_owned();
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(event) => {
                                broken = 0;
                                waits.reset();
                                let parsed =
                                    serde_json::from_str(&event.data).map_err(Failure::unforeseen)?;
                                if let Some(completed) = take(parsed, steps, progress, previews)? {
                                    return self.made(job, completed).await;
                                }
                                cursor = Some(event.id);
                            }
                            Err(error) => cause = error.to_string(),
                        }
                    }
                    cause
                }
                Ok(response) => return self.json(response).await.and(Err(Failure::unforeseen("no events"))),
                Err(Failure::Unreachable { cause, .. }) => cause,
                Err(other) => return Err(other),
            };
            broken += 1;
            if broken > RESUMES {
                return Err(Failure::Unreachable { server: self.name.clone(), cause });
            }
            tokio::time::sleep(waits.next()).await;
        }
    }

    /// The pictures of a completed job. Those that are not in the event are asked for by the job's id: the server may
    /// have told another address for them than the one that this client reaches it at.
    async fn made(&self, job: &str, completed: Completed) -> Result<Made, Failure> {
        let Completed { images, seed, seeds, warnings } = completed;
        let mut encoded = Vec::with_capacity(images.len());
        for (index, image) in images.iter().enumerate() {
            encoded.push(match image.decode() {
                Some(picture) => picture,
                None => self.picture(job, index).await?,
            });
        }
        Ok(Made { encoded, seed, seeds, warnings })
    }

    async fn picture(&self, job: &str, index: usize) -> Result<Vec<u8>, Failure> {
        let url = format!("{}/v1/jobs/{job}/image?index={index}", self.url);
        let mut waits = Waits::new(RESUME_WAITS.0, RESUME_WAITS.1);
        let mut broken = 0;
        loop {
            let cause = match self.send(self.client.get(&url)).await {
                Ok(response) if response.status().is_success() => match response.bytes().await {
                    Ok(picture) => return Ok(picture.into()),
                    Err(error) => self.unreachable(&error),
                },
                Ok(response) => match self.json(response).await {
                    Ok(_) => return Err(Failure::unforeseen("the server sent no picture")),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            broken += 1;
            if broken > RESUMES || !matches!(cause, Failure::Unreachable { .. }) {
                return Err(cause);
            }
            tokio::time::sleep(waits.next()).await;
        }
    }
}

/// What a completed job says.
struct Completed {
    images: Vec<Image>,
    seed: u64,
    seeds: Vec<u64>,
    warnings: Vec<Warning>,
}

/// Shows an event; returns what a completed job says.
fn take(
    event: Event,
    steps: u32,
    progress: &Progress,
    previews: Option<&PreviewDir>,
) -> Result<Option<Completed>, Failure> {
    match event {
        Event::Queued { .. } | Event::Started { .. } => {}
        Event::Preview { step, steps, image, .. } | Event::Partial { step, steps, image, .. } => {
            progress.show(step + 1, steps);
            if let Some(folder) = previews {
                folder.write(step, &decode(&image)?)?;
            }
        }
        Event::Completed { images, seed, seeds, warnings, .. } => {
            progress.show(steps, steps);
            if images.is_empty() {
                return Err(Failure::unforeseen("the job completed without a picture"));
            }
            return Ok(Some(Completed { images, seed, seeds, warnings }));
        }
        Event::Failed { code, message } => {
            return Err(Failure::Job(format!("{}: {message}", code.as_str())));
        }
        Event::Cancelled { by } => return Err(Failure::Job(format!("cancelled by {}", by.as_str()))),
    }
    Ok(None)
}

fn decode(image: &Image) -> Result<Vec<u8>, Failure> {
    image.decode().ok_or_else(|| Failure::unforeseen("the server sent a picture that is not a data URI"))
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
