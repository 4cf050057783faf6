//! What the KVM below can do, found out once for all tests.

use esp0::doctor::TestedMachine;
use esp0::host::Backend;
use esp0::probe::DebugRegisters;
use std::sync::LazyLock;

/// RAM for the self-test.
const MEMORY: u64 = 2 << 20;

/// The KVM that the tests run on.
#[derive(Debug)]
pub struct Host {
    /// What stands behind /dev/kvm.
    pub backend: Backend,
    /// What hardware breakpoints are good for.
    pub breakpoints: DebugRegisters,
}

/// The KVM that the tests run on.
///
/// # Panics
/// If it cannot run 32-bit kernels: a test that needs KVM is not skipped where there is none.
pub fn host() -> &'static Host {
    static HOST: LazyLock<Result<Host, String>> = LazyLock::new(|| {
        let tested = TestedMachine::new(MEMORY).map_err(|problem| problem.to_string())?;
        Ok(Host { backend: tested.backend, breakpoints: tested.breakpoints })
    });
    match &*HOST {
        Ok(host) => host,
        Err(why) => panic!("these tests need KVM: {why} (cargo test runs them by scripts/runner)"),
    }
}
