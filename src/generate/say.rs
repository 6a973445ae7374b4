//! Messages for people, on standard error. Standard output is for pictures.

use std::{fmt::Display, io::Write};

/// Writes a line, without what could control a terminal: a part of it may be a server's. `eprintln!` would panic if the
/// reader is gone.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{}", plain(&line.to_string()));
}

/// The text without control characters, apart from line ends.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_not_control_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\u{9b}2Jb\r\nc\u{7}"), "a[2J2Jb\nc");
    }
}
