//! `esp0 doctor`: what works on this KVM.

use super::arguments::Color;
use super::failure::Failure;
use super::{OK, colour};
use esp0::host::doctor;
use std::io::Write;

pub(super) fn doctor(color: Color) -> Result<u8, Failure> {
    let report = doctor::examine().map_err(|problem| Failure::NoKvm(problem.to_string()))?;
    std::io::stdout().write_all(report.render(colour(color).is_on()).as_bytes())?;
    if report.usable() {
        return Ok(OK);
    }
    Err(Failure::NoKvm(
        "this KVM cannot do what esp0 needs, as the table says: load kvm_intel or kvm_amd on \
         hardware, or use scripts/kvm-host"
            .into(),
    ))
}
