//! The address under which a client reached this process, for absolute URLs.

use axum::http::{HeaderMap, header, request::Parts, uri::Authority};

use crate::{
    connection::{Peer, Scheme},
    state::Shared,
};

/// The address for a client's absolute URLs: `--public-url`, or how this request came.
pub(crate) fn origin(api: &Shared, parts: &Parts) -> String {
    if let Some(public) = &api.config.public_url {
        return public.to_string();
    }
    let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| *peer);
    let is_trusted = peer.is_some_and(|peer| api.config.trusted_proxies.iter().any(|net| net.has(peer)));
    // What a proxy says counts more than its own connection to this process.
    let forwarded = if is_trusted { forwarded_https(&parts.headers) } else { None };
    let is_https = forwarded.unwrap_or_else(|| parts.extensions.get() == Some(&Scheme::Https));
    let authority = parts.uri.authority().cloned().or_else(|| host(&parts.headers));
    let authority = authority.map_or_else(|| api.listens_on().to_string(), |authority| authority.to_string());
    format!("{}://{authority}", if is_https { "https" } else { "http" })
}

/// Whether the client's connection to the first proxy was https; `None` if no proxy says it.
fn forwarded_https(headers: &HeaderMap) -> Option<bool> {
    let first = headers.get("x-forwarded-proto")?.to_str().ok()?.split(',').next()?;
    Some(first.trim().eq_ignore_ascii_case("https"))
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}
