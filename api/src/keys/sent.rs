//! The key in a request.

use std::borrow::Cow;

use axum::http::{HeaderMap, Uri, header};
use reqwest::Url;

/// The schemes of `Authorization`: fal's clients send `Key`, others `Bearer`.
const SCHEMES: [&str; 2] = ["Key", "Bearer"];

/// fal's name for the token of a realtime connection: a browser cannot send headers with it.
const TOKEN: &str = "fal_jwt_token";

/// The key in `Authorization: Key|Bearer KEY`; `None` if there is none, or several.
pub(crate) fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (only, more) = (sent.next()?, sent.next());
    let value = only.as_bytes();
    let end = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, key) = (&value[..end], value[end..].trim_ascii());
    let known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    Some(key).filter(|key| known && more.is_none() && !key.is_empty())
}

/// The token in the query of a realtime connection.
pub(crate) fn sent_token(uri: &Uri) -> Option<String> {
    let whole = Url::parse(&format!("ws://localhost/?{}", uri.query()?)).ok()?;
    let mut tokens = whole.query_pairs().filter(|(name, _)| name == TOKEN).map(|(_, value)| value);
    tokens.next().map(Cow::into_owned).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_comes_with_a_scheme_in_any_case() {
        for (value, key) in [
            ("Key abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER  id:secret ", Some("id:secret")),
            ("Basic abc", None),
            ("Key", None),
            ("Key ", None),
            ("abc", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(sent_key(&headers), key.map(str::as_bytes), "{value:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Key abc"));
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Key abc"));
        assert_eq!(sent_key(&twice), None);
        assert_eq!(sent_key(&HeaderMap::new()), None);
    }

    #[test]
    fn a_token_is_in_the_query() {
        let of = |uri: &str| sent_token(&uri.parse().unwrap());
        assert_eq!(of("/a/b/realtime?max_buffering=2&fal_jwt_token=x%3Ay").as_deref(), Some("x:y"));
        assert_eq!(of("/a/b/realtime?fal_jwt_token="), None);
        assert_eq!(of("/a/b/realtime"), None);
    }
}
