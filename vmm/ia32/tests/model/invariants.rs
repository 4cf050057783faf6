//! What holds for every outcome, whatever the input.

use crate::lab::Lab;
use ia32::{AttemptEnd, Branch, MAX_ATTEMPTS, Operation, Outcome, Owner, ReadMemory, Unmodelled};

/// Does an operation, and checks everything that is always so.
pub(crate) fn check(lab: &Lab, operation: Operation) -> Outcome {
    let outcome = lab.take(operation);
    let once = lab.attempt(operation);
    assert_eq!(lab.take(operation), outcome, "not repeatable");
    assert!(!ia32::explain(&lab.state, &outcome).to_string().is_empty());

    check_attempts(&outcome, &once);
    check_writes(lab, &outcome);
    check_state(lab, &outcome);
    check_fault(lab, &once);
    outcome
}

fn check_attempts(outcome: &Outcome, once: &Outcome) {
    let attempts: Vec<_> = outcome.attempts.iter().collect();
    assert!(!attempts.is_empty() && attempts.len() <= MAX_ATTEMPTS);
    let (last, before) = attempts.split_last().unwrap();
    assert!(before.iter().all(|attempt| attempt.fault.is_some()));
    match outcome.end {
        AttemptEnd::Completed | AttemptEnd::Unmodelled(_) => assert_eq!(last.fault, None),
        AttemptEnd::Shutdown | AttemptEnd::Endless => assert!(last.fault.is_some()),
        AttemptEnd::Fault(_) => panic!("a chain does not end in a fault"),
    }
    assert_eq!(
        outcome.end == AttemptEnd::Endless,
        attempts.len() == MAX_ATTEMPTS && last.fault.is_some()
    );
    // The first attempt is what it would be alone.
    assert_eq!(once.fault(), attempts[0].fault);
}

fn check_writes(lab: &Lab, outcome: &Outcome) {
    let too_many = outcome.end == AttemptEnd::Unmodelled(Unmodelled::TooManyWrites);
    assert!(!outcome.writes.overflowed() || too_many);
    for write in &outcome.writes {
        assert!((1..=4).contains(&write.width), "{write:?}");
        let last = write.address + u64::from(write.width) - 1;
        assert_eq!(write.address >> 12, last >> 12, "{write:?} crosses a page");
        let bits = 8 * u32::from(write.width);
        assert!(u64::from(write.value | write.undefined) >> bits == 0, "{write:?}");
        if write.owner.is_bit() {
            assert_eq!(write.width, 1);
        }
    }
    // Nothing but what is declared changes, and it becomes what is expected.
    let after = lab.after(outcome);
    for (at, (before, after)) in lab.memory.iter().zip(&after).enumerate() {
        let at = at as u64;
        if before != after {
            let declared = outcome.writes.iter().any(|write| write.byte(at).is_some());
            assert!(declared, "{at:#x}");
            assert!(outcome.writes.expect(at, *before).allows(*after), "{at:#x}");
        }
    }
    let path = outcome.path();
    for write in &outcome.writes {
        let explained = match write.owner {
            Owner::Backlink => path.contains(Branch::TaskNested),
            Owner::Busy(_) => {
                path.contains(Branch::TaskNewBusySet) || path.contains(Branch::TaskOldBusyCleared)
            }
            Owner::TssGeneral(_) | Owner::TssSegment(_) | Owner::TssEip | Owner::TssEflags => {
                path.contains(Branch::TaskSaved32) || path.contains(Branch::TaskSaved16)
            }
            // A new task's segments may have been looked at in another order.
            Owner::Accessed(_) => !write.certain || path.contains(Branch::DescriptorAccessed),
            Owner::PageDirectory | Owner::PageTable => lab.state.paging(),
            Owner::Pushed(_) => true,
        };
        assert!(explained, "{write:?}");
    }
}

fn check_state(lab: &Lab, outcome: &Outcome) {
    let (before, after) = (&lab.state, &outcome.state);
    assert_eq!((after.gdtr, after.idtr, after.cr4), (before.gdtr, before.idtr, before.cr4));
    let path = outcome.path();
    let loaded = path.contains(Branch::TaskLoaded32) || path.contains(Branch::TaskLoaded16);
    if !loaded {
        assert_eq!((after.tr, after.ldtr), (before.tr, before.ldtr));
        assert_eq!((after.cr0, after.cr3), (before.cr0, before.cr3));
        let (mut from, mut to) = (before.general, after.general);
        (from.esp, to.esp) = (0, 0);
        assert_eq!(from, to);
    }
    if outcome.is_completed() {
        assert_eq!(after.interrupt_shadow, 0);
    }
    // The state differs from itself nowhere.
    assert_eq!(outcome.undefined.differences(after, after).count(), 0);
}

/// A fault before any point of no return leaves the state alone.
fn check_fault(lab: &Lab, once: &Outcome) {
    let Some(fault) = once.fault() else { return };
    assert!(once.path().contains(fault.branch));
    assert_eq!(fault.address.is_some(), fault.vector == ia32::Vector::PF);
    if once.writes.iter().any(|write| write.certain) {
        return;
    }
    let mut expected = lab.state;
    expected.cr2 = once.state.cr2;
    expected.nmi_blocked = once.state.nmi_blocked;
    if once.state.tr == lab.state.tr {
        assert_eq!(once.state, expected);
        assert_eq!(lab.after(once), lab.memory);
    }
    // A page fault is one that a walk of the tables gives.
    if let Some(address) = fault.address {
        let access = ia32::paging::AccessRequest {
            write: fault.error_code & 2 != 0,
            privilege: match fault.error_code & 4 {
                0 => ia32::paging::Privilege::Implicit,
                _ => ia32::paging::Privilege::User,
            },
        };
        let paging = ia32::paging::PagingControls::from(&lab.state);
        let memory = lab.memory.as_slice();
        let walk = ia32::paging::translate(memory, &paging, address, access, &lab.processor);
        // A write of the event itself may have changed the tables; the walk is then another.
        let touched = once.writes.iter().any(|write| !write.owner.is_bit());
        if !touched {
            assert_eq!(walk.result.map_err(|fault| fault.error_code), Err(fault.error_code));
        }
        assert_eq!(memory.read_u8(u64::MAX), 0xff);
    }
}
