//! Messages for people, on standard error. Standard output is for pictures.

use std::{fmt::Display, io::Write};

/// Writes a line. `eprintln!` would end the process where nobody reads any more.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
