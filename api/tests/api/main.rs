//! Tests of the API over real connections, mostly with the store in memory. The tests control the workers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test that is how a failure looks")]

mod apps;
mod blocking;
mod dead;
mod edge;
mod encoding;
mod events;
mod fal_address;
mod fal_input;
mod fal_proxy;
mod fal_queue;
mod fal_run;
mod fal_status_stream;
mod fal_stream;
mod fetch;
mod files;
mod full_redis;
mod greedy;
mod half_close;
mod health;
mod http2;
mod input;
mod job_list;
mod jobs;
mod keys;
mod loras;
mod metrics;
mod mixed;
mod openai;
mod openai_edits;
mod openai_errors;
mod openai_stream;
mod openapi;
mod pictures;
mod policy;
mod positions;
mod program;
mod realtime;
mod replicas;
mod shutdown;
mod store_away;
mod support;
mod tls;
mod warnings;
mod webhooks;
