//! The runner with a scripted pipeline.

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod cancel;
#[cfg(test)]
mod counts;
#[cfg(test)]
mod downloads;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod early;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod leases_ahead;
#[cfg(test)]
mod partials;
#[cfg(test)]
mod picture_hook;
#[cfg(test)]
mod pipeline_thread;
#[cfg(test)]
mod played;
#[cfg(test)]
mod props;
#[cfg(test)]
#[path = "../script/mod.rs"]
mod script;
#[cfg(test)]
mod store_errors;
