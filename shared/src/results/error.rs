//! Errors of the place where pictures are kept.

use super::place::Place;

/// A place that cannot be used, with the reason and what to do. For operators: it names paths and addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--results {place}: cannot {what}: {cause}; {advice}")]
pub struct ResultsError {
    place: String,
    what: &'static str,
    cause: String,
    advice: &'static str,
}

impl ResultsError {
    /// `what` failed in `place`.
    pub(super) fn new(place: &Place, what: &'static str, cause: impl ToString) -> Self {
        let advice = match place {
            Place::Directory(_) => {
                "create the directory, give this process' user the right to write there, and check that the disk has \
                 room"
            }
            Place::Bucket { .. } => {
                "check the bucket's name, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL (a \
                 server without TLS also needs AWS_ALLOW_HTTP=true); the key needs the rights to put, get, list and \
                 delete objects"
            }
        };
        Self { place: place.to_string(), what, cause: cause.to_string(), advice }
    }
}

/// The innermost cause of an error, after its own text: the outer texts of HTTP clients often say nothing.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let (outer, inner) = (error.to_string(), innermost.to_string());
    if outer.contains(&inner) { outer } else { format!("{outer} ({inner})") }
}
