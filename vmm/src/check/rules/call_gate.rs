use crate::check::{CodePlace, Finding, Findings, History, Subject};
use crate::entry::{CallFrame, Crossing, CrossingWay, Kind, Return};
use crate::probe::CallGate;
use ia32::{Eflags, Word};

/// A far CALL through a call gate pushes what the manual says, where the TSS says, and goes on where the gate says.
///
/// SDM vol. 3A, "Accessing a code segment through a call gate" and "Stack switching"; it changes no flag. What is known of the
/// caller is its state before, or that nothing has run between the CALL and here.
pub(crate) fn call_gate_is_gone_through(crossing: &Crossing, _: &History, findings: &mut Findings) {
    let CrossingWay::Call(gate) = crossing.way else { return };
    let (frame, after) = (&crossing.frame, &crossing.state);
    let mut held = vec![
        ("CS", gate.cs & !3, after.cs().selector & !3),
        ("SS", crossing.inner_stack.map_or(0, |stack| stack.ss), after.ss().selector),
    ]
    .into_iter()
    .map(|(what, expected, got)| (what, u32::from(expected), u32::from(got)))
    .collect::<Vec<_>>();
    held.push(("EIP", gate.offset, after.eip));
    if let Some(stack) = crossing.inner_stack {
        held.push(("ESP", stack.esp.wrapping_sub(frame.size()), after.stack_pointer()));
    }
    if let Some(before) = &crossing.before {
        let next = crossing.call_length.map(|length| before.eip.wrapping_add(length));
        held.push(("the pushed EIP", next.unwrap_or(frame.eip()), frame.eip()));
        held.push(("the pushed CS", before.cs().selector.into(), frame.cs().0.into()));
        held.push(("the pushed ESP", before.general.esp, frame.esp()));
        held.push(("the pushed SS", before.ss().selector.into(), frame.ss().0.into()));
        let kept = Eflags::IF.0 | Eflags::DF.0 | Eflags::NT.0 | Eflags::IOPL.0 | 0x8d5;
        held.push(("EFLAGS", before.eflags.0 & kept, after.eflags.0 & kept));
    }
    let parameters = crossing.callers.iter().flatten().zip(frame.parameters());
    held.extend(parameters.map(|(expected, got)| ("a parameter", *expected, *got)));
    for (what, expected, got) in held.into_iter().filter(|(_, expected, got)| expected != got) {
        findings.add(Finding::new(
            "call_gate",
            Subject::Processor,
            format!(
                "a far CALL by the call gate {:04x} did not set {what} as it should",
                gate.selector
            ),
            format!("{what} {expected:08x}"),
            format!("{what} {got:08x}"),
        ));
    }
}

/// The words of an entry by a call gate fall on no frame that a suspended task is to resume from.
///
/// The stack is that of ESP0, as for an interrupt (SDM vol. 3A, "Stack switching"). Not judged where the kernel resumes tasks
/// from copies, and where the task whose frame it is may have ended. Broken on purpose by `tests/c/call_gate.c`,
/// `STALE_ESP0`.
pub(crate) fn call_is_on_nobody_elses_stack(
    crossing: &Crossing,
    history: &History,
    findings: &mut Findings,
) {
    /// Stacks end at round addresses, records of tasks anywhere.
    const ROUND: u32 = 256;
    if !crossing.is_call() || history.copies_frames() {
        return;
    }
    let frame = &crossing.frame;
    let last_return = history.last_return().filter(|from| from.ring > crossing.state.cpl());
    let Some(from) =
        last_return.filter(|from| from.of_entry || from.stack_end.is_multiple_of(ROUND))
    else {
        return;
    };
    let end = frame.physical + u64::from(frame.size());
    let Some(victim) = history.live_within(frame.physical, end) else { return };
    let preempted = matches!(victim.kind, Kind::External | Kind::Nmi);
    let (Some(owner), Some(runs)) = (victim.task, from.task) else { return };
    if !preempted || !victim.from_outer_ring() || owner == runs {
        return;
    }
    let ss = crossing.state.ss().selector;
    let expected = from.stack_end.wrapping_sub(frame.size());
    let got = crossing.state.general.esp;
    findings.add(
        Finding::new(
            "suspended_stack",
            Subject::Kernel,
            format!("task {} has entered by a call gate on the stack of suspended task {}", runs.0, owner.0),
            format!("SS:ESP {ss:04x}:{expected:08x}  (the stack that the last return left)"),
            format!("SS:ESP {ss:04x}:{got:08x}  what is pushed overwrites the frame of #{}", victim.sequence),
        )
        .because(format!(
            "a call gate takes the stack from TSS.ESP0, as an interrupt does, and that is {:08x} still, where the stack of \
             task {} ends",
            frame.end(),
            owner.0
        ))
        .advise("store the end of the next task's kernel stack in TSS.ESP0 at each switch")
        .about(CodePlace::Handler(crossing.state.instruction_address())),
    );
}

/// A far RET behind a call gate removes the parameters that the gate has copied, and pops the caller's CS and SS.
///
/// SDM vol. 2B, RET, "Inter-privilege-level far return". Judged where it pops the frame that an entry by a call gate has left
/// there. Where EIP or ESP has changed as well, another program is gone to, and that is the kernel's affair. Broken on
/// purpose by `tests/c/call_gate.c`, `PARAMETERS_LEFT`.
pub(crate) fn far_return_pops_what_was_pushed(
    crossing: &Crossing,
    history: &History,
    findings: &mut Findings,
) {
    let CrossingWay::Return { removes } = crossing.way else { return };
    let Some((pushed, gate)) = history.called_at(crossing.frame.address) else { return };
    let popped = &crossing.frame;
    if (pushed.eip(), pushed.words[1]) != (popped.words[0], popped.words[1]) {
        return;
    }
    let at = crossing.state.instruction_address();
    let copied = u16::from(gate.parameters) * 4;
    if removes == copied {
        let place = (pushed.eip(), pushed.esp()) == (popped.eip(), popped.esp());
        if place && pushed.ss() != popped.ss() {
            findings.add(
                Finding::new(
                    "call_gate",
                    Subject::Kernel,
                    format!("the far RET at {at:08x} goes back to another SS than the call gate's entry has pushed"),
                    format!("SS {:04x}", pushed.ss().0),
                    format!("SS {:04x}", popped.ss().0),
                )
                .about_instruction(at),
            );
        }
        return;
    }
    let word = |at: u16| pushed.words.get(usize::from(2 + at / 4)).copied();
    let taken = match (word(removes), word(removes + 4)) {
        (Some(esp), Some(ss)) => format!("ESP {esp:08x}, SS {:04x}", ss as u16),
        _ => "ESP and SS from above the frame".to_owned(),
    };
    findings.add(
        Finding::new(
            "call_gate",
            Subject::Kernel,
            format!(
                "the far RET at {at:08x} removes {removes} bytes of parameters, and the call gate {:04x} has copied {copied}",
                gate.selector
            ),
            format!("ESP {:08x}, SS {:04x}", pushed.esp(), pushed.ss().0),
            taken,
        )
        .because(format!(
            "the gate copies {} words of the caller's stack (bits 4:0 of its second word) between CS:EIP and SS:ESP; \
             RET takes SS:ESP from behind as many bytes as its operand says",
            gate.parameters
        ))
        .advise(format!(
            "end the handler in `{}` (GNU assembler), or give the gate a count of {} words",
            lret(copied),
            removes / 4
        ))
        .about_instruction(at),
    );
}

/// IRET is no way back from an entry by a call gate: such a frame has no EFLAGS.
///
/// SDM vol. 2A, IRET, and vol. 3A, "Returning from a called procedure". Not told of a gate with one parameter, which a kernel
/// may use as the place for EFLAGS, nor where the words are not those that were pushed: a kernel may make a frame of
/// IRET's there. Broken on purpose by `tests/c/call_gate.c`, `ENDS_IN_IRET`.
pub(crate) fn iret_is_no_way_back(returning: &Return, history: &History) -> Option<Finding> {
    let popped = &returning.frame;
    let (pushed, gate) = history.called_at(popped.address)?;
    let words = [Word::Eip, Word::Cs, Word::Eflags, Word::Esp];
    let is_untouched =
        words.into_iter().zip(&pushed.words).all(|(word, is)| popped.get(word) == Some(*is));
    if gate.parameters == 1 || popped.shape.word_size != 4 || !is_untouched {
        return None;
    }
    let at = returning.state.instruction_address();
    let third = if gate.parameters == 0 { "ESP" } else { "first parameter" };
    Some(
        Finding::new(
            "call_gate",
            Subject::Kernel,
            format!("the IRET at {at:08x} pops what the call gate {:04x} has pushed, which is no frame of IRET's", gate.selector),
            format!("a far RET, which pops EIP {:08x}, CS {:04x}{}", pushed.eip(), pushed.cs().0, rest(pushed, &gate)),
            format!("IRET takes the caller's {third} {:08x} for EFLAGS", pushed.words[2]),
        )
        .because("a call gate pushes no EFLAGS, and leaves those of the caller in force")
        .advise(format!("end the handler in `{}` (GNU assembler) in place of IRET", lret(u16::from(gate.parameters) * 4)))
        .about_instruction(at),
    )
}

fn rest(pushed: &CallFrame, gate: &CallGate) -> String {
    let removes = match gate.parameters {
        0 => String::new(),
        count => format!(", removes {count} parameters"),
    };
    format!("{removes}, and pops ESP {:08x}, SS {:04x}", pushed.esp(), pushed.ss().0)
}

fn lret(removes: u16) -> String {
    if removes == 0 { "lret".into() } else { format!("lret ${removes}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::InnerStack;
    use ia32::State;

    fn judged(change: impl FnOnce(&mut Crossing)) -> Vec<Finding> {
        let gate = CallGate {
            selector: 0x30,
            dpl: 3,
            cs: 8,
            offset: 0x1000,
            address: 0x1000,
            parameters: 1,
            usual: true,
        };
        let (mut before, mut state) = (State::default(), State { eip: 0x1000, ..State::default() });
        before.eip = 0x4000;
        before.general.esp = 0x5000;
        before.segments[1].selector = 0x1b;
        before.segments[2].selector = 0x23;
        before.segments[2].attributes = 0xc0f3;
        state.segments[1].selector = 8;
        state.segments[2].selector = 0x10;
        state.segments[2].attributes = 0xc093;
        state.general.esp = 0x8000 - 20;
        let words = vec![0x4007, 0x1b, 7, 0x5000, 0x23];
        let mut crossing = Crossing {
            after_sequence: 3,
            time: 0,
            way: CrossingWay::Call(gate),
            before: Some(Box::new(before)),
            state,
            inner_stack: Some(InnerStack { ss: 0x10, esp: 0x8000 }),
            frame: CallFrame { address: 0x8000 - 20, physical: 0x8000 - 20, words },
            call_length: Some(7),
            callers: Some(vec![7]),
        };
        change(&mut crossing);
        let mut findings = Findings::default();
        call_gate_is_gone_through(&crossing, &History::default(), &mut findings);
        findings.take()
    }

    #[test]
    fn what_a_call_gate_pushes_is_held_against_the_state_before() {
        assert!(judged(|_| ()).is_empty(), "{:?}", judged(|_| ()));
        for (change, what) in [
            ((|call| call.frame.words[0] += 1) as fn(&mut Crossing), "the pushed EIP"),
            (|call| call.frame.words[1] = 0x18, "the pushed CS"),
            (|call| call.frame.words[2] = 8, "a parameter"),
            (|call| call.frame.words[3] -= 4, "the pushed ESP"),
            (|call| call.frame.words[4] = 0x10, "the pushed SS"),
            (|call| call.state.general.esp -= 4, "ESP"),
            (|call| call.state.segments[2].selector = 0x18, "SS"),
            (|call| call.state.eip += 1, "EIP"),
            (|call| call.state.eflags = Eflags::DF, "EFLAGS"),
        ] {
            let found = judged(change);
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            assert_eq!(found[0].subject, Subject::Processor);
            assert!(found[0].sentence.contains(&format!("did not set {what} as")), "{found:?}");
        }
    }

    #[test]
    fn without_a_state_before_what_lies_there_is_no_evidence_against_the_processor() {
        assert!(judged(|call| (call.before, call.frame.words[0]) = (None, 0x4444)).is_empty());
    }
}
