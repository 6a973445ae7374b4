//! What `--results` names.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where pictures are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory that the workers and the APIs share.
    Directory(PathBuf),
    /// A bucket of S3.
    Bucket {
        /// Its name.
        bucket: String,
        /// What the names of all pictures begin with, without a `/` at both ends; may be empty.
        prefix: String,
    },
}

impl Place {
    /// What a worker's record says about it. Two directories look the same: each machine may have another path for a
    /// shared one.
    pub fn kind(&self) -> String {
        match self {
            Self::Directory(_) => "directory".to_owned(),
            Self::Bucket { .. } => self.to_string(),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err("is empty: name a directory, or s3://BUCKET/PREFIX".to_owned()),
                path => Ok(Self::Directory(path.into())),
            };
        };
        if scheme != "s3" {
            return Err(format!("{scheme}:// is not supported: name a directory, or s3://BUCKET/PREFIX"));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let of_bucket = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.is_empty() || !bucket.chars().all(of_bucket) {
            return Err("has no valid name of a bucket: write s3://BUCKET/PREFIX".to_owned());
        }
        let prefix = prefix.trim_matches('/');
        let of_prefix = |c: char| of_bucket(c) || c == '/';
        if !prefix.chars().all(of_prefix)
            || prefix
                .split('/')
                .any(|part| matches!(part, "." | "..") || part.is_empty() && !prefix.is_empty())
        {
            return Err(
                "has a prefix with other characters than letters, digits, '-', '.', '_' and '/', or an empty part"
                    .to_owned(),
            );
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_bucket() {
        let bucket = |bucket: &str, prefix: &str| Place::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        for (text, place) in [
            ("/var/results", Place::Directory("/var/results".into())),
            ("results", Place::Directory("results".into())),
            ("s3://pictures", bucket("pictures", "")),
            ("s3://pictures/", bucket("pictures", "")),
            ("s3://pictures/a/b/", bucket("pictures", "a/b")),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for wrong in
            ["", "s3://", "s3:///a", "s3://a b/", "s3://a/b?c", "s3://a/../b", "s3://a/b//c", "gs://a/b"]
        {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
        assert_eq!(bucket("pictures", "a/b").to_string(), "s3://pictures/a/b");
        assert_eq!(bucket("pictures", "a/b").kind(), "s3://pictures/a/b");
        assert_eq!(Place::Directory("/mnt/a".into()).kind(), Place::Directory("/srv/b".into()).kind());
    }
}
