use crate::check::{Aspect, Finding, Findings, History, Subject};
use crate::entry::{Account, Entry, Exact, Returned};
use crate::host::reported;
use ia32::{
    AttemptEnd, Interruption, InterruptionKind, Operation, Outcome, Owner, State, Vector, Write,
};
use std::collections::{BTreeMap, BTreeSet};

const RULE: &str = "model";

/// After an event the registers and the whole of memory are what the model says.
///
/// The model is the crate `ia32`; each of its steps names its section of the manual. Judged in exact
/// mode, where the state before is known and every byte that changed is seen: the frame's words,
/// accessed and busy bits of descriptors, accessed and dirty bits of page tables may have changed, as
/// far as the model writes them, and nothing else. What the manuals leave open is not judged.
#[inline]
pub(crate) fn entry_is_the_models(entry: &Entry, _: &History, findings: &mut Findings) {
    if let Some(exact) = &entry.exact {
        judge(exact, &entry.after, &entry.vector.to_string(), findings);
    }
}

/// The same of an IRET that went through.
#[inline]
pub(crate) fn return_is_the_models(returned: &Returned, findings: &mut Findings) {
    judge(&returned.exact, &returned.after, "IRET", findings);
}

#[cold]
fn judge(exact: &Exact, after: &State, what: &str, findings: &mut Findings) {
    let Account { outcome, complete } = exact.account();
    if outcome.unspecified.is_some() || matches!(outcome.end, AttemptEnd::Unmodelled(_)) {
        return;
    }
    let finding = |sentence: String, expected: String, got: String| {
        Finding::new(RULE, Subject::Processor, sentence, expected, got)
    };
    if !complete {
        findings.add(finding(
            format!("{what} cannot be judged: the model reads memory that was not recorded"),
            "each byte that the model reads".into(),
            "not all of them".into(),
        ));
        return;
    }
    if !outcome.is_completed() {
        findings.add(finding(
            format!("{what} went through, and the model says that it cannot"),
            "the processor shuts down".into(),
            format!("CS:EIP {:04x}:{:08x}", after.cs().selector, after.eip),
        ));
        return;
    }
    let vendor = exact.processor.vendor;
    let (expected, got) = (reported(&outcome.state, vendor), reported(after, vendor));
    for difference in outcome.undefined.differences(&expected, &got) {
        let field = difference.field;
        findings.add(
            finding(
                format!("{field} after {what} is not what the model says"),
                format!("{field} {:08x}", difference.expected),
                format!("{field} {:08x}", difference.got),
            )
            .beside_the_model(
                Aspect::Register(field),
                difference.expected,
                difference.got,
            ),
        );
    }
    page_fault(exact, findings);
    memory(exact, &outcome, what, findings);
}

/// A #PF has the address and the error code of an access that the page tables refuse.
fn page_fault(exact: &Exact, findings: &mut Findings) {
    /// The error code's bit for the fetch of an instruction: with SMEP or no-execute only (SDM vol.
    /// 3A, "Page-fault exceptions").
    const FETCH: u32 = 1 << 4;
    let Operation::Interruption(Interruption {
        vector: Vector::PF,
        kind: InterruptionKind::Fault,
        error_code,
        ..
    }) = exact.operation
    else {
        return;
    };
    let (address, code) = (exact.before.cr2, error_code.unwrap_or(0));
    let Some(faults) = exact.page_faults() else { return };
    if faults.iter().any(|one| one.address == address && one.error_code == code & !FETCH) {
        return;
    }
    let text = |address: u32, code: u32| format!("CR2 {address:08x} error code {code:08x}");
    let expected: Vec<String> =
        faults.iter().map(|one| text(one.address, one.error_code)).collect();
    findings.add(Finding::new(
        RULE,
        Subject::Processor,
        "#PF is of no access of its instruction that the page tables refuse",
        if expected.is_empty() { "none".into() } else { expected.join(", or ") },
        text(address, code),
    ));
}

/// Holds each byte that changed, or that the model writes, against what it may be.
fn memory(exact: &Exact, outcome: &Outcome, what: &str, findings: &mut Findings) {
    let mut addresses: BTreeSet<u64> =
        exact.changed.iter().map(|changed| changed.address).collect();
    for write in &outcome.writes {
        addresses.extend((0..u64::from(write.width)).map(|offset| write.address + offset));
    }
    let marked = exact.marked(outcome);
    // The bytes that are wrong, each with the write that it belongs to.
    let mut wrong: Vec<(u64, Option<Write>)> = Vec::new();
    for address in addresses {
        let (expected, undefined) = byte(exact, outcome, &marked, address);
        let got = after(exact, address);
        if (expected ^ got) & !undefined != 0 {
            let owner = outcome.writes.iter().rev().find(|write| write.byte(address).is_some());
            wrong.push((address, owner.copied()));
        }
    }
    let mut seen: Vec<Write> = Vec::new();
    let mut unowned: Vec<u64> = Vec::new();
    for (address, owner) in wrong {
        match owner {
            Some(write) if !seen.contains(&write) => {
                seen.push(write);
                findings.add(of_write(exact, outcome, &marked, &write, what));
            }
            Some(_) => {}
            None => unowned.push(address),
        }
    }
    for run in unowned.chunk_by(|one, next| one + 1 == *next) {
        findings.add(of_bytes(exact, run, what));
    }
}

/// What the byte at `address` is to be, and the bits that are open.
fn byte(exact: &Exact, outcome: &Outcome, marked: &BTreeMap<u64, u8>, address: u64) -> (u8, u8) {
    let expected = outcome.writes.expect(address, before(exact, address));
    (expected.value, expected.undefined | marked.get(&address).copied().unwrap_or(0))
}

fn before(exact: &Exact, address: u64) -> u8 {
    exact
        .changed
        .iter()
        .find(|changed| changed.address == address)
        .map(|changed| changed.before)
        .or_else(|| exact.memory.get(address))
        .unwrap_or(0xff)
}

fn after(exact: &Exact, address: u64) -> u8 {
    exact.after(address).unwrap_or(0xff)
}

/// A write of the model's that was not made so.
fn of_write(
    exact: &Exact,
    outcome: &Outcome,
    marked: &BTreeMap<u64, u8>,
    write: &Write,
    what: &str,
) -> Finding {
    let (mut expected, mut got) = (0, 0);
    for offset in (0..write.width).rev() {
        let address = write.address + u64::from(offset);
        let (value, undefined) = byte(exact, outcome, marked, address);
        let is = after(exact, address);
        expected = expected << 8 | u32::from(value & !undefined | is & undefined);
        got = got << 8 | u32::from(is);
    }
    let digits = usize::from(write.width) * 2;
    let finding = Finding::new(
        RULE,
        Subject::Processor,
        format!(
            "{} by {what} at {:08x} (physical {:08x}) is not what the model says",
            write.owner, write.linear, write.address
        ),
        format!("{expected:0digits$x}"),
        format!("{got:0digits$x}"),
    )
    .beside_the_model(Aspect::Written(write.owner), expected, got)
    .for_linear(write.linear);
    match write.owner {
        Owner::Pushed(word) => finding.of_word(word, expected, got),
        _ => finding,
    }
}

/// Bytes that changed and that the model does not write.
fn of_bytes(exact: &Exact, run: &[u64], what: &str) -> Finding {
    let text = |value: fn(&Exact, u64) -> u8| {
        let bytes: Vec<String> =
            run.iter().take(16).map(|address| format!("{:02x}", value(exact, *address))).collect();
        bytes.join(" ")
    };
    let first = run.first().copied().unwrap_or(0);
    Finding::new(
        RULE,
        Subject::Processor,
        format!(
            "{what} changed {} at physical {first:08x}, which the model does not write",
            match run.len() {
                1 => "a byte".to_owned(),
                count => format!("{count} bytes"),
            }
        ),
        text(before),
        text(after),
    )
}
