//! Pictures in a bucket of S3.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Attribute, Attributes, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::Signer,
};

use super::{
    error::cause,
    name::{Name, folder_begins},
    swept::Swept,
    term::Term,
};
use crate::{id::Micros, request::OutputFormat};

/// How often and how long the client itself repeats a request.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(10);

/// The longest validity of a signed URL.
const LONGEST_SIGNATURE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The shortest one, for a picture that expires soon.
const SHORTEST_SIGNATURE: Duration = Duration::from_secs(60);

/// A bucket and what the names in it begin with.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) store: Arc<AmazonS3>,
    pub(super) prefix: Path,
}

impl Bucket {
    /// A client with the credentials, the region and the server of the `AWS_…` variables. It sends nothing yet.
    pub(super) fn new(bucket: &str, prefix: &str) -> Result<Self, String> {
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry).build();
        Ok(Self { store: Arc::new(store.map_err(|error| cause(&error))?), prefix: Path::from(prefix) })
    }

    fn path(&self, name: &Name) -> Path {
        self.prefix.clone().join(name.folder()).join(name.as_str())
    }

    /// The headers that the bucket sends with a picture.
    pub(super) fn attributes(name: &Name, ttl: Duration) -> Attributes {
        [
            (Attribute::ContentType, name.format().content_type().to_owned()),
            (Attribute::ContentDisposition, format!("inline; filename=\"{name}\"")),
            (Attribute::CacheControl, format!("public, max-age={}, immutable", ttl.as_secs())),
        ]
        .into_iter()
        .collect()
    }

    /// A URL of the bucket that everyone can read a picture with, and how long it is valid: for `left`, at most 7 days,
    /// as S3 allows.
    pub(super) async fn signed(
        &self,
        name: &Name,
        left: Duration,
    ) -> object_store::Result<(String, Duration)> {
        let valid = left.clamp(SHORTEST_SIGNATURE, LONGEST_SIGNATURE);
        let url = self.store.signed_url(http::Method::GET, &self.path(name), valid).await?;
        Ok((url.into(), valid))
    }

    /// The origin of its URLs, as `https://example.com`; `None` if it has no credentials to sign one with.
    pub(super) async fn origin(&self) -> Option<String> {
        let name = Name::new(Micros::system(), OutputFormat::Png);
        let (url, _) = self.signed(&name, Duration::ZERO).await.ok()?;
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?']).next()?;
        Some(format!("{scheme}://{authority}"))
    }

    /// Deletes at most `most` expired pictures, the oldest first. Other objects are left alone.
    pub(super) async fn sweep(&self, term: Term, now: Micros, most: usize) -> Swept {
        let mut swept = Swept::default();
        let listed = match self.store.list_with_delimiter(Some(&self.prefix)).await {
            Ok(listed) => listed,
            Err(error) => {
                swept.fail(cause(&error));
                return swept;
            }
        };
        // What a process has left that was killed while it checked the bucket.
        let top = listed.objects.into_iter().map(|object| object.location);
        let top = top.filter(|path| is_expired(path, term, now)).take(most).collect();
        self.delete(top, &mut swept).await;
        let mut folders = listed.common_prefixes;
        folders.retain(|folder| {
            let begins = folder.filename().and_then(folder_begins);
            begins.is_some_and(|begins| term.ends_if_written(begins) <= now)
        });
        folders.sort_unstable();
        for folder in folders {
            if swept.more {
                break;
            }
            self.sweep_folder(&folder, term, now, most, &mut swept).await;
        }
        swept
    }

    async fn sweep_folder(&self, folder: &Path, term: Term, now: Micros, most: usize, swept: &mut Swept) {
        let room = most.saturating_sub(swept.deleted);
        let listed = self.store.list(Some(folder)).map_ok(|object| object.location);
        let expired =
            listed.try_filter(|path| std::future::ready(is_expired(path, term, now))).take(room + 1);
        let mut expired: Vec<Path> = match expired.try_collect().await {
            Ok(expired) => expired,
            Err(error) => return swept.fail(cause(&error)),
        };
        if expired.len() > room {
            expired.truncate(room);
            swept.more = true;
        }
        self.delete(expired, swept).await;
    }

    async fn delete(&self, paths: Vec<Path>, swept: &mut Swept) {
        let mut deleted = self.store.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        while let Some(done) = deleted.next().await {
            match done {
                Ok(_) => swept.deleted += 1,
                // Another API has deleted it.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => swept.fail(cause(&error)),
            }
        }
    }
}

fn is_expired(path: &Path, term: Term, now: Micros) -> bool {
    let name = path.filename().and_then(|name| name.parse::<Name>().ok());
    name.is_some_and(|name| term.ends(&name) <= now)
}
