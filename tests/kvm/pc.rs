//! What other people's kernels find in this machine: interrupt controllers in memory, PCI by double words, a
//! timer that a BIOS left running, a text screen, and nothing where there is nothing.

use esp0::run::{ClockChoice, Ending};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, al, byte_ptr, dword_ptr, dx, eax, ecx, esp, word_ptr};
use std::io::Write;
use std::time::{Duration, Instant};
use tests::{Experiment, Output, esp0, kernels};

const STACK: u32 = kernels::LOAD + 0x8000;
const IDT: u32 = kernels::LOAD + 0x9000;
const IDT_POINTER: u32 = kernels::LOAD + 0x9800;
const LOCAL_APIC: u32 = 0xFEE0_0000;
const IO_APIC: u32 = 0xFEC0_0000;

/// Long enough for an emulated machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

type Code = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Where the handler lies: behind a short jump.
const HANDLER: u32 = kernels::ENTRY + 2;

/// A handler that ends the run in good order, a stack, and an IDT with the handler at this vector.
fn set_up(a: &mut CodeAssembler, vector: u32) -> Result<(), IcedError> {
    let mut start = a.create_label();
    a.jmp(start)?;
    power_off(a)?;
    a.set_label(&mut start)?;
    a.mov(esp, STACK)?;
    a.mov(dword_ptr(IDT + 8 * vector), 0x10 << 16 | HANDLER & 0xFFFF)?;
    a.mov(dword_ptr(IDT + 8 * vector + 4), HANDLER & 0xFFFF_0000 | 0x8E00)?;
    a.mov(word_ptr(IDT_POINTER), 0x7FF)?;
    a.mov(dword_ptr(IDT_POINTER + 2), IDT)?;
    a.lidt(dword_ptr(IDT_POINTER))
}

/// Opens interrupts and waits.
fn wait(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut here = a.create_label();
    a.sti()?;
    a.set_label(&mut here)?;
    a.jmp(here)
}

fn power_off(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.xor(eax, eax)?;
    a.out(0xF4, al)
}

/// What arrives, and the vector that it arrives by.
const INTERRUPTS: [(&str, u8, Code); 4] = [
    ("the timer that a BIOS left running, at vector 8", 0x08, |a| {
        set_up(a, 0x08)?;
        wait(a)
    }),
    ("an interrupt that the processor sends to itself", 0x40, |a| {
        set_up(a, 0x40)?;
        a.mov(dword_ptr(LOCAL_APIC + 0xF0), 0x1FF)?;
        a.mov(dword_ptr(LOCAL_APIC + 0x300), 0x4_4040)?;
        // Delivery status is never pending.
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.test(dword_ptr(LOCAL_APIC + 0x300), 0x1000)?;
        a.jne(again)?;
        wait(a)
    }),
    ("the local APIC's own timer, with the 8259s masked", 0x41, |a| {
        set_up(a, 0x41)?;
        a.mov(al, 0xFF)?;
        a.out(0x21, al)?;
        // A register that is read and written by one instruction.
        a.or(dword_ptr(LOCAL_APIC + 0xF0), 0x100)?;
        a.mov(dword_ptr(LOCAL_APIC + 0x3E0), 0xB)?;
        a.mov(dword_ptr(LOCAL_APIC + 0x320), 0x2_0041)?;
        a.mov(dword_ptr(LOCAL_APIC + 0x380), 1_000_000)?;
        wait(a)
    }),
    ("the timer through the I/O APIC's pin 2", 0x42, |a| {
        set_up(a, 0x42)?;
        a.mov(al, 0xFF)?;
        a.out(0x21, al)?;
        a.mov(dword_ptr(LOCAL_APIC + 0xF0), 0x1FF)?;
        a.mov(dword_ptr(IO_APIC), 0x14)?;
        a.mov(dword_ptr(IO_APIC + 0x10), 0x42)?;
        wait(a)
    }),
];

#[test]
fn interrupts_arrive_by_each_controller_on_both_clocks() {
    for (name, vector, code) in &INTERRUPTS {
        for clock in [ClockChoice::Real, ClockChoice::DETERMINISTIC] {
            let seen =
                Experiment::with_kernel(kernels::kernel(code)).clock(clock).timeout(PATIENCE).run();
            assert_eq!(seen.end.ending, Ending::PoweredOff, "{name} on {clock:?}");
            let vectors: Vec<u8> = seen.entries().map(|entry| entry.vector.0).collect();
            assert_eq!(vectors, [*vector], "{name} on {clock:?}");
        }
    }
}

/// A sleep goes on after a signal; the run has to end all the same.
#[test]
fn a_guest_that_waits_for_a_timer_far_away_is_ended_in_time() {
    let kernel = kernels::kernel(|a| {
        set_up(a, 0x41)?;
        a.mov(al, 0xFF)?;
        a.out(0x21, al)?;
        a.mov(dword_ptr(LOCAL_APIC + 0xF0), 0x1FF)?;
        // More than an hour.
        a.mov(dword_ptr(LOCAL_APIC + 0x3E0), 0xA)?;
        a.mov(dword_ptr(LOCAL_APIC + 0x320), 0x41)?;
        a.mov(dword_ptr(LOCAL_APIC + 0x380), -1)?;
        wait(a)
    });
    let begun = Instant::now();
    let experiment = Experiment::with_kernel(kernel).clock(ClockChoice::Real);
    let seen = experiment.timeout(Duration::from_secs(2)).run();
    assert_eq!(seen.end.ending, Ending::TimedOut);
    assert!(begun.elapsed() < 10 * PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn a_double_word_for_pci_is_no_reset_and_finds_the_host_bridge() {
    let seen = Experiment::with_kernel(kernels::kernel(|a| {
        a.mov(dx, 0xCF8)?;
        a.mov(eax, 0x8000_0600u32)?;
        a.out(dx, eax)?;
        a.mov(eax, 0x8000_0000u32)?;
        a.out(dx, eax)?;
        a.mov(dx, 0xCFC)?;
        a.in_(eax, dx)?;
        a.sub(eax, 0x1237_8086)?;
        a.out(0xF4, eax)
    }))
    .run();
    assert_eq!(seen.end.ending, Ending::PoweredOff);
}

#[test]
fn cpuid_announces_the_local_apic_and_no_x2apic_and_an_unknown_msr_reads_as_0() {
    let output = run(
        |a| {
            a.mov(eax, 1)?;
            a.cpuid()?;
            let mut wrong = a.create_label();
            a.test(ecx, 1 << 21 | 1 << 24 | 1 << 31)?;
            a.jne(wrong)?;
            a.bt(iced_x86::code_asm::edx, 9)?;
            a.jae(wrong)?;
            a.mov(ecx, 0x7654_3210)?;
            a.rdmsr()?;
            a.out(0xF4, eax)?;
            a.set_label(&mut wrong)?;
            a.mov(eax, 1)?;
            a.out(0xF4, eax)
        },
        &[],
    );
    assert!(output.stdout.contains("the guest powered off"), "{}", output.stdout);
    let line = "nobody there MSR 0x76543210: read once, first by ";
    assert!(output.stdout.contains(line), "{}", output.stdout);
}

#[test]
fn what_nobody_answers_is_listed_and_a_loop_that_waits_for_it_is_named() {
    let output = run(
        |a| {
            let mut again = a.create_label();
            a.mov(eax, dword_ptr(0xD000_0000u32))?;
            a.mov(dx, 0x5FD)?;
            a.mov(ecx, 1000)?;
            a.set_label(&mut again)?;
            a.in_(al, dx)?;
            a.dec(ecx)?;
            a.jne(again)?;
            power_off(a)
        },
        &[],
    );
    let text = &output.stdout;
    assert!(
        text.contains("nobody there address 0xd0000000: read once, first by 00100020"),
        "{text}"
    );
    let polled = text.lines().find(|line| line.contains("port 0x5fd"));
    assert!(
        polled.is_some_and(|line| line.ends_with("reads in a row: a loop waits for it")),
        "{text}"
    );
}

#[test]
fn what_stands_on_the_text_screen_is_printed_without_its_control_characters() {
    let output = run(
        |a| {
            for (index, byte) in (0u32..).zip(*b"hi\x1b!") {
                a.mov(byte_ptr(0xB_8000 + 160 + 2 * index), u32::from(byte))?;
            }
            power_off(a)
        },
        &[],
    );
    assert!(output.stdout.contains("│hi←!\n"), "{}", output.stdout);
}

#[test]
fn a_status_of_qemus_debug_exit_can_be_declared_good() {
    let code: Code = |a| {
        a.mov(eax, 0x10)?;
        a.out(0xF4, al)
    };
    let good = run(code, &["--exit-codes", "33"]);
    assert!(good.stdout.contains("the guest powered off"), "{}", good.stdout);
    let bad = run(code, &[]);
    assert!(bad.stdout.contains("failure 16 on the exit port"), "{}", bad.stdout);
}

#[test]
fn a_kernel_that_closes_a20_is_told_that_memory_does_not_wrap() {
    let told = "nobody there A20: the guest has closed it, and memory does not wrap";
    let by_port_92: Code = |a| {
        a.mov(eax, 0)?;
        a.out(0x92, al)?;
        power_off(a)
    };
    let by_keyboard_controller: Code = |a| {
        a.mov(eax, 0xDD)?;
        a.out(0x64, al)?;
        power_off(a)
    };
    for code in [by_port_92, by_keyboard_controller] {
        let output = run(code, &[]);
        assert!(output.stdout.contains(told), "{}", output.stdout);
    }
    assert!(!run(power_off, &[]).stdout.contains("A20"), "nobody has closed it");
}

#[test]
fn a_flat_binary_begins_at_the_address_that_it_is_given() {
    const AT: u32 = 0x7C00;
    let bytes = kernels::assemble(AT, |a| {
        // The machine is as for a Multiboot kernel, and the code finds itself where it was put.
        let mut wrong = a.create_label();
        a.cmp(eax, 0x2BAD_B002)?;
        a.jne(wrong)?;
        a.cmp(byte_ptr(AT), 0x3D)?;
        a.set_label(&mut wrong)?;
        a.setne(al)?;
        a.out(0xF4, al)
    });
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(&bytes).expect("and written");
    let path = file.path().to_str().expect("its name is text");
    let output = esp0(&["run", path, "--at", "0x7c00", "--timeout", "20"]);
    assert!(output.stdout.contains("the guest powered off"), "{}{}", output.stdout, output.stderr);
    // Without an address it is told what is missing.
    let refused = esp0(&["run", path]);
    refused.assert_status(2);
    assert!(refused.stderr.contains("a flat binary takes --at ADDRESS"), "{}", refused.stderr);
    let outside = esp0(&["run", path, "--at", "0x2000000"]);
    outside.assert_status(2);
    assert!(outside.stderr.contains("lies outside guest memory"), "{}", outside.stderr);
    assert_eq!(outside.stderr.trim_end().lines().count(), 1, "{}", outside.stderr);
}

#[test]
fn options_that_a_kernel_cannot_have_are_refused_in_a_sentence() {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(&kernels::kernel(power_off)).expect("and written");
    let path = file.path().to_str().expect("its name is text");
    for (options, sentence) in [
        (["--at", "0x100000"], "is a kernel with a Multiboot header, which says itself"),
        (["--initrd", path], "is no Linux kernel, so it has no initial RAM disk: --module"),
        (["--exit-codes", "32"], "an odd number up to 255"),
        (["--exit-codes", "257"], "an odd number up to 255"),
        (["-kernel", path], "is a second kernel, and a run boots one"),
    ] {
        let refused = esp0(&[&["run", path][..], &options].concat());
        refused.assert_status(2);
        assert!(refused.stderr.contains(sentence), "{options:?}: {}", refused.stderr);
    }
}

#[test]
fn a_loop_that_waits_for_several_places_in_turn_is_named() {
    let output = run(
        |a| {
            let mut again = a.create_label();
            a.mov(ecx, 600)?;
            a.set_label(&mut again)?;
            a.mov(dx, 0x5FD)?;
            a.in_(al, dx)?;
            a.mov(dx, 0x3ED)?;
            a.in_(al, dx)?;
            a.dec(ecx)?;
            a.jne(again)?;
            power_off(a)
        },
        &[],
    );
    let text = &output.stdout;
    for port in ["port 0x5fd", "port 0x3ed"] {
        let line = text.lines().find(|line| line.contains(port)).unwrap_or_default();
        assert!(
            line.contains("; read in turn with others, ")
                && line.ends_with(": a loop waits for one of them"),
            "{text}"
        );
    }
}

/// The program's output for a kernel of these instructions.
fn run(code: Code, options: &[&str]) -> Output {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(&kernels::kernel(code)).expect("and written");
    let path = file.path().to_str().expect("its name is text");
    esp0(&[&["run", path, "--timeout", "20"], options].concat())
}

/// The kernel of `tests/c/pc.c` with this name, run with these options; none where there is no compiler for it.
fn run_compiled(name: &str, options: &[&str]) -> Option<Output> {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(&tests::compiled(name)?).expect("the kernel can be written");
    let path = file.path().to_str().expect("its name is text");
    let patience: &[&str] = if options.contains(&"--timeout") { &[] } else { &["--timeout", "60"] };
    Some(esp0(&[&["run", path, "--frames", "none", "-v"], patience, options].concat()))
}

#[test]
fn what_is_expected_may_come_on_the_screen_alone() {
    for clock in ["real", "deterministic"] {
        let options = ["--clock", clock, "--until", "login: ready"];
        let Some(output) = run_compiled("ON_SCREEN", &options) else { return };
        output.assert_status(0);
        assert!(output.stdout.contains("the console said \"login: ready\""), "{}", output.stdout);
    }
    let options = ["--until", "login:", "--until", "login:", "--timeout", "3"];
    let Some(output) = run_compiled("ON_SCREEN", &options) else { return };
    output.assert_status(4);
}

#[test]
fn a_kernel_that_asks_for_graphics_is_given_a_framebuffer_whose_picture_can_be_kept() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let picture = folder.path().join("screen.png");
    let options = ["--screenshot", picture.to_str().expect("its name is text")];
    let Some(output) = run_compiled("GRAPHICS", &options) else { return };
    assert!(output.stdout.contains("framebuffer (640 x 480, 32 bits, at 0x"), "{}", output.stdout);
    assert!(!output.stdout.contains("  │"), "it has printed: {}", output.stdout);
    let mut reader = png::Decoder::new(std::io::BufReader::new(
        std::fs::File::open(&picture).expect("there is a picture"),
    ))
    .read_info()
    .expect("it is a PNG");
    let mut dots = vec![0; reader.output_buffer_size().expect("it is small")];
    let shown = reader.next_frame(&mut dots).expect("it is whole");
    assert_eq!((shown.width, shown.height), (640, 480));
    let red = dots.chunks(3).map(|dot| dot == [255, 0, 0]);
    let at = red.enumerate().filter(|(_, red)| *red).map(|(at, _)| at);
    assert!(at.eq(240 * 640..241 * 640), "one line in the middle is red");
}

#[test]
fn a_kernel_that_uses_its_loaders_stack_before_it_has_one_goes_on() {
    let Some(output) = run_compiled("LOADERS_STACK", &["-q"]) else { return };
    assert!(output.stdout.starts_with('s'), "{}{}", output.stdout, output.stderr);
}

#[test]
fn a_local_apic_that_is_read_again_and_again_is_read_without_exits_and_still_counts() {
    let Some(output) = run_compiled("APIC_ID", &["--clock", "real"]) else { return };
    output.assert_status(0);
    assert!(output.stdout.contains("ics"), "{}", output.stdout);
    let accesses = output
        .stdout
        .split(" device accesses")
        .next()
        .and_then(|text| text.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(accesses.is_some_and(|count| count < 20_000), "{}", output.stdout);
}

/// The row `not judged` of the summary, each line of it.
fn not_judged(output: &Output) -> Vec<&str> {
    let rows = output.stdout.lines().skip_while(|line| !line.starts_with("not judged"));
    rows.enumerate()
        .take_while(|(row, line)| *row == 0 || line.starts_with(' '))
        .map(|(_, line)| line.trim_start_matches("not judged").trim_start())
        .collect()
}

#[test]
fn entries_by_call_gates_are_counted_and_judged_and_jumps_to_their_handlers_are_none() {
    for clock in ["real", "deterministic", "exits"] {
        let Some(output) = run_compiled("CALL_GATES", &["--clock", clock]) else { return };
        output.assert_status(0);
        assert!(output.stdout.contains("│ c"), "{clock}: {}", output.stdout);
        let counted = "call gates   150      entries, which push no EFLAGS; far RETs back: 150\n";
        assert!(output.stdout.contains(counted), "{clock}: {}", output.stdout);
        let clean = !output.last_line().contains("unjudged") && !output.stdout.contains("missed ");
        assert!(clean && output.last_line().contains("findings=0"), "{clock}: {}", output.stdout);
    }
}

#[test]
fn tasks_are_exchanged_inside_the_handlers_of_their_call_gates() {
    for clock in ["real", "deterministic", "exits"] {
        let Some(output) = run_compiled("CALL_GATES_OF_TASKS", &["--clock", clock]) else { return };
        output.assert_status(0);
        assert!(output.stdout.contains("│ k"), "{clock}: {}", output.stdout);
        let clean = !output.last_line().contains("unjudged") && !output.stdout.contains("missed ");
        assert!(clean && output.last_line().contains("findings=0"), "{clock}: {}", output.stdout);
    }
}

#[test]
fn entries_by_task_gates_are_judged_and_so_are_the_irets_back() {
    for clock in ["real", "deterministic"] {
        let Some(output) = run_compiled("TASK_GATES", &["--clock", clock]) else { return };
        output.assert_status(0);
        let text = &output.stdout;
        assert!(text.contains("│ t"), "{clock}: {text}");
        let verdict = output.last_line();
        let clean = !verdict.contains("unjudged") && verdict.contains("findings=0");
        assert!(clean && verdict.contains("entries=3 ring3=3"), "{clock}: {text}");
        let line = text.lines().find(|line| line.contains(" #DF task gate")).unwrap_or_default();
        assert!(
            line.contains("TR 0028→0030") && line.contains("pushed: error 0000"),
            "{clock}: {text}"
        );
        let back = text.lines().find(|line| line.contains("iret to a task")).unwrap_or_default();
        assert!(back.contains("→0028"), "{clock}: {text}");
        assert!(text.contains("\ntask gates   "), "{clock}: {text}");
    }
}

#[test]
fn an_entry_by_a_call_gate_has_a_line_and_a_task_gate_that_cannot_be_watched_is_named() {
    for clock in ["real", "deterministic"] {
        let Some(output) = run_compiled("CALL_GATE", &["--clock", clock]) else { return };
        output.assert_status(0);
        assert!(output.stdout.contains("│ 2"), "{}", output.stdout);
        let verdict = "verdict: ok entries=1 ring3=1 same=0 findings=0";
        assert!(output.last_line().starts_with(verdict), "{}", output.stdout);
        let line = output.stdout.lines().find(|line| line.contains("  call gate 0030 3→0   0023:"));
        let line = line.unwrap_or_else(|| panic!("{}", output.stdout));
        assert!(line.contains("pushed: SS ESP, no parameters, CS 001b EIP "), "{line}");
        // Its TSS is empty.
        let unused =
            "; none at the task gate of vector 0x08, by which nothing came: TSS 0038 has no link\n";
        assert!(output.stdout.contains(unused), "{}", output.stdout);
    }
}

#[test]
fn what_came_by_a_call_gate_before_it_was_found_is_named_as_not_judged() {
    for clock in ["real", "deterministic"] {
        let Some(output) = run_compiled("LATE_GATE", &["--clock", clock]) else { return };
        output.assert_status(0);
        assert!(output.stdout.contains("│ 2"), "{}", output.stdout);
        let verdict = "verdict: ok entries=1 ring3=1 same=0 unjudged=call_gate findings=0";
        assert!(output.last_line().starts_with(verdict), "{}", output.stdout);
        let [call_gate] = not_judged(&output)[..] else { panic!("{}", output.stdout) };
        let named = "entries by the call gate 0030, from rings up to 3 to 0008:";
        assert!(call_gate.starts_with(named) && call_gate.contains(" <plain"), "{call_gate}");
    }
}

#[test]
fn an_entry_behind_a_return_to_another_task_is_no_event_of_that_iret() {
    for clock in ["real", "deterministic"] {
        let Some(output) = run_compiled("TASK_RETURN", &["--clock", clock]) else { return };
        output.assert_status(0);
        assert!(output.last_line().contains("entries=3"), "{}", output.stdout);
        assert!(output.last_line().contains("unjudged=task_gate"), "{}", output.stdout);
        assert_eq!(
            not_judged(&output),
            [
                "entries by the task gate of vector 0x30, before it was found: TSS 0030, to which it leads, was entered"
            ]
        );
    }
}

#[test]
fn an_nmi_that_the_kernel_sends_itself_comes_with_interrupts_closed_and_none_within_another() {
    for clock in ["real", "deterministic", "exits"] {
        let Some(output) = run_compiled("NMI_TO_ITSELF", &["--clock", clock]) else { return };
        output.assert_status(0);
        assert!(output.stdout.contains("│ n"), "{clock}: {}", output.stdout);
        assert!(output.last_line().contains("entries=2"), "{clock}: {}", output.stdout);
    }
}
