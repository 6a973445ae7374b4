//! Messages for people, on standard error. Standard output is for pictures.

use std::{fmt::Display, io::Write};

/// Writes a line. `eprintln!` would panic if the reader is gone.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
