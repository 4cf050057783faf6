//! The command line.

use super::drives::DriveOptions;
use super::shard::Shard;
use clap::{Args, Parser, Subcommand, ValueEnum};
use esp0::boot::Loader;
use esp0::machine::Model;
use esp0::probe::Choice;
use esp0::run::{ClockChoice, DialogueStep};
use esp0::trace::Frames;
use std::path::PathBuf;
use std::time::Duration;

/// Boots a 32-bit x86 kernel on KVM and checks, from outside, every entry into ring 0.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Without a command, the microkernel that esp0 carries is booted. QEMU's -kernel, \
    -append, -initrd and -m are understood.\n\n\
    Exit status: 0 all entries right; 1 findings; 2 usage or bad input, or output \
    that cannot be written; 3 no usable KVM; \
    4 the guest failed; 130 interrupted."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) options: RunOptions,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Boot a kernel and check its entries
    Run {
        /// An ELF32 kernel with a Multiboot header, a Linux bzImage, or an image of a disk or a CD that a BIOS
        /// boots [default: a guest that esp0 carries]
        #[arg(conflicts_with = "guest")]
        kernel: Option<PathBuf>,
        #[command(flatten)]
        options: Box<RunOptions>,
    },
    /// Explain an entry of a trace step by step, as the manuals have it
    Explain {
        /// A trace that was written with --exact --trace
        trace: PathBuf,
        /// Number of the entry
        #[arg(value_name = "N")]
        entry: u64,
        /// The return after that entry instead
        #[arg(short, long = "return")]
        returning: bool,
    },
    /// Show, count, compare or convert traces of runs
    Trace {
        #[command(subcommand)]
        command: TraceCommand,
    },
    /// Hold this KVM against the model of the architecture, with random cases
    #[command(
        after_help = "Exit status: 0 only named deviations; 1 mismatches; 2 usage or bad input; \
        3 no usable KVM; 130 interrupted.",
        args_conflicts_with_subcommands = true
    )]
    Conform(ConformOptions),
    /// Show what is claimed of kernel stacks, and whether it is so
    #[command(
        after_help = "Exit status: 0 all proved; 1 something refuted or open; 2 usage; 3 no \
        usable KVM. With --break a claim is to be refuted: 1 is right."
    )]
    Claims {
        #[command(flatten)]
        options: ClaimsOptions,
    },
    /// Write what this KVM was seen to do to a file: by the doctor, conform and the claims
    #[command(
        after_help = "Exit status: 0 all as it should be; 1 not so, as the file says; 2 usage, or a file that is no \
        attestation or was changed; 3 no usable KVM; 130 interrupted.",
        args_conflicts_with_subcommands = true
    )]
    Attest {
        #[command(flatten)]
        options: AttestOptions,
    },
    /// Test what this KVM does in 32-bit protected mode
    Doctor {
        /// Run without the sandbox, which is told
        #[arg(long)]
        no_sandbox: bool,
        /// When to colour the output
        #[arg(long, value_name = "WHEN", default_value = "auto")]
        color: Color,
    },
    /// Print a file of commands for gdb: symbols of a kernel and its modules, and what to type for what esp0 can
    Gdbinit {
        /// An ELF32 kernel [default: a guest that esp0 carries, with --into]
        #[arg(required_unless_present = "into", conflicts_with = "into")]
        kernel: Option<PathBuf>,
        /// A module, as in `esp0 run`; may be repeated
        #[arg(long = "module", value_name = "\"FILE ARGS\"")]
        modules: Vec<String>,
        /// A file with symbols, as in `esp0 run`; may be repeated
        #[arg(long = "symbols", value_name = "FILE")]
        symbols: Vec<PathBuf>,
        /// Which of the guests that esp0 carries
        #[arg(long, value_name = "NAME", default_value = "micro", value_parser = guest_names())]
        guest: String,
        /// Write that guest and its programs to this folder, for gdb to read
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
        /// Where esp0 waits for gdb
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1234")]
        gdb: String,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual's page: of esp0, or of one of its commands
    Man {
        /// Which command
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TraceCommand {
    /// Print a trace as its run was printed
    Show {
        /// The trace: JSON Lines, or compressed by Zstandard
        file: PathBuf,
        /// Print a line for each entry, however ordinary
        #[arg(short, long)]
        all: bool,
        /// Which frames to draw
        #[arg(long, value_name = "WHICH", default_value = "first")]
        frames: FramesArgument,
        /// Print a line for each return too
        #[arg(short, long, action = clap::ArgAction::Count)]
        verbose: u8,
        /// Print the guest's console, findings and the verdict only
        #[arg(short, long)]
        quiet: bool,
        /// When to colour the output
        #[arg(long, value_name = "WHEN", default_value = "auto")]
        color: Color,
    },
    /// Make a page of a trace, for a browser: findings, timeline, every entry with its stacks
    Report {
        /// The trace; one that a run with --report wrote holds stacks and code too
        file: PathBuf,
        /// The page
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Show these claims too: a table that `esp0 claims --json` wrote
        #[arg(long, value_name = "FILE")]
        claims: Option<PathBuf>,
    },
    /// Count what a trace holds: by event, handler and task, with depth of the stacks
    Stats {
        /// The trace
        file: PathBuf,
    },
    /// Align two traces by the order of their events, and explain where they part
    #[command(after_help = "Exit status: 0 the same; 1 they differ; 2 one of them cannot be read.")]
    Diff {
        /// A trace
        file: PathBuf,
        /// The one that it is held against
        other: PathBuf,
        /// The words of frames, registers, tasks and the console have to be the same too: of one kernel on the
        /// deterministic clock
        #[arg(long)]
        values: bool,
        /// Pass over external interrupts and the returns from them
        #[arg(long)]
        without_interrupts: bool,
    },
    /// Make another file of a trace
    Convert {
        /// The trace
        file: PathBuf,
        /// What to make
        #[arg(long, value_name = "FORMAT")]
        to: ConversionArgument,
        /// The file to write; a trace is compressed if its name ends in .zst
        output: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ConversionArgument {
    /// A file for ui.perfetto.dev
    Perfetto,
    /// A trace: unpacked, or packed
    Jsonl,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RunOptions {
    /// Which of the guests that esp0 carries to boot
    #[arg(long, value_name = "NAME", default_value = "micro", value_parser = guest_names())]
    pub(super) guest: String,

    /// The kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub(super) cmdline: String,

    /// A module: a file, or a program that esp0 carries, and its arguments; may be repeated. A file with
    /// spaces in its name goes in quotes of its own, `'"my file" args'`, or has a backslash before each;
    /// if all of it is the name of a file, it is that file
    #[arg(long = "module", value_name = "\"FILE ARGS\"")]
    pub(super) modules: Vec<String>,

    /// A file that names what lies at the guest's addresses: an ELF32 file with symbols, for a kernel that
    /// was stripped or a program that is not a module; may be repeated
    #[arg(long = "symbols", value_name = "FILE")]
    pub(super) symbols: Vec<PathBuf>,

    /// The initial RAM disk of a Linux kernel
    #[arg(long, value_name = "FILE", conflicts_with = "modules")]
    pub(super) initrd: Option<PathBuf>,

    /// Whose selectors the kernel starts with; it matters to one that never reloads CS
    #[arg(long, value_name = "WHOSE", default_value = "grub")]
    pub(super) loader: LoaderArgument,

    /// A good end is one at which QEMU's isa-debug-exit (port 0xf4) would have one of these exit
    /// statuses, (value << 1) | 1, instead of the value 0
    #[arg(long, value_name = "STATUSES", value_delimiter = ',')]
    pub(super) exit_codes: Vec<u32>,

    /// RAM of the guest, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..=3072))]
    pub(super) mem: u64,

    /// The processor that CPUID tells of: `486`, `pentium`, `pentium3`, or `host`, this machine's own; behind it
    /// features to be left out, by Linux's names: `pentium3,-sep,-apic`. Instructions that it lacks still work
    #[arg(long, value_name = "MODEL[,-FEATURE…]", default_value = "host")]
    pub(super) cpu: Model,

    #[command(flatten)]
    pub(super) drives: DriveOptions,

    /// Write every entry and return to this file, as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,

    /// Write a page of the run to this file, for a browser: findings, timeline, every entry with its stacks
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Write what the guest prints to this file, byte for byte: on the output what would move a cursor is
    /// shown as its number
    #[arg(long, value_name = "FILE")]
    pub(super) raw_console: Option<PathBuf>,

    /// Draw the text screen as it stands at the end, and write it to this file as a PNG
    #[arg(long, value_name = "FILE")]
    pub(super) screenshot: Option<PathBuf>,

    /// Draw the guest's text screen on the terminal while it runs, in the upper rows; what esp0 prints scrolls below.
    /// With --interactive, what is typed goes to the guest's keyboard or serial port
    #[arg(long, conflicts_with_all = ["gdb", "all"])]
    pub(super) screen: bool,

    /// Print the guest's console, findings and the verdict only
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// The terminal is the guest's serial line, on the real clock; Ctrl-A x ends the run. Without
    /// modules micro starts its shell. Every byte is passed on, escape sequences too: what stands on the
    /// screen may be the guest's, and only the exit status is esp0's for certain
    #[arg(short, long, conflicts_with = "clock")]
    pub(super) interactive: bool,

    /// Print a line for each entry: without it, ordinary interrupts and system calls of a kind that has been
    /// shown are folded into one line
    #[arg(short, long)]
    pub(super) all: bool,

    /// Which frames to draw
    #[arg(long, value_name = "WHICH", default_value = "first")]
    pub(super) frames: FramesArgument,

    /// End the run after so many seconds of wall-clock time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,

    /// End the run, as a good end, when the guest's console has said this; with several, and with --send,
    /// one after the other in the order given. \n, \r, \t, \e, \\ and \xNN stand for one character
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) until: Vec<String>,

    /// Send this to the guest's serial port, once the --until before it has been said
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) send: Vec<String>,

    /// The same from a file: lines `expect TEXT` and `send TEXT`, comments behind #
    #[arg(long, value_name = "FILE", conflicts_with_all = ["until", "send"])]
    pub(super) dialogue: Option<PathBuf>,

    /// End the run, as a good end, when the guest waits in HLT, once all expected has been said
    #[arg(long)]
    pub(super) until_halt: bool,

    /// What --until and --send say, in their order.
    #[arg(skip)]
    pub(super) steps: Vec<DialogueStep>,

    /// End the run at the first finding
    #[arg(long, conflicts_with = "max_findings")]
    pub(super) stop_on_finding: bool,

    /// End the run when there are so many findings
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max_findings: Option<u64>,

    /// Notes count as findings
    #[arg(long)]
    pub(super) strict: bool,

    /// Write what was found to this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,

    /// What the guest's timer runs on: `real`; `exits`, which counts how often the guest leaves the VM: as fast, and
    /// can be repeated (--record); or `deterministic`, which counts instructions and repeats to the byte.
    /// `exits:N` takes N nanoseconds for an exit (10000), `deterministic:N` for an instruction (40000), `real:N` goes N
    /// times slower while the guest runs, for a kernel that has too little time between two ticks
    /// [default: deterministic for the guests that esp0 carries, else real]
    #[arg(long, value_name = "CLOCK", value_parser = clock)]
    pub(super) clock: Option<ClockChoice>,

    /// Write to this file what it takes to repeat the run with --replay, on the clock of exits
    #[arg(long, value_name = "FILE", conflicts_with_all = ["interactive", "exact", "gdb", "disks", "cdrom"])]
    pub(super) record: Option<PathBuf>,

    /// The run is the one of this recording, to the byte; kernel and options have to be the same
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "interactive", "exact", "gdb", "disks", "cdrom"])]
    pub(super) replay: Option<PathBuf>,

    /// Step the whole guest, so that the state before each event is known, and hold registers and all
    /// of memory after it against the model; slow, on the deterministic clock
    #[arg(long)]
    pub(super) exact: bool,

    /// Wait for gdb here, `HOST:PORT`, `PORT` or `unix:PATH`, with the guest in front of its first instruction; on
    /// a clock on which gdb can go backwards: the deterministic one, or with --clock exits that of exits. See docs/gdb.md
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:1234",
        conflicts_with_all = ["interactive", "exact"]
    )]
    pub(super) gdb: Option<String>,

    /// How entries are caught
    #[arg(long, value_name = "MEANS", default_value = "auto")]
    pub(super) probe: ProbeArgument,

    /// Tell more: what was loaded and what was counted; twice: a line for each return
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,

    /// Run the guest without taking files, sockets and other system calls from esp0 first
    #[arg(long)]
    pub(super) no_sandbox: bool,

    /// When to colour the output
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ConformOptions {
    /// How many cases to draw
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(super) cases: u64,

    /// What they are drawn from: the same cases for the same seed
    #[arg(long, value_name = "S", default_value = "1", value_parser = seed)]
    pub(super) seed: u64,

    /// How many VMs run at a time [default: one a processor]
    #[arg(long, value_name = "J", default_value_t = processors(), value_parser = clap::value_parser!(u64).range(1..=256), hide_default_value = true)]
    pub(super) jobs: u64,

    /// Run only the k-th of n parts. `auto` has Slurm, GitLab, CircleCI, Buildkite or Bazel say which, and
    /// `auto/N` Kubernetes too
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    pub(super) shard: Shard,

    /// Write what comes of it to this file meanwhile. What it holds already of the same run is not run again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["replay", "collect"])]
    pub(super) results: Option<PathBuf>,

    /// Run the cases of this file, a line each, instead of drawing some
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "seed", "jobs", "shard"])]
    pub(super) replay: Option<PathBuf>,

    /// Run without the sandbox, which is told
    #[arg(long)]
    pub(super) no_sandbox: bool,

    /// Write a case for each distinct path through the model to this file
    #[arg(long, value_name = "FILE")]
    pub(super) collect: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) command: Option<ConformCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ConformCommand {
    /// Put the results of all parts together
    Merge {
        /// What each part has written with --results
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

fn seed(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "it is a number, decimal or after 0x hexadecimal".into())
}

#[derive(Clone, Debug, Args)]
pub(super) struct AttestOptions {
    /// Where to write it
    #[arg(long, value_name = "FILE", required = true)]
    pub(super) out: Option<PathBuf>,

    /// How many cases conform is to draw
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(super) cases: u64,

    /// What they are drawn from
    #[arg(long, value_name = "S", default_value = "1", value_parser = seed)]
    pub(super) seed: u64,

    /// How many VMs run at a time [default: one a processor]
    #[arg(long, value_name = "J", default_value_t = processors(), value_parser = clap::value_parser!(u64).range(1..=256), hide_default_value = true)]
    pub(super) jobs: u64,

    /// Take what all shards of `esp0 conform --results` on this machine have written, instead of a run
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["cases", "seed", "jobs"])]
    pub(super) conform: Vec<PathBuf>,

    /// Which claims [default: all]
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub(super) claims: Vec<String>,

    /// Run without the sandbox, which is told
    #[arg(long)]
    pub(super) no_sandbox: bool,

    #[command(subcommand)]
    pub(super) command: Option<AttestCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum AttestCommand {
    /// See that an attestation is as it was written, and print what it says
    Verify {
        /// The attestation
        file: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct ClaimsOptions {
    /// Which claims: H1, K, … [default: all]
    #[arg(value_name = "IDS")]
    pub(super) ids: Vec<String>,

    /// Only what this kernel shows
    #[arg(long, value_name = "NAME", value_parser = ["micro", "classic"])]
    pub(super) kernel: Option<String>,

    /// Show the twin in which this claim is false on purpose, and has to be refuted
    #[arg(long = "break", value_name = "ID", conflicts_with = "ids")]
    pub(super) broken: Option<String>,

    /// Write the table to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,

    /// Write the table as a page to this file, for a browser
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Run without the sandbox, which is told
    #[arg(long)]
    pub(super) no_sandbox: bool,

    /// How entries are caught
    #[arg(long, value_name = "MEANS", default_value = "auto", value_parser = probes())]
    pub(super) probe: String,

    /// When to colour the output
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
}

fn probes() -> clap::builder::PossibleValuesParser {
    ["auto", "breakpoint", "patch"].into()
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FramesArgument {
    /// Each
    All,
    /// The first of each kind
    First,
    /// None
    None,
}

impl From<FramesArgument> for Frames {
    fn from(argument: FramesArgument) -> Self {
        match argument {
            FramesArgument::All => Frames::All,
            FramesArgument::First => Frames::First,
            FramesArgument::None => Frames::None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LoaderArgument {
    /// GRUB 2: code 10, data 18
    Grub,
    /// QEMU's -kernel and old GRUB: code 08, data 10
    Qemu,
}

impl From<LoaderArgument> for Loader {
    fn from(argument: LoaderArgument) -> Self {
        match argument {
            LoaderArgument::Grub => Loader::Grub,
            LoaderArgument::Qemu => Loader::Qemu,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProbeArgument {
    /// The cheapest means for each place
    Auto,
    /// Hardware breakpoints while there are any, then patches
    Breakpoint,
    /// Patched instructions only
    Patch,
    /// Nothing is caught: the guest runs as it would without esp0
    None,
}

impl From<ProbeArgument> for Choice {
    fn from(argument: ProbeArgument) -> Self {
        match argument {
            ProbeArgument::Auto => Choice::Auto,
            ProbeArgument::Breakpoint => Choice::Breakpoint,
            ProbeArgument::Patch => Choice::Patch,
            ProbeArgument::None => Choice::None,
        }
    }
}

fn guest_names() -> clap::builder::PossibleValuesParser {
    esp0::guests::GUESTS
        .iter()
        .map(|guest| clap::builder::PossibleValue::new(guest.name).help(guest.summary))
        .collect::<Vec<_>>()
        .into()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "it must be more than 0 and not endless".into())
}

fn clock(text: &str) -> Result<ClockChoice, String> {
    match text.split_once(':') {
        None if text == "real" => Ok(ClockChoice::Real),
        None if text == "deterministic" => Ok(ClockChoice::DETERMINISTIC),
        None if text == "exits" => Ok(ClockChoice::EXITS),
        Some(("exits", number)) => number
            .parse()
            .ok()
            .filter(|nanoseconds| (1..=1_000_000_000).contains(nanoseconds))
            .map(|nanoseconds_per_exit| ClockChoice::Exits { nanoseconds_per_exit })
            .ok_or_else(|| "nanoseconds must be a number from 1 to 1000000000".into()),
        Some(("deterministic", number)) => number
            .parse()
            .ok()
            .filter(|nanoseconds| (1..=1_000_000_000).contains(nanoseconds))
            .map(|nanoseconds_per_instruction| ClockChoice::Deterministic {
                nanoseconds_per_instruction,
            })
            .ok_or_else(|| "nanoseconds must be a number from 1 to 1000000000".into()),
        Some(("real", number)) => number
            .parse()
            .ok()
            .filter(|factor| (1..=1_000_000).contains(factor))
            .map(|factor| ClockChoice::Slowed { factor })
            .ok_or_else(|| "the factor must be a number from 1 to 1000000".into()),
        _ => Err("it is `real`, `real:FACTOR`, `exits`, `exits:NANOSECONDS`, `deterministic`, or \
                 `deterministic:NANOSECONDS`"
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn clocks_and_times_are_read() {
        assert_eq!(clock("real"), Ok(ClockChoice::Real));
        assert_eq!(clock("real:20"), Ok(ClockChoice::Slowed { factor: 20 }));
        assert!(clock("real:0").is_err() && clock("real:x").is_err());
        assert_eq!(
            clock("deterministic:7"),
            Ok(ClockChoice::Deterministic { nanoseconds_per_instruction: 7 })
        );
        assert!(clock("deterministic:0").is_err() && clock("fast").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("inf").is_err());
    }
}
