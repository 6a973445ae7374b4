//! The address under which a client reached this process, for absolute URLs.

use axum::http::{HeaderMap, header, request::Parts, uri::Authority};

use crate::{connection::Peer, state::Shared};

/// The address for a client's absolute URLs: `--public-url`, or how this request came.
pub(crate) fn origin(api: &Shared, parts: &Parts) -> String {
    if let Some(public) = &api.config.public_url {
        return public.to_string();
    }
    let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| *peer);
    let is_trusted = peer.is_some_and(|peer| api.config.trusted_proxies.iter().any(|net| net.has(peer)));
    let is_https = is_trusted && forwarded_https(&parts.headers);
    let authority = parts.uri.authority().cloned().or_else(|| host(&parts.headers));
    let authority = authority.map_or_else(|| api.listens_on().to_string(), |authority| authority.to_string());
    format!("{}://{authority}", if is_https { "https" } else { "http" })
}

/// Whether the client's connection to the first proxy was https.
fn forwarded_https(headers: &HeaderMap) -> bool {
    let protocols = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let first = protocols.and_then(|protocols| protocols.split(',').next());
    first.is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("https"))
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}
