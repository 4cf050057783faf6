//! `esp0 doctor`: what works on this KVM.

use super::arguments::Color;
use super::failure::{Failure, no_machine, with_output};
use super::output::Output;
use super::progress::waiting;
use super::{OK, colour};
use esp0::doctor::{self, Problem};
use std::io::Write;

pub(super) fn doctor(color: Color) -> Result<u8, Failure> {
    let examined = waiting("looking at what this KVM does", doctor::examine);
    let report = examined.map_err(|problem| match problem {
        Problem::NoMachine { error, .. } => no_machine(error),
        other => Failure::NoKvm(other.to_string()),
    })?;
    let mut out = Output::standard();
    let text = report.render(colour(color).is_on());
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if report.usable() {
        return Ok(with_output(OK, written));
    }
    Err(Failure::NoKvm(
        "this KVM cannot do what esp0 needs, as the table says: load kvm_intel or kvm_amd on \
         hardware, or use scripts/kvm-host"
            .into(),
    ))
}
