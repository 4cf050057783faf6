//! Handlers that come to themselves, and stacks that lead nowhere.

use super::*;

/// A page fault of ring 0, the `nth` upon the others: its frame is 64 bytes lower than that before.
fn page_fault(world: &World, nth: u32, eip: u32, cr2: u32) -> Fault {
    let shape = FrameShape {
        changes_stack: false,
        from_virtual_8086: false,
        error_code: true,
        word_size: 4,
    };
    let linear = LinearMemory { memory: &world.memory, paging: (&world.state).into() };
    let frame = Frame::read(&linear, TOP - 0x100 - 64 * nth, shape)
        .with(Word::Eip, eip)
        .with(Word::ErrorCode, 2);
    let mut after = kernel_state();
    after.cr2 = cr2;
    Fault {
        sequence: u64::from(nth) + 1,
        vector: Vector::PF,
        kind: Kind::Fault,
        ring: 0,
        after,
        frame,
        code: CodeBytes { linear: Some(eip), ..CodeBytes::default() },
        walk: None,
        named: Named::Nothing,
        stack: [None; 3],
        refused: None,
        behind_int: 0,
    }
}

/// After so many of them, the first somewhere else.
fn after(world: &World, count: u32) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    diagnosis.recursion.count(&page_fault(world, 0, CODE, 0x4000_0000));
    for nth in 1..=count {
        diagnosis.recursion.count(&page_fault(world, nth, CODE + 0x10, 0xb_8000));
    }
    diagnosis
}

fn rules(world: &World, diagnosis: &Diagnosis, ending: Ending) -> Vec<&'static str> {
    world.conclude(diagnosis, ending, None).iter().map(|(_, finding)| finding.rule).collect()
}

#[test]
fn a_handler_that_meets_its_own_fault_again_and_again_is_told_before_what_comes_of_it() {
    let mut world = world();
    world.state = ring(0);
    let diagnosis = after(&world, 20);
    let found = world.conclude(&diagnosis, Ending::TripleFault, None);
    let [(_, finding)] = &found[..] else { panic!("{found:?}") };
    has(&finding.sentence, &["the handler of #PF meets the same fault itself", "19 times"]);
    has(&finding.got, &["frames of #2 to #21 upon each other"]);
    assert_eq!(rules(&world, &diagnosis, Ending::PoweredOff), [""; 0], "it ended well");
    assert_eq!(rules(&world, &after(&world, 10), Ending::TripleFault), ["shutdown"]);
}

#[test]
fn what_the_kernel_comes_to_when_its_stack_is_gone_changes_nothing_and_a_return_does() {
    let mut world = world();
    world.state = ring(0);
    let mut diagnosis = after(&world, 20);
    diagnosis.recursion.count(&page_fault(&world, 21, 0x6000, 0x10));
    assert_eq!(rules(&world, &diagnosis, Ending::TripleFault), ["recursion"]);
    let mut returning = |address: u32| {
        let shape = FrameShape {
            changes_stack: false,
            from_virtual_8086: false,
            error_code: false,
            word_size: 4,
        };
        let linear = LinearMemory { memory: &world.memory, paging: (&world.state).into() };
        let frame = Frame::read(&linear, address, shape).with(Word::Cs, 8);
        let state = kernel_state();
        diagnosis.recursion.leave(&Return { after_sequence: 21, time: 0, state, frame });
        rules(&world, &diagnosis, Ending::TripleFault)
    };
    assert_eq!(returning(TOP - 0x100 - 64 * 30), ["recursion"], "of what lies below");
    assert_eq!(returning(TOP - 0x100 - 64 * 5), ["shutdown"]);
}

#[test]
fn a_stack_pointer_beyond_ram_is_told_of_a_kernel_that_was_entered() {
    let mut world = world();
    world.state = ring(0);
    world.code(&[0xeb, 0xfe]);
    world.state.general.esp = 0x3031_3030;
    let told = |world: &World, diagnosis: &Diagnosis| {
        let found = world.conclude(diagnosis, Ending::TimedOut, None);
        found.into_iter().map(|(_, finding)| finding).find(|finding| finding.rule == lost::RULE)
    };
    let mut diagnosis = Diagnosis::default();
    assert_eq!(told(&world, &diagnosis), None, "it may not need one yet");
    diagnosis.last_entry = Some((3, Kind::External, Vector(0x20)));
    let finding = told(&world, &diagnosis).unwrap();
    has(&finding.sentence, &["ring 0 runs with ESP 30313030, where there is no RAM"]);
    has(finding.reason.as_deref().unwrap(), &["text, \"10\""]);
    world.state.general.esp = TOP;
    assert_eq!(told(&world, &diagnosis), None);
}
