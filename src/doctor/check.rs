//! The line of one check.

use std::fmt;

use serde_json::{Value, json};

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

impl Check {
    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok { .. })
    }

    /// A check that panicked.
    pub fn died(what: String, error: &impl fmt::Display) -> Self {
        let why = format!("the check panicked: {error}");
        Self::Fail { what, why, advice: "report this as a defect".to_owned() }
    }

    /// An object: `what` and `ok`, and `remarks`, or `why` and `advice`.
    pub fn json(&self) -> Value {
        match self {
            Self::Ok { what, remarks } => json!({ "what": what, "ok": true, "remarks": remarks }),
            Self::Fail { what, why, advice } => {
                json!({ "what": what, "ok": false, "why": why, "advice": advice })
            }
        }
    }
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
