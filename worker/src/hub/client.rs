//! The Hub's protocol: the list of a model's files, the size and hash of each, and its contents from a given byte.

use std::collections::BTreeSet;
use std::error::Error;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LOCATION,
    RANGE,
};
use reqwest::{Method, Response, StatusCode, Url, redirect::Policy};
use serde::Deserialize;

use super::error::Problem;
use super::id::{HubId, is_commit};
use super::options::HubOptions;

/// A client of the Hub for one model.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    token: Option<HeaderValue>,
    id: HubId,
}

/// The files of a model.
pub struct Listing {
    /// The commit that its revision points to.
    pub commit: String,
    /// All its files.
    pub files: BTreeSet<String>,
}

/// The size and hash of a file, known before its contents are downloaded.
#[derive(Debug)]
pub struct Remote {
    /// The name of the contents in the cache: their SHA-256 for large files, else git's hash.
    pub etag: String,
    /// In bytes.
    pub size: u64,
}

impl Client {
    pub fn new(id: &HubId, options: &HubOptions) -> Result<Self, Problem> {
        let setting = |name, message: String| Problem::Setting { name, message };
        let endpoint = Url::parse(&options.endpoint).ok().filter(|url| url.has_host());
        let endpoint = endpoint.filter(|url| ["http", "https"].contains(&url.scheme()));
        let endpoint =
            endpoint.ok_or_else(|| setting("HF_ENDPOINT", "is not an http or https address".to_owned()))?;
        if endpoint.query().is_some() || endpoint.fragment().is_some() {
            let message = "has a ? or a # and something after it, which would not be used".to_owned();
            return Err(setting("HF_ENDPOINT", message));
        }
        if options.token.is_some() && (!endpoint.username().is_empty() || endpoint.password().is_some()) {
            let message = "has a login, and there is a token (HF_TOKEN) too: only one of them can be sent";
            return Err(setting("HF_ENDPOINT", message.to_owned()));
        }
        let token = options.token.as_ref().map(|token| {
            let mut header = HeaderValue::try_from(format!("Bearer {}", token.secret())).map_err(|_| {
                setting("HF_TOKEN", "contains characters that a token cannot have".to_owned())
            })?;
            header.set_sensitive(true);
            Ok(header)
        });
        // An error means that a provider is installed already. Without one the client cannot be built.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            // Redirects are followed here, because the first response has headers that the last one lacks.
            .redirect(Policy::none())
            .connect_timeout(options.silence)
            .read_timeout(options.silence)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| setting("the environment", format!("does not allow an HTTP client: {error}")))?;
        Ok(Self { http, endpoint, token: token.transpose()?, id: id.clone() })
    }

    /// The Hub's name for messages: without path and password.
    pub fn hub(&self) -> String {
        name(&self.endpoint)
    }

    /// The model's commit and files.
    pub async fn listing(&self) -> Result<Listing, Problem> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let HubId { owner, name, revision } = &self.id;
        let url = self.url(["api", "models", owner, name, "revision", revision]);
        let answer = self.send(Method::GET, url, 0).await?;
        let body = answer.bytes().await.map_err(|error| Self::unreachable(&self.endpoint, error))?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))?;
        if !is_commit(&answer.sha) {
            return Err(self.strange(format!("its commit is {:?}", answer.sha)));
        }
        let files = answer.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Listing { commit: answer.sha, files })
    }

    /// The size and hash of `file`.
    pub async fn describe(&self, commit: &str, file: &str) -> Result<Remote, Problem> {
        let answer = self.send(Method::HEAD, self.file_url(commit, file), 0).await?;
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = text("x-linked-etag").or_else(|| text(ETAG.as_str())).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let size = text("x-linked-size").or_else(|| text(CONTENT_LENGTH.as_str()));
        // The ETag becomes a file name.
        let plain = !etag.is_empty() && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match size.and_then(|size| size.parse().ok()) {
            Some(size) if plain && etag.len() <= 128 => Ok(Remote { etag: etag.to_owned(), size }),
            _ => Err(self.strange(format!("it sends no usable ETag or size for {file}"))),
        }
    }

    /// The contents of `file` from byte `from`, or from the start if the server does not support ranges. Returns
    /// the first byte that the response has.
    pub async fn open(&self, commit: &str, file: &str, from: u64) -> Result<(Response, u64), Problem> {
        let mut answer = self.send(Method::GET, self.file_url(commit, file), from).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            answer = self.send(Method::GET, self.file_url(commit, file), 0).await?;
        }
        let begins = match answer.status() {
            StatusCode::PARTIAL_CONTENT => begin(answer.headers()),
            _ => Some(0),
        };
        match begins {
            Some(begins) if begins == from || begins == 0 => Ok((answer, begins)),
            _ => Err(self.strange(format!("it sends {file} from another byte than requested"))),
        }
    }

    /// The problem for a connection that failed or broke.
    pub fn unreachable(url: &Url, error: reqwest::Error) -> Problem {
        // The signed URL of contents gives access to them, so it must not be logged.
        let error = error.without_url();
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            cause = format!("{cause}: {error}");
            source = error.source();
        }
        Problem::Unreachable { host: name(url), cause }
    }

    /// A body without a length that ends too early.
    pub fn cut(url: &Url) -> Problem {
        Problem::Unreachable { host: name(url), cause: "the connection was closed".to_owned() }
    }

    /// Sends a request and follows its redirects. The token is sent to the Hub only. A `HEAD` ends at the response
    /// that describes the file, even if that is a redirect to its contents.
    async fn send(&self, method: Method, mut url: Url, from: u64) -> Result<Response, Problem> {
        for _ in 0..10 {
            let mut request = self.http.request(method.clone(), url.clone());
            // Without this, sizes and ranges could be those of a compressed body.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let (Some(token), true) = (&self.token, url.origin() == self.endpoint.origin()) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let answer = request.send().await.map_err(|error| Self::unreachable(&url, error))?;
            let redirects = answer.status().is_redirection();
            let next = answer.headers().get(LOCATION).filter(|_| redirects);
            let has = |name: &str| answer.headers().contains_key(name);
            let described =
                redirects && method == Method::HEAD && has("x-linked-etag") && has("x-linked-size");
            match next {
                Some(next) if !described => {
                    let next = next.to_str().ok().and_then(|next| url.join(next).ok());
                    url = next.ok_or_else(|| {
                        self.strange("it sends a redirect without a valid address".to_owned())
                    })?;
                }
                _ => return self.checked(answer, described),
            }
        }
        Err(self.strange("it redirects more than 10 times".to_owned()))
    }

    fn checked(&self, answer: Response, described: bool) -> Result<Response, Problem> {
        let (status, hub) = (answer.status(), self.hub());
        let code = answer.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or("");
        match status.as_u16() {
            200 | 206 | 416 => Ok(answer),
            _ if described => Ok(answer),
            404 if code == "RevisionNotFound" => {
                Err(Problem::NoRevision { hub, revision: self.id.revision.clone() })
            }
            404 if code != "EntryNotFound" => Err(Problem::NoModel { hub }),
            401 | 403 => {
                Err(Problem::Refused { hub, status: status.as_u16(), with_token: self.token.is_some() })
            }
            408 | 429 | 500..=599 => {
                Err(Problem::Unreachable { host: name(answer.url()), cause: format!("it answers {status}") })
            }
            _ => Err(self.strange(format!("{status} {code}"))),
        }
    }

    fn strange(&self, message: String) -> Problem {
        Problem::NotAHub { host: self.hub(), message }
    }

    fn file_url(&self, commit: &str, file: &str) -> Url {
        let HubId { owner, name, .. } = &self.id;
        self.url([owner, name, "resolve", commit].into_iter().chain(file.split('/')))
    }

    /// A URL below the endpoint. Each segment is percent-encoded, slashes too.
    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        // This fails only for URLs that cannot have a path; the endpoint has a host.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

fn name(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The first byte in `Content-Range: bytes 5-9/10`.
fn begin(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}
