//! The Hub's HTTP protocol: a model's list of files, the size and hash of a file, and its contents from a given byte.

use std::collections::BTreeSet;
use std::error::Error;

use glimpse_shared::environment;
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
    /// The commit of its revision.
    pub commit: String,
    /// All its files.
    pub files: BTreeSet<String>,
}

/// The size and hash of a file on the Hub.
#[derive(Debug)]
pub struct Remote {
    /// The name of the contents in the cache: the SHA-256 of a large file, git's hash of a small one.
    pub etag: String,
    /// Size in bytes.
    pub size: u64,
}

impl Client {
    pub fn new(id: &HubId, options: &HubOptions) -> Result<Self, Problem> {
        let setting = |name, message: String| Problem::Setting { name, message };
        let endpoint = Url::parse(&options.endpoint).ok().filter(|url| url.has_host());
        let endpoint = endpoint.filter(|url| ["http", "https"].contains(&url.scheme()));
        let endpoint =
            endpoint.ok_or_else(|| setting("HF_ENDPOINT", "is not an http or https URL".to_owned()))?;
        if endpoint.query().is_some() || endpoint.fragment().is_some() {
            let message = "has a query or a fragment, which would not be used: remove it".to_owned();
            return Err(setting("HF_ENDPOINT", message));
        }
        if options.token.is_some() && (!endpoint.username().is_empty() || endpoint.password().is_some()) {
            let message = "has a login, and a token (HF_TOKEN) is set too: remove one of them";
            return Err(setting("HF_ENDPOINT", message.to_owned()));
        }
        let token = options.token.as_ref().map(|token| {
            let mut header = HeaderValue::try_from(format!("Bearer {}", token.secret())).map_err(|_| {
                setting("HF_TOKEN", "contains characters that a token cannot have".to_owned())
            })?;
            header.set_sensitive(true);
            Ok(header)
        });
        environment::check_proxies().map_err(|error| setting(error.name, error.why.to_owned()))?;
        // The client needs a TLS provider. An error means that one is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            // `send` follows redirects, because only the first response has the file's headers.
            .redirect(Policy::none())
            .connect_timeout(options.connect)
            .read_timeout(options.silence)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| setting("the environment", format!("does not allow an HTTP client: {error}")))?;
        Ok(Self { http, endpoint, token: token.transpose()?, id: id.clone() })
    }

    /// The Hub's origin, for messages: without path and password.
    pub fn hub(&self) -> String {
        name(&self.endpoint)
    }

    /// The model's commit and files.
    pub async fn listing(&self) -> Result<Listing, Problem> {
        #[derive(Deserialize)]
        struct Body {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let HubId { owner, name, revision } = &self.id;
        let url = self.url(["api", "models", owner, name, "revision", revision]);
        let response = self.send(Method::GET, url, 0).await?;
        let body = response.bytes().await.map_err(|error| Self::unreachable(&self.endpoint, error))?;
        let response: Body =
            serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))?;
        if !is_commit(&response.sha) {
            return Err(self.strange(format!("its commit is {:?}", response.sha)));
        }
        let files = response.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Listing { commit: response.sha, files })
    }

    /// The size and hash of `file`.
    pub async fn describe(&self, commit: &str, file: &str) -> Result<Remote, Problem> {
        let response = self.send(Method::HEAD, self.file_url(commit, file), 0).await?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
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

    /// Requests the contents of `file` from byte `from`. Returns the response and its first byte: `from`, or 0 if the
    /// server does not support ranges.
    pub async fn open(&self, commit: &str, file: &str, from: u64) -> Result<(Response, u64), Problem> {
        let mut response = self.send(Method::GET, self.file_url(commit, file), from).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            response = self.send(Method::GET, self.file_url(commit, file), 0).await?;
        }
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT => begin(response.headers()),
            _ => Some(0),
        };
        match begins {
            Some(begins) if begins == from || begins == 0 => Ok((response, begins)),
            _ => Err(self.strange(format!("it sends {file} from another byte than requested"))),
        }
    }

    /// The problem for a connection that failed.
    pub fn unreachable(url: &Url, error: reqwest::Error) -> Problem {
        // A signed URL gives access to the contents, so it must not be logged.
        let error = error.without_url();
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            cause = format!("{cause}: {error}");
            source = error.source();
        }
        Problem::Unreachable { host: name(url), cause }
    }

    /// The problem for a body that ended too early.
    pub fn closed_early(url: &Url) -> Problem {
        Problem::Unreachable { host: name(url), cause: "the connection was closed".to_owned() }
    }

    /// Sends a request and follows redirects. The token is only sent to the Hub. A `HEAD` request ends at the response
    /// that describes the file, even if that response is a redirect.
    async fn send(&self, method: Method, mut url: Url, from: u64) -> Result<Response, Problem> {
        for _ in 0..10 {
            let mut request = self.http.request(method.clone(), url.clone());
            // Otherwise sizes and ranges could be those of a compressed body.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let (Some(token), true) = (&self.token, url.origin() == self.endpoint.origin()) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|error| Self::unreachable(&url, error))?;
            let redirects = response.status().is_redirection();
            let next = response.headers().get(LOCATION).filter(|_| redirects);
            let has = |name: &str| response.headers().contains_key(name);
            let described =
                redirects && method == Method::HEAD && has("x-linked-etag") && has("x-linked-size");
            match next {
                Some(next) if !described => {
                    let next = next.to_str().ok().and_then(|next| url.join(next).ok());
                    url = next
                        .ok_or_else(|| self.strange("it sends a redirect without a valid URL".to_owned()))?;
                }
                _ => return self.checked(response, described),
            }
        }
        Err(self.strange("it redirects more than 10 times".to_owned()))
    }

    fn checked(&self, response: Response, described: bool) -> Result<Response, Problem> {
        let (status, hub) = (response.status(), self.hub());
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or("");
        match status.as_u16() {
            200 | 206 | 416 => Ok(response),
            _ if described => Ok(response),
            404 if code == "RevisionNotFound" => {
                Err(Problem::NoRevision { hub, revision: self.id.revision.clone() })
            }
            404 if code != "EntryNotFound" => Err(Problem::NoModel { hub }),
            401 | 403 => {
                Err(Problem::Refused { hub, status: status.as_u16(), with_token: self.token.is_some() })
            }
            408 | 429 | 500..=599 => Err(Problem::Unreachable {
                host: name(response.url()),
                cause: format!("it answers {status}"),
            }),
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

/// The first byte of a range: 5 in `Content-Range: bytes 5-9/10`.
fn begin(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}
