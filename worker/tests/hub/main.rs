//! Models of the Hub: requests, cache and errors.

#[cfg(test)]
mod cache;
#[cfg(test)]
mod download;
#[cfg(test)]
mod props;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod resume;
