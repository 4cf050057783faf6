//! What a checked stop costs, in instructions, beside a raw port-I/O exit in the same run.
//!
//! `scripts/bench` runs it where the clock counts instructions, one a nanosecond: the figures are
//! then the same each time. Elsewhere they are nanoseconds, and only the ratios mean anything.
//!
//! The guest is a ring-3 loop around `int 0x80` with a handler that only returns, under 4 KiB
//! paging, in two forms: with the two-byte no-op for probes, and without.

use esp0::boot::{self, EntryState, KernelFile, Loader, ModuleFile, StartMode};
use esp0::check::{Checker, Judge, Judged};
use esp0::devices::Devices;
use esp0::guests;
use esp0::host::Backend;
use esp0::machine::{Exit, Machine};
use esp0::probe::{Choice, DebugRegisters};
use esp0::run::{ClockChoice, Ending, Event, Mode, Options, Run, flat_protected_mode};
use esp0::trace::schema::HeaderRecord;
use esp0::trace::{JsonLines, Report, Style};
use ia32::{Eflags, Gate, GateKind, Segment, Selector, State, TableRegister};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const RAM: u64 = 1 << 20;
const GDT: u32 = 0x1000;
const IDT: u32 = 0x2000;
const TSS: u32 = 0x3000;
const KERNEL: u32 = 0x4000;
const USER: u32 = 0x5000;
const ESP0: u32 = 0x8000;
const USER_STACK: u32 = 0x9000;
const PAGE_DIRECTORY: u32 = 0xa000;
const PAGE_TABLE: u32 = 0xb000;

/// System calls in a short and in a long run: what a run costs beside them cancels out.
const FEW: u32 = 200;
const MANY: u32 = 1200;

/// The arguments with which the program calls itself.
const FIRST_RING_3: &str = "--first-ring-3";
const BARE: &str = "--bare";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|argument| argument == FIRST_RING_3) {
        return first_ring_3();
    }
    if std::env::args().any(|argument| argument == BARE) {
        return bare();
    }
    let backend = Backend::detect();
    println!("{backend}; figures in nanoseconds, which are instructions under scripts/bench\n");
    let raw = raw_exit();
    println!("{:<58} {:>8} {:>7}  limit", "", "each", "ratio");
    row("a raw port-I/O exit with synchronised registers", raw, raw, None);
    row(
        "the same in the guest that the stops are taken in",
        raw_exit_of_a_system_call(),
        raw,
        None,
    );
    row("a stop that nobody checks: patched no-op", unchecked_stop(), raw, None);
    let mut met = true;
    for (name, no_ops, choice, limit) in [
        ("a checked stop: patched no-op", true, Choice::Patch, 1.25),
        ("a checked stop: hardware breakpoint", false, Choice::Breakpoint, 1.25),
        ("a checked stop: displaced instruction", false, Choice::Patch, 2.6),
    ] {
        let quiet = stop(no_ops, choice, &backend, false);
        met &= row(name, quiet, raw, Some(limit));
        let traced = stop(no_ops, choice, &backend, true);
        met &= row("    more, with JSON Lines", traced - quiet, raw, Some(0.4));
    }
    met &= without_probes();
    met &= start();
    println!("\n{}", if met { "all limits are kept" } else { "a limit is missed" });
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a row; whether its limit is kept.
fn row(name: &str, each: f64, raw: f64, limit: Option<f64>) -> bool {
    let ratio = each / raw;
    let kept = limit.is_none_or(|limit| ratio <= limit);
    let limit = limit.map_or(String::new(), |limit| {
        format!("{limit:>5.2}  {}", if kept { "kept" } else { "MISSED" })
    });
    println!("{name:<58} {each:>8.0} {ratio:>7.2}  {limit}");
    kept
}

/// A guest that does nothing but `out`.
fn raw_exit() -> f64 {
    let mut machine = Machine::new(RAM).expect("a VM");
    machine.write_memory(u64::from(KERNEL), &[0xe6, 0x80, 0xeb, 0xfc]).expect("RAM");
    let entry = EntryState {
        start: StartMode::ProtectedMode,
        eip: KERNEL,
        eax: 0,
        ebx: 0,
        esi: 0,
        esp: 0,
        gdt: None,
        loader: Loader::Grub,
    };
    machine.vcpu.set_state(&flat_protected_mode(&entry));
    raw_exits(machine)
}

/// The guest of the stops, with two `out` in its handler.
fn raw_exit_of_a_system_call() -> f64 {
    raw_exits(loop_machine(&[0xe6, 0x80, 0x50, 0x58, 0xe6, 0x80, 0xcf], u32::MAX))
}

fn raw_exits(mut machine: Machine) -> f64 {
    let mut exits = |count: u32| {
        let start = Instant::now();
        for _ in 0..count {
            let exit = machine.vcpu.run().expect("KVM_RUN");
            assert_eq!(exit, Exit::PortWrite { port: 0x80, size: 1 });
        }
        start.elapsed().as_nanos() as f64
    };
    exits(FEW);
    exits(MANY) / f64::from(MANY)
}

/// What one stop costs: half of a system call, which is an entry and a return.
fn stop(no_ops: bool, choice: Choice, backend: &Backend, traced: bool) -> f64 {
    let timed = |calls: u32| {
        let trace = traced.then(|| {
            let file = File::create("/dev/shm/esp0-bench.jsonl").expect("a file in memory");
            JsonLines::new(file, HeaderRecord::new()).expect("a header")
        });
        let mut judge = Judge::new(Checker::new(backend));
        let mut report = Report::new(io::sink(), HeaderRecord::new())
            .with_trace(trace)
            .with_style(Style { quiet: true, ..Style::default() });
        let mut run = loop_guest(no_ops, choice, calls);
        let start = Instant::now();
        let end = judge.follow(&mut run, &mut report).expect("KVM");
        let time = start.elapsed().as_nanos() as f64;
        assert_eq!(end.ending, Ending::PoweredOff);
        assert_eq!(judge.tally().findings, 0);
        assert_eq!(judge.tally().entries, u64::from(calls) + 1);
        time
    };
    timed(FEW);
    (timed(MANY) - timed(FEW)) / f64::from(MANY - FEW) / 2.0
}

/// Lets the guest run to its end, and looks at nothing that it comes to.
fn look_away(run: &mut Run) {
    while !matches!(run.next_event().expect("KVM"), Event::End(_)) {}
}

/// What one stop costs that is turned into a value and not checked.
fn unchecked_stop() -> f64 {
    let timed = |calls: u32| {
        let mut run = loop_guest(true, Choice::Patch, calls);
        let start = Instant::now();
        look_away(&mut run);
        start.elapsed().as_nanos() as f64
    };
    timed(FEW);
    (timed(MANY) - timed(FEW)) / f64::from(MANY - FEW) / 2.0
}

/// System calls without probes cause no exits.
fn without_probes() -> bool {
    let exits = |calls: u32| {
        let mut run = loop_guest(true, Choice::None, calls);
        look_away(&mut run);
        run.counters().exits
    };
    let (few, many) = (exits(FEW), exits(MANY));
    println!(
        "\nVM exits with probes off: {few} for {FEW} system calls, {many} for {MANY}: {} for a call",
        many.saturating_sub(few)
    );
    many == few
}

/// From the start of the program to the first instruction in ring 3, beside a program that only
/// creates the same VM and vCPU, and beside that creation alone.
fn start() -> bool {
    let creation = || {
        let start = now();
        let machine = black_box(Machine::new(16 << 20).expect("a VM"));
        let time = now() - start;
        drop(machine);
        time
    };
    let program = |what: &str| {
        let start = now();
        let output = Command::new(std::env::current_exe().expect("a path"))
            .arg(what)
            .stdin(Stdio::null())
            .output()
            .expect("a child");
        let end: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a time");
        end - start
    };
    // The first of each fills caches that later ones find full.
    let times: Vec<[u64; 3]> =
        (0..4).map(|_| [creation(), program(BARE), program(FIRST_RING_3)]).skip(1).collect();
    let [creation, bare, whole] = [0, 1, 2]
        .map(|which| times.iter().map(|each| each[which]).sum::<u64>() as f64 / times.len() as f64);
    println!();
    row("creating a VM with 16 MiB and its vCPU", creation, bare, None);
    row("from process start to a VM and a vCPU, nothing else", bare, bare, None);
    row("from process start to the first instruction in ring 3", whole, bare, Some(1.5))
}

/// What a program does that only creates the VM and the vCPU: prints the time when it has.
fn bare() -> ExitCode {
    let machine = black_box(Machine::new(16 << 20).expect("a VM"));
    println!("{}", now());
    drop(machine);
    ExitCode::SUCCESS
}

/// What the program does up to the first instruction in ring 3, whose time it prints.
fn first_ring_3() -> ExitCode {
    let guest = guests::guest("micro").expect("the microkernel");
    let modules: Vec<ModuleFile<'_>> = guest
        .modules
        .iter()
        .map(|command| ModuleFile {
            name: command,
            command,
            bytes: guests::program(command).expect("a program").bytes,
        })
        .collect();
    let mut machine = Machine::new(16 << 20).expect("a VM");
    let backend = Backend::detect();
    let kernel = KernelFile { name: guest.name, bytes: guest.kernel };
    let boot = boot::load(&machine.all_memory(), kernel, &modules, "").expect("a kernel");
    machine.vcpu.set_state(&flat_protected_mode(&boot.entry));
    let mut run = Run::new(
        machine,
        Devices::new(16 << 20),
        &Options {
            mode: Mode::Ordinary(ClockChoice::DETERMINISTIC),
            probes: Choice::Auto,
            breakpoints: DebugRegisters { usable: 4, slow: false },
            timeout: None,
        },
    );
    let mut judge = Judge::new(Checker::new(&backend));
    loop {
        let event = run.next_event().expect("KVM");
        match judge.judge(run.machine(), event) {
            Judged::Return(..) => break,
            Judged::End(_) => return ExitCode::FAILURE,
            _ => {}
        }
    }
    println!("{}", now());
    ExitCode::SUCCESS
}

/// Nanoseconds of the monotonic clock, which all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn loop_machine(handler: &[u8], calls: u32) -> Machine {
    let mut machine = Machine::new(RAM).expect("a VM");
    let mut put = |address: u32, bytes: &[u8]| {
        machine.write_memory(u64::from(address), bytes).expect("RAM");
    };
    for (index, descriptor) in [
        0u64,
        0x00cf_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
    ]
    .iter()
    .enumerate()
    {
        put(GDT + index as u32 * 8, &descriptor.to_le_bytes());
    }
    put(TSS + 4, &ESP0.to_le_bytes());
    put(TSS + 8, &0x10u32.to_le_bytes());
    put(PAGE_DIRECTORY, &(PAGE_TABLE | 7).to_le_bytes());
    for page in 0..256 {
        put(PAGE_TABLE + page * 4, &(page << 12 | 7).to_le_bytes());
    }
    put(KERNEL, handler);
    // mov al, 0; out 0xf4, al
    put(KERNEL + 0x100, &[0xb0, 0x00, 0xe6, 0xf4]);
    for (vector, offset) in [(0x80, KERNEL), (0x81, KERNEL + 0x100)] {
        let gate = Gate {
            kind: GateKind::Interrupt32,
            selector: Selector(8),
            offset,
            dpl: 3,
            present: true,
        };
        put(IDT + vector * 8, &gate.encode().to_le_bytes());
    }
    // mov ecx, calls; again: int 0x80; dec ecx; jnz again; int 0x81
    let mut user = vec![0xb9];
    user.extend(calls.to_le_bytes());
    user.extend([0xcd, 0x80, 0x49, 0x75, 0xfb, 0xcd, 0x81]);
    put(USER, &user);
    let mut machine = machine;
    machine.vcpu.set_state(&state());
    machine
}

fn loop_guest(no_ops: bool, choice: Choice, calls: u32) -> Run {
    let handler: &[u8] =
        if no_ops { &[0x66, 0x90, 0x50, 0x58, 0x66, 0x90, 0xcf] } else { &[0x50, 0x58, 0xcf] };
    Run::new(
        loop_machine(handler, calls),
        Devices::new(RAM),
        &Options {
            mode: Mode::Ordinary(ClockChoice::Real),
            probes: choice,
            breakpoints: DebugRegisters { usable: 4, slow: false },
            timeout: None,
        },
    )
}

/// Ring 3 at the loop's first instruction, paging on, interrupts closed.
fn state() -> State {
    let flat = |selector, attributes| Segment { selector, attributes, base: 0, limit: u32::MAX };
    let data = flat(0x23, 0xc0f3);
    let mut state = State {
        eip: USER,
        eflags: Eflags::FIXED,
        segments: [data, flat(0x1b, 0xc0fb), data, data, data, data],
        tr: Segment { selector: 0x28, attributes: 0x008b, base: TSS, limit: 103 },
        ldtr: Segment { selector: 0, attributes: 0x0082, base: 0, limit: 0xffff },
        gdtr: TableRegister { base: GDT, limit: 0x2f },
        idtr: TableRegister { base: IDT, limit: 0x7ff },
        cr0: 0x8000_0011,
        cr3: PAGE_DIRECTORY,
        ..State::default()
    };
    state.general.esp = USER_STACK;
    state
}
