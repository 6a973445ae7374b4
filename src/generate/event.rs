//! The lines of `--json`.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

/// Something that has happened to a job.
#[derive(Serialize)]
pub struct Event<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The number of the prompt among several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// The job's id on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<&'a str>,
    /// An object.
    #[serde(flatten)]
    pub members: Value,
}

impl Event<'_> {
    /// Prints the event as a line on standard output.
    pub fn print(&self) {
        // This cannot fail: all keys are texts.
        let Ok(line) = serde_json::to_string(self) else { return };
        let mut out = std::io::stdout().lock();
        // It is no error if nobody reads it.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
