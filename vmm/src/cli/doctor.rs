//! `esp0 doctor`: what works on this KVM.

use super::arguments::Color;
use super::boxed::Boxed;
use super::failure::{Failure, with_output};
use super::output::Output;
use super::progress::Waiting;
use super::{OK, colour};
use esp0::doctor::{self, Problem};
use esp0::machine;
use esp0::sandbox::Phase;
use std::io::Write;

pub(super) fn doctor(color: Color, no_sandbox: bool) -> Result<u8, Failure> {
    machine::prepare().map_err(Problem::no_machine)?;
    let mut out = Output::standard();
    let colour = colour(color).is_on();
    let boxed = Boxed::withdraw(no_sandbox)?;
    let waiting = Waiting::begin("looking at what this KVM does");
    boxed.filter(Phase::Machines)?;
    let examined = doctor::examine();
    drop(waiting);
    let report = examined?;
    boxed.filter(Phase::Report)?;
    let text = report.render(colour) + boxed.told();
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
