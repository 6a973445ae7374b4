//! The memory that a case uses.

use std::{
    cell::Cell,
    fmt::Debug,
    fs,
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use peak_alloc::PeakAlloc;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The process' memory limit: a case that allocates without a bound ends the process, and not the machine.
const PROCESS: u64 = 8 << 30;

/// Held by the one test that is being measured.
struct Place(#[expect(dead_code, reason = "released when it is dropped")] MutexGuard<'static, ()>);

impl Drop for Place {
    fn drop(&mut self) {
        HOLDS.set(false);
    }
}

thread_local! {
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test, or a part of it, while no other caller of this function runs, so that the allocations of one test do
/// not count for another.
pub fn alone<T>(run: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _place = (!HOLDS.get()).then(|| {
        let place = Place(ONE.lock().unwrap_or_else(PoisonError::into_inner));
        HOLDS.set(true);
        place
    });
    run()
}

/// Runs a case; panics if it has more than `most` bytes allocated at a time. Mapped files do not count. The test's
/// global allocator must be [`PeakAlloc`]. Cases run one at a time, as with [`alone`]. A case that ends the process is
/// kept in a file beside the test's program, with the ending `.case`.
pub fn within<T>(case: &impl Debug, most: usize, run: impl FnOnce() -> T) -> T {
    alone(|| measured(case, most, run))
}

fn measured<T>(case: &impl Debug, most: usize, run: impl FnOnce() -> T) -> T {
    static LIMIT: Once = Once::new();
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
