//! How a run ends when the kernel does not power off: by name, with the registers, in time, and with
//! the exit status that goes with it.

use esp0::probe::Choice;
use esp0::run::{ClockChoice, Ending};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, al, dword_ptr, eax, esp};
use std::io::Write;
use std::time::{Duration, Instant};
use tests::{Experiment, esp0, kernels};

/// A kernel of a few instructions, and what becomes of it.
struct Case {
    name: &'static str,
    code: fn(&mut CodeAssembler) -> Result<(), IcedError>,
    ending: fn(&Ending) -> bool,
    /// What the program says of it.
    says: &'static str,
    /// Its exit status: 0 all right, 4 the guest failed.
    status: i32,
}

const CASES: [Case; 7] = [
    Case {
        name: "power off",
        code: |a| {
            a.xor(eax, eax)?;
            a.out(0xf4, al)
        },
        ending: |ending| *ending == Ending::PoweredOff,
        says: "the guest powered off",
        status: 0,
    },
    Case {
        name: "halt with interrupts closed",
        code: |a| {
            a.cli()?;
            a.hlt()
        },
        ending: |ending| *ending == Ending::Halted,
        says: "the guest halted for good",
        status: 0,
    },
    Case {
        name: "panic",
        code: |a| {
            a.mov(al, 1)?;
            a.out(0xf4, al)
        },
        ending: |ending| *ending == Ending::Failed(1),
        says: "the guest reported failure 1 on the exit port",
        status: 4,
    },
    Case {
        name: "reset by the keyboard controller",
        code: |a| {
            a.mov(al, 0xfe)?;
            a.out(0x64, al)
        },
        ending: |ending| *ending == Ending::Reset,
        says: "the guest asked for a reset",
        status: 4,
    },
    Case {
        name: "triple fault",
        code: |a| {
            // The IDT's limit is 0: no gate can be read for #BP, #GP and #DF.
            a.mov(esp, (kernels::LOAD + 0x8000) as i32)?;
            a.lidt(dword_ptr(kernels::LOAD + 0x8000))?;
            a.int3()
        },
        ending: |ending| *ending == Ending::TripleFault,
        says: "triple fault: an exception could not be delivered, nor the double fault",
        status: 4,
    },
    Case {
        name: "code where there is no memory",
        code: |a| a.jmp(0xd000_0000),
        ending: |ending| matches!(ending, Ending::InternalError { suberror: 1, .. }),
        says: "KVM gave up with internal error 1: it could not emulate an instruction",
        status: 4,
    },
    Case {
        name: "endless loop",
        code: |a| {
            let mut here = a.create_label();
            a.set_label(&mut here)?;
            a.jmp(here)
        },
        ending: |ending| *ending == Ending::TimedOut,
        says: "time-out: the guest ran longer than it was allowed to",
        status: 4,
    },
];

/// Time-out of the kernel that never ends.
const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn each_end_is_called_by_its_name_on_both_clocks() {
    for case in &CASES {
        for clock in [ClockChoice::Real, ClockChoice::DETERMINISTIC] {
            let started = Instant::now();
            let experiment = Experiment::with_kernel(kernels::kernel(case.code));
            let seen = experiment.clock(clock).timeout(PATIENCE).run();
            let ending = &seen.end.ending;
            assert!((case.ending)(ending), "{} on {clock:?} ended so: {ending:?}", case.name);
            assert_eq!(ending.is_good(), case.status == 0, "{}", case.name);
            assert!(ending.to_string().starts_with(case.says), "{}: {ending}", case.name);
            let took = started.elapsed();
            assert!(took < PATIENCE + Duration::from_secs(5), "{} took {took:?}", case.name);
        }
    }
}

#[test]
fn each_end_has_its_exit_status_and_says_what_happened() {
    for case in &CASES {
        let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
        file.write_all(&kernels::kernel(case.code)).expect("and written");
        let path = file.path().to_str().expect("its name is text");
        let output = esp0(&["run", path, "--timeout", "0.3"]);
        // None of these kernels is ever entered: even where it ends well, nothing was shown to be right.
        output.assert_status(4);
        assert!(output.stdout.contains(case.says), "{}:\n{}", case.name, output.stdout);
        let verdict =
            if case.status == 0 { "verdict: no-entries " } else { "verdict: guest-failed " };
        assert!(output.last_line().starts_with(verdict), "{}:\n{}", case.name, output.stdout);
        if case.status != 0 {
            for part in ["the last entries:", "the registers", "EAX ", "CS:EIP 0010:", "CR2 "] {
                assert!(
                    output.stdout.contains(part),
                    "{}: no {part}\n{}",
                    case.name,
                    output.stdout
                );
            }
        }
    }
}

/// KVM may have reset the registers when it reports a triple fault: those of the last stop before it
/// are given.
#[test]
fn after_a_triple_fault_the_registers_are_those_from_before_it() {
    let seen = Experiment::with_kernel(kernels::kernel(|a| {
        a.mov(esp, (kernels::LOAD + 0x8000) as i32)?;
        a.mov(eax, 0x1234_5678)?;
        // An access to a port is an exit, and so the last stop.
        a.out(0x80, al)?;
        a.lidt(dword_ptr(kernels::LOAD + 0x8000))?;
        a.int3()
    }))
    .probes(Choice::None)
    .run();
    assert_eq!(seen.end.ending, Ending::TripleFault);
    let state = &seen.end.state;
    let expected = (0x1234_5678, kernels::LOAD + 0x8000, true);
    assert_eq!((state.general.eax, state.general.esp, state.protected()), expected, "{state:x?}");
}

#[test]
fn a_time_out_ends_programs_that_go_on_for_ever() {
    for clock in [ClockChoice::Real, ClockChoice::DETERMINISTIC] {
        let seen =
            Experiment::with_programs(&["compute 4000000000"]).clock(clock).timeout(PATIENCE).run();
        assert_eq!(seen.end.ending, Ending::TimedOut, "on {clock:?}\n{}", seen.text());
        assert!(seen.findings().next().is_none(), "on {clock:?}\n{}", seen.report());
    }
}

#[test]
fn a_kernel_that_panics_says_why_and_fails() {
    let seen = Experiment::with_guest("broken").command_line("plant=no_such_plant").run();
    assert_eq!(seen.end.ending, Ending::Failed(1), "{}", seen.text());
    assert!(seen.text().contains("panic: there is no plant=no_such_plant"), "{}", seen.text());
}
