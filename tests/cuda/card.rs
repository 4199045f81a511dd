//! A card, where there is one: tests that run on the host then run there too.

use std::io::Write as _;
use std::sync::Arc;

use growmerge::device::cuda::Cuda;
use growmerge::device::cuda::driver::Driver;

use super::host::{Host, Threads};

/// Memory that tests may take.
const ROOM: usize = 1 << 30;

/// The machine's first card; without one this says so, and `GROWMERGE_REQUIRE_CUDA=1` forbids that.
fn card() -> Option<Cuda> {
    match Driver::open(0) {
        Ok(driver) => Some(Cuda::new(Arc::new(driver), 4 * ROOM as u64)),
        Err(missing) => {
            let required = std::env::var_os("GROWMERGE_REQUIRE_CUDA").is_some_and(|v| v == "1");
            assert!(!required, "{missing}");
            // Past the test harness, which shows nothing of a test that passes.
            let _ = writeln!(std::io::stderr(), "skipped on a card: {missing}");
            None
        }
    }
}

/// What kernels run on here.
pub(crate) fn devices(threads: Threads) -> Vec<Cuda> {
    let host = Host::new(threads, ROOM).map(|host| host.device().0);
    host.into_iter().chain(card()).collect()
}
