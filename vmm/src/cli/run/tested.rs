//! The machine of a run, tested before the guest is in it.

use super::super::failure::Failure;
use super::guest::RequestedGuest;
use esp0::doctor::TestedMachine;
use esp0::machine::StopRequest;

/// Creates the machine; `None` if the user has ended it meanwhile. Bad input is bad with KVM or without, so where there
/// is no machine the guest is looked at first.
pub(super) fn create(
    guest: &RequestedGuest<'_>,
    stop: &StopRequest,
) -> Result<Option<TestedMachine>, Failure> {
    let tested = TestedMachine::with_model(guest.memory_size(), &guest.options.cpu);
    if stop.is_requested() {
        return Ok(None);
    }
    if tested.is_err() {
        guest.check()?;
    }
    Ok(Some(tested?))
}
