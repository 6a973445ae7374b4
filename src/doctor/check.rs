//! The line of one check.

use std::fmt;

/// What a check found.
#[derive(Debug)]
pub enum Check {
    /// All is well.
    Ok {
        /// What was checked, as `device cpu`.
        what: String,
        /// What is worth knowing about it.
        remarks: Vec<String>,
    },
    /// Something is wrong.
    Fail {
        /// What was checked.
        what: String,
        /// What is wrong.
        why: String,
        /// What to do.
        advice: String,
    },
}

/// `ok WHAT: REMARK; REMARK` or `FAIL WHAT: WHY; ADVICE`.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { what, remarks } if remarks.is_empty() => write!(f, "ok {what}"),
            Self::Ok { what, remarks } => write!(f, "ok {what}: {}", remarks.join("; ")),
            Self::Fail { what, why, advice } => write!(f, "FAIL {what}: {why}; {advice}"),
        }
    }
}
