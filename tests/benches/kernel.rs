//! What the microkernel costs: instructions for what it does most often, and its size.
//!
//! `scripts/bench` runs it where the clock counts instructions, one a nanosecond. A program in the guest,
//! `bench`, does one thing so and so many times, with probes off, so that esp0 does nothing meanwhile.
//! Two runs with different counts leave what each more costs: all that is executed for it, in ring 3 too,
//! with each repetition of a string instruction counted as one. Of five runs the shortest counts, for
//! into that fell no tick of the host's own timer. The clock is put to the test by a loop of two
//! instructions.
//!
//! An interrupt cannot be timed so, since the host executes far more for it than the guest. There the
//! kernel is followed instruction by instruction.

use esp0::boot::{self, KernelFile, ModuleFile};
use esp0::devices::Devices;
use esp0::guests;
use esp0::machine::Machine;
use esp0::probe::{Choice, DebugRegisters};
use esp0::run::{ClockChoice, Ending, Event, Follow, Mode, Options, Run, entry_state};
use ia32::Vector;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const RAM: u64 = 16 << 20;

/// What `bench` does, what it is called here, how often it is done in the shorter and in the longer run, how
/// many operations that is each time, and how many instructions one of them may take.
type Row = (&'static str, &'static str, [u32; 2], u32, Option<f64>);

const ROWS: [Row; 12] = [
    ("null", "a system call that does nothing, by INT 0x80", [100, 2100], 1, None),
    ("sysenter", "the same by SYSENTER and SYSEXIT", [100, 2100], 1, None),
    ("ipc", "a message and its answer, across address spaces", [100, 2100], 1, Some(400.0)),
    ("ipc-thread", "the same within one address space", [100, 2100], 1, None),
    ("ipc-page", "the same across, with 4096 bytes one way", [20, 220], 1, None),
    ("notify", "a notification to another process, and one back", [100, 2100], 1, None),
    ("switch-thread", "a switch to another thread, by yield", [100, 2100], 2, None),
    ("switch", "a switch to another process, by yield", [100, 2100], 2, None),
    ("fault", "a page fault: a page is writable again", [100, 1100], 1, None),
    ("copy", "a page fault: a page is copied on write", [100, 1100], 1, None),
    ("fork", "fork, exit and wait: 64 pages, not written to", [10, 30], 1, None),
    ("nothing", "a loop of two instructions, to test the clock", [1000, 100_000], 1, None),
];

/// The interrupt line of the serial port, as a vector.
const SERIAL: Vector = Vector(0x24);

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    println!("the microkernel: instructions, if this runs under scripts/bench\n");
    let mut met = true;
    let mut loop_of_two = 0.0;
    for (case, name, counts, operations, limit) in ROWS {
        let [few, many] = counts.map(|count| {
            (0..5).map(|_| timed(case, count)).min().expect("there are five").as_nanos() as f64
        });
        let each = (many - few) / f64::from(counts[1] - counts[0]) / f64::from(operations);
        met &= row(name, each, limit);
        loop_of_two = each;
    }
    if (loop_of_two - 2.0).abs() > 0.01 {
        println!("    which are not two: this clock does not count instructions");
        met = false;
    }
    let [to_driver, whole] = interrupts();
    row("an interrupt, to its driver's first instruction", to_driver, None);
    row("    in ring 0 until the interrupted program goes on", whole, None);
    println!();
    size();
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a row; whether its limit is kept.
fn row(name: &str, each: f64, limit: Option<f64>) -> bool {
    let kept = limit.is_none_or(|limit| each <= limit);
    let limit = limit.map_or(String::new(), |limit| {
        format!("{limit:>14.0}  {}", if kept { "kept" } else { "MISSED" })
    });
    println!("{name:<58} {each:>8.0} {limit}");
    kept
}

/// The microkernel with `bench CASE COUNT` and nothing else.
fn guest(case: &str, count: u32, options: &Options) -> Run {
    let command = format!("bench {case} {count}");
    let program = guests::program(&command).expect("esp0 carries it");
    let module = ModuleFile { name: &command, command: &command, bytes: program.bytes };
    let kernel = guests::guest("micro").expect("esp0 carries it");
    let kernel = KernelFile { name: kernel.name, bytes: kernel.kernel };
    let mut machine = Machine::new(RAM).expect("a VM");
    // The slowest timer there is: no tick falls into what is timed.
    let boot = boot::load(&machine.all_memory(), kernel, &[module], "hz=19").expect("a kernel");
    machine.vcpu.set_state(&entry_state(&boot.entry));
    Run::new(machine, Devices::new(RAM), options)
}

/// How long the program does its thing, probes off: from when it says that it begins to when it says that it ends.
fn timed(case: &str, count: u32) -> Duration {
    let options = Options {
        mode: Mode::Ordinary(ClockChoice::Real),
        probes: Choice::None,
        breakpoints: DebugRegisters::NONE,
        timeout: Some(Duration::from_secs(60)),
    };
    let mut run = guest(case, count, &options);
    let (mut text, mut begins, mut ends) = (String::new(), None, None);
    let end = loop {
        match run.next_event().expect("KVM") {
            Event::Console(bytes) => {
                let now = Instant::now();
                text += &String::from_utf8_lossy(&bytes);
                if text.contains("begins\n") {
                    begins.get_or_insert(now);
                }
                if text.contains("ends\n") {
                    ends.get_or_insert(now);
                }
            }
            Event::End(end) => break end,
            _ => {}
        }
    };
    assert_eq!(end.ending, Ending::PoweredOff, "{case}\n{text}");
    let (Some(begins), Some(ends)) = (begins, ends) else {
        panic!("bench {case} did not come to its end\n{text}");
    };
    ends - begins
}

/// Instructions from the first of the serial port's handler to the first of its driver in ring 3, and in
/// ring 0 until the program that was interrupted goes on: the same for most of some interrupts.
fn interrupts() -> [f64; 2] {
    let options = Options {
        mode: Mode::Ordinary(ClockChoice::DETERMINISTIC),
        probes: Choice::Patch,
        breakpoints: DebugRegisters::NONE,
        timeout: Some(Duration::from_secs(600)),
    };
    let mut run = guest("interrupt", 8, &options);
    assert!(run.follow(Follow::Kernel), "the clock counts");
    let mut steps = Steps::default();
    let end = loop {
        match run.next_event().expect("KVM") {
            Event::End(end) => break end,
            event => steps.take(run.machine(), &event),
        }
    };
    assert_eq!(end.ending, Ending::PoweredOff);
    [&steps.to_driver, &steps.whole].map(|counts| {
        let mut times = BTreeMap::new();
        for &count in counts {
            *times.entry(count).or_insert(0) += 1;
        }
        let (count, often) = times.into_iter().max_by_key(|(_, often)| *often).expect("interrupts");
        assert!(often >= 5, "no two interrupts take the same: {counts:?}");
        f64::from(count)
    })
}

/// Counts the instructions of ring 0.
#[derive(Default)]
struct Steps {
    /// Since the interrupt that is being counted.
    count: Option<u32>,
    /// The address space that was interrupted.
    interrupted: u32,
    /// Where the instruction lies that is next, while that is in ring 0.
    next: Option<u32>,
    to_driver: Vec<u32>,
    whole: Vec<u32>,
}

impl Steps {
    /// What is not stepped is told by nobody: device accesses, the no-ops for probes, an IRET that stands
    /// under one. None of them goes anywhere else, so they are what lies between here and there.
    fn catch_up(&mut self, machine: &Machine, there: Option<u32>) {
        let (Some(count), Some(next)) = (&mut self.count, &mut self.next) else { return };
        while Some(*next) != there {
            let mut code = [0; 2];
            machine.linear().read(*next, &mut code).expect("the kernel's code is mapped");
            *count += 1;
            *next += match code {
                [0xec..=0xef, _] => 1,
                [0xe4..=0xe7, _] | [0x66, 0x90] => 2,
                [0xcf, _] if there.is_none() => return,
                _ => panic!("{code:02x?} at {next:08x} was executed, and not followed"),
            };
        }
    }

    /// The guest has come to `event`, and stands still.
    fn take(&mut self, machine: &Machine, event: &Event) {
        match event {
            Event::Entry(entry) => {
                if entry.vector == SERIAL && self.count.is_none() {
                    (self.count, self.interrupted) = (Some(0), entry.after.cr3);
                }
                self.next = Some(entry.after.eip);
            }
            Event::Step(step) => {
                self.catch_up(machine, Some(step.before.eip));
                self.count = self.count.map(|count| count + 1);
                self.next = (step.after.cpl() == 0).then_some(step.after.eip);
            }
            Event::Return(returning) => self.catch_up(machine, Some(returning.state.eip)),
            Event::Resumed(state) => {
                self.catch_up(machine, None);
                self.next = None;
                let Some(count) = self.count else { return };
                if state.cr3 == self.interrupted {
                    self.whole.push(count);
                    self.count = None;
                } else if self.to_driver.len() == self.whole.len() {
                    self.to_driver.push(count);
                }
            }
            _ => {}
        }
    }
}

/// Prints the kernel's lines and bytes.
fn size() {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest");
    for folder in ["micro", "arch", "abi"] {
        let (mut rust, mut assembly) = (0, 0);
        count_lines(&guest.join(folder).join("src"), &mut rust, &mut assembly);
        let name = format!("guest/{folder}: lines of Rust, and of assembly");
        println!("{name:<58} {rust:>8} {assembly:>8}");
    }
    let [text, constants, data, zeros] = sections(guests::guest("micro").expect("micro").kernel);
    println!("{:<58} {text:>8} {constants:>8} {data:>8}", "bytes of text, constants, data");
    println!("{:<58} {:>8}", "    together", text + constants + data);
    println!("{:<58} {zeros:>8}", "    and memory that starts as zeros");
}

/// Adds the lines of all files that hold more than a comment. A line of assembly is one that starts with a
/// string inside `asm!`, `naked_asm!` or `global_asm!`.
fn count_lines(folder: &Path, rust: &mut u32, assembly: &mut u32) {
    for file in fs::read_dir(folder).expect("the sources are there") {
        let path = file.expect("a file").path();
        if path.is_dir() {
            count_lines(&path, rust, assembly);
            continue;
        }
        let text = fs::read_to_string(&path).expect("Rust is text");
        let mut in_assembly = false;
        for line in text.lines().map(str::trim) {
            in_assembly |= line.contains("asm!(");
            match line {
                "" | "\"\"," => {}
                _ if line.starts_with("//") => {}
                _ if in_assembly && line.starts_with('"') => *assembly += 1,
                _ => *rust += 1,
            }
            in_assembly &= !line.ends_with(")") && !line.ends_with(");") && !line.ends_with(") };");
        }
    }
}

/// How many bytes of an ELF32 file's sections are loaded as text, constants and data, and how many zeros
/// come with them (System V ABI, section header).
fn sections(file: &[u8]) -> [u32; 4] {
    const ALLOCATED: u32 = 2;
    const NO_BITS: u32 = 8;
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let half = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let (start, size, count) = (word(0x20) as usize, half(0x2e), half(0x30));
    let mut sums = [0; 4];
    for header in (0..count).map(|index| start + index * size) {
        let [kind, flags, length] = [4, 8, 20].map(|field| word(header + field));
        let which = match flags {
            _ if flags & ALLOCATED == 0 => continue,
            _ if kind == NO_BITS => 3,
            _ if flags & 4 != 0 => 0,
            _ if flags & 1 != 0 => 2,
            _ => 1,
        };
        sums[which] += length;
    }
    sums
}
