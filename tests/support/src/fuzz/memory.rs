//! What a case takes of memory.

use std::{
    fmt::Debug,
    fs,
    sync::{Mutex, Once, PoisonError},
};

use peak_alloc::PeakAlloc;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process may have before an allocation fails: a case that goes beyond all bounds ends the process, and
/// not the machine.
const PROCESS: u64 = 8 << 30;

/// Runs a case; panics if it has more than `most` bytes allocated at a time. Mapped files do not count. The test's
/// global allocator must be [`PeakAlloc`]. Cases run one at a time, whatever the number of test threads; one that
/// ends the process is left in a file beside the test's program, with the ending `.case`.
pub fn within<T>(case: &impl Debug, most: usize, run: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    static LIMIT: Once = Once::new();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    LIMIT.call_once(|| {
        let Rlimit { maximum, .. } = getrlimit(Resource::As);
        let current = Some(maximum.map_or(PROCESS, |maximum| maximum.min(PROCESS)));
        setrlimit(Resource::As, Rlimit { current, maximum }).expect("a limit below the highest");
    });
    let file = std::env::current_exe().expect("the test's program").with_extension("case");
    fs::write(&file, format!("{case:?}")).expect("written");
    let before = PeakAlloc.current_usage();
    assert!(before > 0, "the global allocator counts");
    PeakAlloc.reset_peak_usage();
    let done = run();
    let taken = PeakAlloc.peak_usage().saturating_sub(before);
    fs::remove_file(&file).expect("removed");
    assert!(taken <= most, "took {taken} bytes, and {most} are allowed");
    done
}
