//! `esp0 run`: what is booted, how, and what is written of it.

use super::super::drives::DriveOptions;
use super::choices::{Color, FramesArgument, LoaderArgument, ProbeArgument};
use super::values::{address, clock, exit_status, guest_names, time};
use clap::Args;
use esp0::machine::Model;
use esp0::run::{ClockChoice, DialogueStep};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    /// Which of the guests that esp0 carries to boot
    #[arg(long, value_name = "NAME", default_value = "micro", value_parser = guest_names())]
    pub(crate) guest: String,

    /// The kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub(crate) cmdline: String,

    /// A module: a file, or a program that esp0 carries, and its arguments; may be repeated. A file with
    /// spaces in its name goes in quotes of its own, `'"my file" args'`, or has a backslash before each;
    /// if all of it is the name of a file, it is that file
    #[arg(long = "module", value_name = "\"FILE ARGS\"")]
    pub(crate) modules: Vec<String>,

    /// A file that names what lies at the guest's addresses: an ELF32 file with symbols, for a kernel that
    /// was stripped or a program that is not a module; may be repeated
    #[arg(long = "symbols", value_name = "FILE")]
    pub(crate) symbols: Vec<PathBuf>,

    /// The initial RAM disk of a Linux kernel
    #[arg(long, value_name = "FILE", conflicts_with = "modules")]
    pub(crate) initrd: Option<PathBuf>,

    /// The kernel is a flat binary, 32-bit code that lies and begins at this physical address (`0x7c00`)
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) at: Option<u32>,

    /// Whose selectors the kernel starts with; it matters to one that never reloads CS
    #[arg(long, value_name = "WHOSE", default_value = "grub")]
    pub(crate) loader: LoaderArgument,

    /// A good end is one at which QEMU's isa-debug-exit (port 0xf4) would have one of these exit
    /// statuses, (value << 1) | 1, instead of the value 0
    #[arg(long, value_name = "STATUSES", value_delimiter = ',', value_parser = exit_status)]
    pub(crate) exit_codes: Vec<u32>,

    /// RAM of the guest, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..=3072))]
    pub(crate) mem: u64,

    /// The processor that CPUID tells of: `486`, `pentium`, `pentium3`, or `host`, this machine's own; behind it
    /// features to be left out, by Linux's names: `pentium3,-sep,-apic`. Instructions that it lacks still work
    #[arg(long, value_name = "MODEL[,-FEATURE…]", default_value = "host")]
    pub(crate) cpu: Model,

    #[command(flatten)]
    pub(crate) drives: DriveOptions,

    /// Write every entry and return to this file, as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Write a page of the run to this file, for a browser: findings, timeline, every entry with its stacks
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Write what the guest prints to this file, byte for byte: on the output what would move a cursor is
    /// shown as its number
    #[arg(long, value_name = "FILE")]
    pub(crate) raw_console: Option<PathBuf>,

    /// Draw the text screen as it stands at the end, and write it to this file as a PNG
    #[arg(long, value_name = "FILE")]
    pub(crate) screenshot: Option<PathBuf>,

    /// Draw the guest's text screen on the terminal while it runs, in the upper rows; what esp0 prints scrolls below.
    /// With --interactive, what is typed goes to the guest's keyboard or serial port
    #[arg(long, conflicts_with_all = ["gdb", "all", "frames"])]
    pub(crate) screen: bool,

    /// Print the guest's console, findings and the verdict only
    #[arg(short, long, conflicts_with = "all")]
    pub(crate) quiet: bool,

    /// The terminal is the guest's serial line, on the real clock; Ctrl-A x ends the run. Without
    /// modules micro starts its shell. Every byte is passed on, escape sequences too: what stands on the
    /// screen may be the guest's, and only the exit status is esp0's for certain
    #[arg(short, long, conflicts_with_all = ["clock", "exact", "all", "frames"])]
    pub(crate) interactive: bool,

    /// Print a line for each entry: without it, those of a kind that has been shown, of which nothing new is to be
    /// said, are folded into one line
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Which frames to draw
    #[arg(long, value_name = "WHICH", default_value = "first")]
    pub(crate) frames: FramesArgument,

    /// End the run after so much wall-clock time: seconds (60, 60s) or minutes (2m)
    #[arg(long, value_name = "SECONDS", value_parser = time)]
    pub(crate) timeout: Option<Duration>,

    /// End the run, as a good end, when the guest's console has said this; with several, and with --send,
    /// one after the other in the order given. \n, \r, \t, \e, \\ and \xNN stand for one character
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) until: Vec<String>,

    /// Send this to the guest's serial port, once the --until before it has been said
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) send: Vec<String>,

    /// The same from a file: lines `expect TEXT` and `send TEXT`, comments behind #
    #[arg(long, value_name = "FILE", conflicts_with_all = ["until", "send"])]
    pub(crate) dialogue: Option<PathBuf>,

    /// End the run, as a good end, when the guest waits in HLT, once all expected has been said
    #[arg(long)]
    pub(crate) until_halt: bool,

    /// What --until and --send say, in their order.
    #[arg(skip)]
    pub(crate) steps: Vec<DialogueStep>,

    /// End the run at the first finding
    #[arg(long, conflicts_with = "max_findings")]
    pub(crate) stop_on_finding: bool,

    /// End the run when there are so many findings
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_findings: Option<u64>,

    /// Notes count as findings
    #[arg(long)]
    pub(crate) strict: bool,

    /// Write what was found to this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// What the guest's timer runs on: `real`; `exits`, which counts how often the guest leaves the VM: as fast, and
    /// can be repeated (--record); or `deterministic`, which counts instructions and repeats to the byte.
    /// `exits:N` takes N nanoseconds for an exit (10000), `deterministic:N` for an instruction (40000), `real:N` goes N
    /// times slower while the guest runs, for a kernel that has too little time between two ticks
    /// [default: deterministic for the guests that esp0 carries, else real]
    #[arg(long, value_name = "CLOCK", value_parser = clock)]
    pub(crate) clock: Option<ClockChoice>,

    /// Write to this file what it takes to repeat the run with --replay, on the clock of exits; with --gdb that is the
    /// way forwards
    #[arg(long, value_name = "FILE", conflicts_with_all = ["interactive", "exact", "disks", "cdrom", "floppies"])]
    pub(crate) record: Option<PathBuf>,

    /// The run is the one of this recording, to the byte; kernel and options have to be the same. With --gdb it is debugged,
    /// forwards and backwards
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "interactive", "exact", "disks", "cdrom", "floppies"])]
    pub(crate) replay: Option<PathBuf>,

    /// Step the whole guest, so that the state before each event is known, and hold registers and all
    /// of memory after it against the model; slow, on the deterministic clock
    #[arg(long)]
    pub(crate) exact: bool,

    /// Wait for gdb here, `HOST:PORT`, `PORT` or `unix:PATH`, with the guest in front of its first instruction; on
    /// a clock on which gdb can go backwards: the deterministic one, or with --clock exits that of exits. See docs/gdb.md
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:1234",
        conflicts_with_all = ["interactive", "exact"]
    )]
    pub(crate) gdb: Option<String>,

    /// How entries are caught
    #[arg(long, value_name = "MEANS", default_value = "auto")]
    pub(crate) probe: ProbeArgument,

    /// Tell more: what was loaded and what was counted; twice: a line for each return
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Run the guest without taking files, sockets and other system calls from esp0 first
    #[arg(long)]
    pub(crate) no_sandbox: bool,

    /// When to colour the output
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}
