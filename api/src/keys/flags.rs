//! The flags about keys.

use std::{path::PathBuf, str::FromStr};

use axum::http::HeaderValue;
use clap::builder::FalseyValueParser;
use reqwest::Url;

/// Who may call the API.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KeyFlags {
    /// The keys of clients, in TOML: a `[[key]]` for each, as `glimpse key NAME` prints it. Every request then needs
    /// `Authorization: Bearer KEY`. SIGHUP reads it again.
    #[arg(long, env = "GLIMPSE_KEYS_FILE", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,

    /// Serves everybody without keys although other machines can reach --listen. The routes that show the jobs of all
    /// clients are then closed. Without effect if there are keys.
    #[arg(long, env = "GLIMPSE_ALLOW_ANONYMOUS", value_parser = FalseyValueParser::new())]
    pub allow_anonymous: bool,

    /// Origins whose web pages may call the routes that need a key, as `https://example.com`, or `*` for all. [default:
    /// none]
    #[arg(
        long,
        env = "GLIMPSE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        requires = "keys_file"
    )]
    pub cors_origin: Vec<CorsOrigin>,
}

/// Whose web pages may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Pages of every origin.
    Any,
    /// Pages of this origin, as browsers write it.
    Of(HeaderValue),
}

impl FromStr for CorsOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let origin = url.map(|url| url.origin().ascii_serialization());
        let written = text.trim_end_matches('/').to_ascii_lowercase();
        let named = origin.filter(|origin| origin.len() <= written.len() && written.starts_with(&**origin));
        named
            .filter(|origin| !written[origin.len()..].contains(['/', '?', '#']))
            .and_then(|origin| HeaderValue::try_from(origin).ok())
            .map(Self::Of)
            .ok_or_else(|| "should be an origin as https://example.com:8443, or *".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path() {
        for (text, origin) in [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.com/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
        ] {
            assert_eq!(text.parse(), Ok(CorsOrigin::Of(HeaderValue::from_static(origin))), "{text}");
        }
        assert_eq!("*".parse(), Ok(CorsOrigin::Any));
        for wrong in
            ["example.com", "https://example.com/page", "ftp://example.com", "https://a@b", "null", ""]
        {
            assert!(wrong.parse::<CorsOrigin>().is_err(), "{wrong}");
        }
    }
}
