//! The configuration of the API. Each field defines its flag, its environment variable and its help text.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use glimpse_shared::{metrics::Metrics, outbound::TrustedHost, results::Results, store::Rules};

use crate::{
    fetch::FetchLimits,
    keys::KeyFlags,
    policy::PolicyFlags,
    public_address::{ProxyNet, PublicUrl},
    tls::{Tls, TlsError, TlsFlags},
    webhooks::{WebhookKey, WebhookLimits},
};

/// The largest `--body-limit`, in bytes.
pub(crate) const LARGEST_BODY: u64 = 1 << 30;

/// The flags of the API.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "GLIMPSE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// The certificate for https.
    #[command(flatten)]
    pub tls: TlsFlags,

    /// The address of this API for its clients, as `https://example.com`, for every absolute URL in a response. [default:
    /// the address that the request names]
    #[arg(long, env = "GLIMPSE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Who may call the API.
    #[command(flatten)]
    pub keys: KeyFlags,

    /// What may be drawn.
    #[command(flatten)]
    pub policy: PolicyFlags,

    /// Proxies whose `X-Forwarded-Proto` counts, addresses or networks.
    #[arg(
        long,
        env = "GLIMPSE_TRUSTED_PROXIES",
        value_name = "NET",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1/128"
    )]
    pub trusted_proxies: Vec<ProxyNet>,

    /// Largest body of a request, in bytes, at most 1 GiB; a larger one gets 413. Pictures in data URIs count.
    #[arg(long, env = "GLIMPSE_BODY_LIMIT", value_name = "BYTES", default_value_t = 16 << 20,
        value_parser = clap::value_parser!(u64).range(..=LARGEST_BODY))]
    pub body_limit: u64,

    /// Fetches pictures that requests give as URLs (`image`, `mask`), only from public hosts. Without this flag,
    /// pictures must be data URIs.
    #[arg(long, env = "GLIMPSE_ALLOW_IMAGE_URLS", value_parser = FalseyValueParser::new())]
    pub allow_image_urls: bool,

    /// The only hosts to fetch pictures from, names or addresses; they may be in a private network. [default: all
    /// public hosts]
    #[arg(
        long,
        env = "GLIMPSE_ALLOW_IMAGE_HOSTS",
        value_name = "HOST",
        value_delimiter = ',',
        requires = "allow_image_urls"
    )]
    pub allow_image_hosts: Vec<TrustedHost>,

    /// Limits for fetching a picture.
    #[arg(skip)]
    pub fetch_limits: FetchLimits,

    /// Where the workers keep finished pictures; `None`: inside the events.
    #[arg(skip)]
    pub results: Option<Results>,

    /// The metrics of the process; `None`: metrics of an API of its own.
    #[arg(skip)]
    pub metrics: Option<Metrics>,

    /// Calls webhooks (`fal_webhook`, `webhook`) at loopback, private and link-local addresses too. Without this flag, only
    /// public addresses are called.
    #[arg(long, env = "GLIMPSE_ALLOW_PRIVATE_WEBHOOKS", value_parser = FalseyValueParser::new())]
    pub allow_private_webhooks: bool,

    /// The private Ed25519 key that signs webhooks, as PEM (PKCS#8); all APIs of a fleet need the same. [default: a key
    /// that the fleet creates and keeps in its store]
    #[arg(long, env = "GLIMPSE_WEBHOOK_KEY", value_name = "FILE", value_parser = WebhookKey::read)]
    pub webhook_key: Option<WebhookKey>,

    /// Limits for calling a webhook.
    #[arg(skip)]
    pub webhook_limits: WebhookLimits,

    /// What happens to a job when its client disconnects from `/OWNER/APP/stream` or `/OWNER/APP`, unless the request
    /// sets it (`X-Glimpse-On-Disconnect`).
    #[arg(long, env = "GLIMPSE_ON_DISCONNECT", value_enum, default_value = "cancel")]
    pub on_disconnect: OnDisconnect,

    /// Seconds that a job may wait for its first worker, unless the request sets it.
    #[arg(long, env = "GLIMPSE_START_TIMEOUT", value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    pub start_timeout: Duration,

    /// Seconds that a job may take from its first claim to its end, unless the request sets it.
    #[arg(long, env = "GLIMPSE_RUN_TIMEOUT", value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    pub run_timeout: Duration,

    /// Jobs of one app that may wait; further submits get 429.
    #[arg(long, env = "GLIMPSE_QUEUE_LIMIT", value_name = "JOBS", default_value_t = 10_000)]
    pub queue_limit: u64,

    /// Replicas of Redis that must have a job before its submit is confirmed. If fewer have it within a second, the
    /// response is 503, although the job exists. With 0 a failover may lose jobs that were submitted just before it.
    #[arg(long, env = "GLIMPSE_SUBMIT_WAIT_REPLICAS", value_name = "REPLICAS", default_value_t = 0)]
    pub submit_wait_replicas: u32,

    /// Open event streams of this process, together with clients that wait at `/OWNER/APP`; further ones get 429.
    #[arg(long, env = "GLIMPSE_MAX_STREAMS", value_name = "STREAMS", default_value_t = 10_000)]
    pub max_streams: usize,

    /// Seconds after SIGTERM in which clients of fal's routes, which cannot resume, are still served.
    #[arg(long, env = "GLIMPSE_SHUTDOWN_GRACE", value_name = "SECONDS", default_value = "30", value_parser = grace)]
    pub shutdown_grace: Duration,
}

/// What happens to a job when its client disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnDisconnect {
    /// It is cancelled.
    Cancel,
    /// It continues and can still be read by its id.
    Detach,
}

impl OnDisconnect {
    /// Parses the value of the header.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "cancel" => Some(Self::Cancel),
            "detach" => Some(Self::Detach),
            _ => None,
        }
    }
}

impl Config {
    /// The rules of the store for this API.
    pub fn rules(&self) -> Rules {
        Rules {
            queue_limit: self.queue_limit,
            submit_replicas: self.submit_wait_replicas,
            ..Rules::default()
        }
    }
}

impl Config {
    /// Opens the certificate for https, or makes it; `None` if only http is served.
    ///
    /// # Errors
    /// When its files cannot be used or made: the process should not start.
    pub fn open_tls(&self) -> Result<Option<Tls>, TlsError> {
        let public = self.public_url.as_ref().and_then(PublicUrl::host);
        self.tls.open(&self.listen, public.as_deref())
    }
}

impl Default for Config {
    /// The defaults of the flags.
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            tls: TlsFlags::default(),
            public_url: None,
            keys: KeyFlags::default(),
            policy: PolicyFlags::default(),
            trusted_proxies: ProxyNet::loopback(),
            body_limit: 16 << 20,
            allow_image_urls: false,
            allow_image_hosts: Vec::new(),
            fetch_limits: FetchLimits::default(),
            results: None,
            metrics: None,
            allow_private_webhooks: false,
            webhook_key: None,
            webhook_limits: WebhookLimits::default(),
            on_disconnect: OnDisconnect::Cancel,
            start_timeout: Duration::from_secs(3600),
            run_timeout: Duration::from_secs(3600),
            queue_limit: 10_000,
            submit_wait_replicas: 0,
            max_streams: 10_000,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// The shortest timeout of a job.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// The longest timeout of a job: a week. The store keeps a job as long.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Converts seconds to a job's timeout; `None` if it is out of range.
pub(crate) fn timeout(seconds: f64) -> Option<Duration> {
    let timeout = Duration::try_from_secs_f64(seconds).ok()?;
    (SHORTEST..=LONGEST).contains(&timeout).then_some(timeout)
}

/// The rule of [`timeout`], for error messages.
pub(crate) const TIMEOUT_RULE: &str = "Input should be a number of seconds above 0, at most 604800";

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().ok().and_then(timeout).ok_or_else(|| TIMEOUT_RULE.to_owned())
}

fn grace(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "should be a number of seconds, 0 or more".to_owned())
}
