//! The table of a device's operations, as text and as JSON.

use std::time::Duration;

use glimpse_worker::{
    sdxl::ops::Op,
    verify::{Finding, Row, Table},
};
use serde_json::{Value, json};

const HEAD: [&str; 8] = ["op", "shape", "dtype", "error", "tolerance", "portable", "own", "used"];

/// Aligned columns, a line for each shape; empty without one.
pub fn text(table: &Table) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(table.rows().iter().map(|row| cells(table, row)));
    if lines.len() == 1 {
        return String::new();
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);
    let line = |cells: &[String; HEAD.len()]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

fn cells(table: &Table, row: &Row) -> [String; HEAD.len()] {
    let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |t| format!("{:.3} ms", ms(t)));
    let (own, portable) = times(row);
    let error = match &row.finding {
        Finding::Compared { error, .. } => format!("{error:.1e}"),
        Finding::Failed { .. } => "fails".to_owned(),
        Finding::Skipped { .. } => "unknown".to_owned(),
    };
    [
        row.op.name().to_owned(),
        row.shape.clone(),
        row.dtype.as_str().to_owned(),
        error,
        format!("{:.1e}", row.tolerance),
        time(portable),
        time(own),
        used(table, row.op).to_owned(),
    ]
}

/// An object for each shape. `error` and the times are null where there are none; then `failure` says why.
pub fn json(table: &Table) -> Vec<Value> {
    let object = |row: &Row| {
        let (own, portable) = times(row);
        let mut object = json!({
            "op": row.op.name(),
            "shape": row.shape,
            "dtype": row.dtype.as_str(),
            "error": row.error(),
            "tolerance": row.tolerance,
            "portable_ms": portable.map(ms),
            "own_ms": own.map(ms),
            "used": used(table, row.op),
        });
        let failure = match &row.finding {
            Finding::Compared { error, .. } if error.is_finite() => None,
            Finding::Compared { .. } => Some("another answer, or numbers that are not finite"),
            Finding::Failed { message } | Finding::Skipped { message } => Some(message.as_str()),
        };
        if let Some(failure) = failure {
            object["failure"] = failure.into();
        }
        object
    };
    table.rows().iter().map(object).collect()
}

/// The times of the device's own form and of the portable one.
fn times(row: &Row) -> (Option<Duration>, Option<Duration>) {
    match row.finding {
        Finding::Compared { own, portable, .. } => (Some(own), portable),
        _ => (None, None),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn used(table: &Table, op: Op) -> &'static str {
    if table.is_own_used(op) { "own" } else { "portable" }
}
