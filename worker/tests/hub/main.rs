//! A model named as on the Hub: what is asked for, what is kept, and what is said when it cannot be had.

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
