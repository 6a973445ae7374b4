//! Pictures in the place that `--results` names.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutOptions, PutPayload, local::LocalFileSystem, path::Path};

use super::{
    bucket::Bucket,
    directory,
    error::{ResultsError, cause},
    name::Name,
    place::Place,
    swept::Swept,
    term::Term,
};
use crate::{id::Micros, request::OutputFormat};

/// The timeout of each part of the check at the start.
const CHECK_WITHIN: Duration = Duration::from_secs(15);
/// The timeout of a write, and of a read.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The place where the finished pictures of a fleet are kept. Clones share it.
#[derive(Clone)]
pub struct Results(Arc<Kept>);

struct Kept {
    place: Place,
    term: Term,
    home: Home,
    /// The origin of the bucket's URLs.
    bucket_origin: Option<String>,
}

enum Home {
    Directory { root: PathBuf, files: LocalFileSystem },
    Bucket(Bucket),
}

/// Where a kept picture can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// In this file, if it exists.
    File(PathBuf),
    /// In the bucket.
    Object {
        /// Bytes.
        size: u64,
        /// A URL that everyone can read it with, by GET.
        url: String,
        /// How long the URL is valid.
        valid: Duration,
    },
}

impl Results {
    /// Opens a place: creates the directory if it does not exist, writes a picture, finds it and deletes it. `ttl`: how
    /// long a picture is kept.
    ///
    /// # Errors
    /// If one of these fails.
    pub async fn open(place: Place, ttl: Duration) -> Result<Self, ResultsError> {
        let failed = |what, cause: &dyn fmt::Display| ResultsError::new(&place, what, cause);
        let home = match &place {
            Place::Directory(path) => {
                let created = tokio::fs::create_dir_all(path).await;
                created.map_err(|error| failed("create the directory", &error))?;
                let root = tokio::fs::canonicalize(path).await;
                let root = root.map_err(|error| failed("open the directory", &error))?;
                let files = LocalFileSystem::new_with_prefix(&root);
                let files = files.map_err(|error| failed("open the directory", &error))?.with_fsync(true);
                Home::Directory { root, files }
            }
            Place::Bucket { bucket, prefix } => {
                Home::Bucket(Bucket::new(bucket, prefix).map_err(|error| failed("use the bucket", &error))?)
            }
        };
        let bucket_origin = match &home {
            Home::Directory { .. } => None,
            Home::Bucket(bucket) => tokio::time::timeout(CHECK_WITHIN, bucket.origin()).await.ok().flatten(),
        };
        let results = Self(Arc::new(Kept { place, term: Term { ttl }, home, bucket_origin }));
        results.check().await?;
        Ok(results)
    }

    /// Writes, finds and deletes a file beside the folders of pictures.
    async fn check(&self) -> Result<(), ResultsError> {
        let name = Name::new(Micros::system(), OutputFormat::Png);
        let top = self.top();
        let path = top.clone().join(name.as_str());
        let content = Bytes::from_static(b"written by the check at the start");
        self.within(CHECK_WITHIN, "write", self.write(&name, &path, content)).await?;
        let listed = self.store().list_with_delimiter(Some(&top));
        let listed = self.within(CHECK_WITHIN, "list what is there", listed).await?;
        self.within(CHECK_WITHIN, "delete what it wrote", self.store().delete(&path)).await?;
        match listed.objects.iter().any(|object| object.location == path) {
            true => Ok(()),
            false => Err(self.failed("list what is there", "what was just written is not listed")),
        }
    }

    /// The place.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// How long a picture is kept.
    pub fn ttl(&self) -> Duration {
        self.0.term.ttl
    }

    /// Keeps a picture under a new name. When this returns, every API can read it, also after a power failure.
    ///
    /// # Errors
    /// If it could not be written within 10 s. A part of it may be left; an API deletes that part as an expired picture.
    pub async fn put(&self, format: OutputFormat, encoded: Bytes) -> Result<Name, ResultsError> {
        let name = Name::new(Micros::system(), format);
        let path = self.path(&name);
        self.within(WRITE_WITHIN, "write a picture", self.write(&name, &path, encoded)).await?;
        Ok(name)
    }

    /// A kept picture; `None` if there is none of this name, or it has expired.
    ///
    /// # Errors
    /// If it could not be read within 30 s.
    pub async fn read(&self, name: &Name) -> Result<Option<Bytes>, ResultsError> {
        if self.left(name).is_none() {
            return Ok(None);
        }
        let read = async { self.store().get(&self.path(name)).await?.bytes().await };
        self.within(READ_WITHIN, "read a picture", found(read)).await
    }

    /// Where a kept picture can be read; `None` if it has expired, or is not in the bucket. A file may not exist.
    ///
    /// # Errors
    /// If the bucket did not answer within 30 s.
    pub async fn located(&self, name: &Name) -> Result<Option<Located>, ResultsError> {
        let Some(left) = self.left(name) else { return Ok(None) };
        let bucket = match &self.0.home {
            Home::Directory { root, .. } => return Ok(Some(Located::File(directory::path(root, name)))),
            Home::Bucket(bucket) => bucket,
        };
        let located = async {
            let size = bucket.store.head(&self.path(name)).await?.size;
            let (url, valid) = bucket.signed(name, left).await?;
            Ok(Located::Object { size, url, valid })
        };
        self.within(READ_WITHIN, "find a picture", found(located)).await
    }

    /// How long a picture can still be read; `None` if it has expired.
    pub fn left(&self, name: &Name) -> Option<Duration> {
        let left = self.0.term.ends(name).since(Micros::system());
        (left > Duration::ZERO).then_some(left)
    }

    /// Whether a picture is so new that a job which ends now can be told of it: it will be there for the whole time to
    /// live.
    pub fn is_fresh(&self, name: &Name) -> bool {
        self.0.term.is_fresh(name, Micros::system())
    }

    /// Deletes at most `most` expired pictures, the oldest first. Any number of processes may do this at the same time.
    pub async fn sweep(&self, most: usize) -> Swept {
        let (term, now) = (self.0.term, Micros::system());
        match &self.0.home {
            Home::Directory { root, .. } => {
                let root = root.clone();
                let swept =
                    tokio::task::spawn_blocking(move || directory::sweep(&root, term, now, most)).await;
                swept.unwrap_or_else(|error| Swept { failed: Some(error.to_string()), ..Swept::default() })
            }
            Home::Bucket(bucket) => bucket.sweep(term, now, most).await,
        }
    }

    /// The origin of the bucket's URLs, as `https://example.com`; `None` for a directory.
    pub fn bucket_origin(&self) -> Option<&str> {
        self.0.bucket_origin.as_deref()
    }

    async fn write(&self, name: &Name, path: &Path, encoded: Bytes) -> object_store::Result<()> {
        let attributes = match &self.0.home {
            Home::Directory { .. } => Default::default(),
            Home::Bucket(_) => Bucket::attributes(name, self.ttl()),
        };
        let options = PutOptions { attributes, ..PutOptions::default() };
        self.store().put_opts(path, PutPayload::from(encoded), options).await.map(drop)
    }

    fn store(&self) -> &dyn ObjectStore {
        match &self.0.home {
            Home::Directory { files, .. } => files,
            Home::Bucket(bucket) => &*bucket.store,
        }
    }

    /// What the paths of all pictures begin with.
    fn top(&self) -> Path {
        match &self.0.home {
            Home::Directory { .. } => Path::default(),
            Home::Bucket(bucket) => bucket.prefix.clone(),
        }
    }

    fn path(&self, name: &Name) -> Path {
        self.top().join(name.folder()).join(name.as_str())
    }

    fn failed(&self, what: &'static str, cause: impl ToString) -> ResultsError {
        ResultsError::new(&self.0.place, what, cause)
    }

    async fn within<T>(
        &self,
        time: Duration,
        what: &'static str,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ResultsError> {
        match tokio::time::timeout(time, work).await {
            Ok(done) => done.map_err(|error| self.failed(what, cause(&error))),
            Err(_) => Err(self.failed(what, format!("no answer within {} s", time.as_secs()))),
        }
    }
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Results({}, {} s)", self.0.place, self.ttl().as_secs())
    }
}

/// `None` for what does not exist.
async fn found<T>(work: impl Future<Output = object_store::Result<T>>) -> object_store::Result<Option<T>> {
    match work.await {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
