//! Our own wire.

use glimpse_shared::request::{Defaults, Dialect, Names, PreviewSource, Unknown};

use super::{definition::Wire, detail};

/// Our own routes.
pub(crate) static OWN: Wire = Wire {
    reads: Dialect {
        defaults: Defaults { unknown: Unknown::Refused, preview_source: PreviewSource::Denoised },
        names: Names::Own,
    },
    reports: detail::report,
};
