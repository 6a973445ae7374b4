//! Tests of the API over real connections, mostly with the store in memory. The tests control the workers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test that is how a failure looks")]

mod blocking;
mod dead;
mod edge;
mod events;
mod fal_address;
mod fal_input;
mod fal_proxy;
mod fal_queue;
mod fal_run;
mod fal_status_stream;
mod fal_stream;
mod fetch;
mod full_redis;
mod greedy;
mod half_close;
mod input;
mod jobs;
mod mixed;
mod pictures;
mod replicas;
mod shutdown;
mod store_away;
mod support;
mod warnings;
mod webhooks;
