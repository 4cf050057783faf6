//! `esp0 run`: boots a kernel, checks its entries, prints the verdict.

use super::arguments::RunOptions;
use super::failure::{Failure, no_machine, tell};
use super::files::{Destination, standard_output};
use super::input::Input;
use super::output::Output;
use super::terminal::{RawTerminal, Typed};
use super::{FINDINGS, GUEST_FAILED, INTERRUPTED, OK, UNWRITTEN, colour};
use esp0::boot::{Boot, Start};
use esp0::check::Checker;
use esp0::devices::{Devices, UnknownPorts};
use esp0::host::Backend;
use esp0::host::doctor;
use esp0::machine::{Machine, StopRequest};
use esp0::probe::Choice;
use esp0::run::{ClockChoice, End, Ending, Input as TypedInput, Options, Run, entry_state};
use esp0::sandbox::{self, Files, Phase};
use esp0::trace::{Colour, Header, JsonLines, Report, Sink, Verdict, visible_text};
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, LineWriter, Write};
use std::path::Path;
use std::time::Instant;

pub(super) fn run(kernel: Option<&Path>, options: &RunOptions) -> Result<u8, Failure> {
    if options.exact && options.clock == Some(ClockChoice::Real) {
        return Err(Failure::Input(
            "--exact needs the deterministic clock: it steps the guest".into(),
        ));
    }
    if options.exact && Choice::from(options.probe) == Choice::None {
        return Err(Failure::Input(
            "--exact needs probes: they are where an event is caught".into(),
        ));
    }
    let until = options.timeout.map(|timeout| Instant::now() + timeout);
    let input = Input::read(kernel, options)?;
    let stop = StopRequest::default();
    stop.on_signals()?;
    let destinations = Destinations::open(options, &input, until, &stop)?;
    let size = options.mem << 20;
    let deterministic = options.exact || (input.carried && !options.interactive);
    let clock = options.clock.unwrap_or(if deterministic {
        ClockChoice::DETERMINISTIC
    } else {
        ClockChoice::Real
    });
    let mut machine = match Machine::new(size) {
        Ok(machine) => machine,
        Err(error) => {
            // Bad input is bad with KVM or without.
            input.check(size)?;
            return Err(no_machine(error));
        }
    };
    let quick = doctor::quick(&mut machine);
    if stop.is_requested() {
        return Ok(INTERRUPTED);
    }
    if let Err(problem) = &quick.usable {
        input.check(size)?;
        return Err(Failure::NoKvm(problem.to_string()));
    }
    let backend = quick.corrected(Backend::detect());
    let breakpoints = quick.breakpoints;
    let boot = input.load(&machine.memory)?;
    machine.vcpu.set_state(&entry_state(&boot.entry));
    let Destinations { trace, console } = destinations;
    let trace = begin_trace(trace, options, &input, &backend, clock)?;
    let console = console.map(|file| {
        let path = file.path().display().to_string();
        file.begin().map_err(|error| unwritable("raw console", &path, &error))
    });
    let console = console.transpose()?;

    let colour = colour(options.color);
    let out = Output::standard();
    let columns = out.columns();
    let out: Box<dyn Write> = if io::stdout().is_terminal() {
        Box::new(LineWriter::new(out))
    } else {
        Box::new(BufWriter::new(out))
    };
    let mut report = Report::new(out, Checker::new(&backend))
        .with_trace(trace)
        .with_console_file(console)
        .with_columns(columns)
        .with_style(
            colour,
            options.frames.into(),
            options.quiet || options.interactive,
            options.verbose > 1,
        );
    report.summary().exact = options.exact;
    if options.interactive {
        report = report.with_raw_console();
    }
    report.summary().unprobed = Choice::from(options.probe) == Choice::None;
    if options.verbose > 0 {
        report.print(&loaded(&boot));
    }
    let withdrawn = (!options.no_sandbox).then(sandbox::withdraw).transpose()?;
    let boxed = |phase| if options.no_sandbox { Ok(()) } else { sandbox::filter(phase) };
    let phase = if options.exact { Phase::ExactRun } else { Phase::Run };
    // Before the run's time counts; but a thread that reads what is typed has to be there first.
    if !options.interactive {
        boxed(phase)?;
    }
    let mut run = Run::new(
        machine,
        Devices::new(size),
        &Options {
            clock,
            probes: options.probe.into(),
            breakpoints,
            timeout: options.timeout,
            exact: options.exact,
        },
    )
    .with_stop_request(stop.clone());
    let terminal = options.interactive.then(RawTerminal::new);
    if options.interactive {
        run = run.with_input(TypedInput::new(Typed::new(io::stdin(), stop)));
    }
    if options.interactive {
        boxed(phase)?;
    }
    let end = match run.run(&mut report) {
        Ok(end) => end,
        Err(error) => {
            // What was found before is found.
            report.finish();
            let failure = Failure::Machine(error);
            tell(&failure.to_string());
            let findings = report.summary().findings;
            return Ok(if findings > 0 { FINDINGS } else { failure.status() });
        }
    };
    boxed(Phase::Report)?;
    drop(terminal);
    report.finish();

    let verdict = report.summary().verdict(&end.ending);
    if verdict == Verdict::GuestFailed {
        let text = failure(&end, &boot, &report.recent(), colour);
        report.print(&text);
    }
    if options.verbose > 0 {
        let text = counted(&run);
        report.print(&text);
    }
    let census = run.probes().census();
    let mut text = String::new();
    if !options.quiet && !options.interactive {
        // The summary reads what the checker remembers.
        text = report.render_summary(&end.ending, &backend, &census);
        text.insert(0, '\n');
        match withdrawn {
            None => text += "sandbox      off, as asked for (--no-sandbox)\n",
            Some(Files::FilteredOnly) if options.verbose > 0 => {
                text += "sandbox      system calls; this kernel has no Landlock\n";
            }
            Some(Files::Withdrawn) if options.verbose > 0 => {
                text += "sandbox      system calls and files\n";
            }
            Some(_) => {}
        }
    }
    let last = report.summary().verdict_line(&end.ending, &backend);
    let _ = writeln!(text, "{last}");
    report.print(&text);
    let status = match verdict {
        _ if end.ending == Ending::Stopped => INTERRUPTED,
        Verdict::Ok | Verdict::Unchecked => OK,
        Verdict::Findings => FINDINGS,
        Verdict::GuestFailed | Verdict::NoEntries => GUEST_FAILED,
    };
    Ok(tell_what_was_lost(&report, options, &last, status))
}

/// Says which outputs are not whole. Who was found guilty stays so; a run of which a part was lost is not called
/// right.
fn tell_what_was_lost<W: Write>(
    report: &Report<W>,
    options: &RunOptions,
    verdict: &str,
    status: u8,
) -> u8 {
    let name = |path: &Option<std::path::PathBuf>| {
        path.as_deref().map_or(String::new(), |path| path.display().to_string())
    };
    for lost in report.lost() {
        tell(&match lost.sink {
            Sink::Text => format!("the output cannot be written: {lost}; {verdict}"),
            Sink::Trace => format!("the trace {} is not whole: {lost}", name(&options.trace)),
            Sink::Console => {
                format!("the raw console {} is not whole: {lost}", name(&options.raw_console))
            }
        });
    }
    if status == OK && !report.lost().is_empty() { UNWRITTEN } else { status }
}

/// The files that a run writes.
struct Destinations {
    trace: Option<Destination>,
    console: Option<Destination>,
}

impl Destinations {
    /// Opens them before anything is run, and none that is read or written otherwise.
    fn open(
        options: &RunOptions,
        input: &Input,
        until: Option<Instant>,
        stop: &StopRequest,
    ) -> Result<Self, Failure> {
        let mut taken = input.files.clone();
        taken.extend(standard_output());
        let mut open = |path: &Option<std::path::PathBuf>, what: &str| {
            let Some(path) = path else { return Ok(None) };
            let destination = Destination::open(path, what, until, stop)?;
            destination.differs_from(what, &taken)?;
            taken.extend(destination.identity(what));
            Ok::<_, Failure>(Some(destination))
        };
        let trace = open(&options.trace, "trace")?;
        let console = open(&options.raw_console, "raw console")?;
        Ok(Destinations { trace, console })
    }
}

fn unwritable(what: &str, name: &str, error: &io::Error) -> Failure {
    Failure::Input(format!("the {what} {name} cannot be written: {error}"))
}

fn begin_trace(
    trace: Option<Destination>,
    options: &RunOptions,
    input: &Input,
    backend: &Backend,
    clock: ClockChoice,
) -> Result<Option<JsonLines>, Failure> {
    let Some(trace) = trace else { return Ok(None) };
    let header = Header {
        backend,
        clock: match clock {
            ClockChoice::Real => "real",
            ClockChoice::Deterministic { .. } => "deterministic",
        },
        kernel: &input.kernel,
        command_line: &options.cmdline,
        memory: options.mem << 20,
    };
    let name = trace.path().display().to_string();
    let begun = trace.begin().and_then(|file| JsonLines::new(file, &header));
    begun.map(Some).map_err(|error| unwritable("trace", &name, &error))
}

/// What was loaded, for `-v`.
fn loaded(boot: &Boot) -> String {
    let mut text = String::new();
    for segment in &boot.image.segments {
        let range = segment.physical_range();
        let _ = writeln!(
            text,
            "segment  {:08x}-{:08x}  at {:08x}  {}{}",
            range.start,
            range.end,
            segment.virtual_address,
            if segment.is_writable() { "rw" } else { "r-" },
            if segment.is_executable() { "x" } else { "-" },
        );
    }
    for module in &boot.modules {
        let range = &module.physical;
        let _ = writeln!(
            text,
            "module   {:08x}-{:08x}  {}",
            range.start,
            range.end,
            visible_text(&module.command.to_string_lossy())
        );
    }
    let _ = match boot.entry.start {
        Start::ProtectedMode => writeln!(text, "entry    {:08x}", boot.entry.eip),
        Start::RealMode { cs, ip } => writeln!(text, "entry    {cs:04x}:{ip:04x}, real mode"),
    };
    text
}

/// What was counted, for `-v`.
fn counted(run: &Run) -> String {
    let counters = run.counters();
    format!(
        "\nexits        {}: {} stops at probes, {} device accesses, {} instructions stepped; \
         {} interrupts injected\n{}",
        counters.exits,
        counters.stops,
        counters.device_accesses,
        counters.stepped,
        counters.injected,
        unknown_ports(run.devices().unknown_ports()),
    )
}

/// The ports at which the guest found nothing, a line for each direction.
fn unknown_ports(ports: &UnknownPorts) -> String {
    [("read", &ports.read), ("written", &ports.written)]
        .into_iter()
        .filter(|(_, ports)| !ports.is_empty())
        .map(|(how, ports)| {
            let ports: Vec<String> = ports.iter().map(|port| format!("{port:#x}")).collect();
            format!("no device    was {how} at port {}\n", ports.join(", "))
        })
        .collect()
}

/// What happened to a guest that failed: the ending, the last entries, the registers.
fn failure(end: &End, boot: &Boot, recent: &str, colour: Colour) -> String {
    let state = &end.state;
    let general = &state.general;
    let mut text = String::new();
    let _ = writeln!(text, "\n{}", colour.bad(&end.ending.to_string()));
    let _ = write!(text, "\nthe last entries:\n{recent}");
    let _ = writeln!(
        text,
        "\nthe registers:\n  EAX {:08x}  EBX {:08x}  ECX {:08x}  EDX {:08x}\n  ESI {:08x}  EDI {:08x}  \
         EBP {:08x}  ESP {:08x}",
        general.eax,
        general.ebx,
        general.ecx,
        general.edx,
        general.esi,
        general.edi,
        general.ebp,
        general.esp,
    );
    let symbol = boot.image.symbols.find(state.eip).map_or(String::new(), |(symbol, offset)| {
        let name = format!("{:#}", rustc_demangle::demangle(&symbol.name));
        format!("  <{}+{offset:#x}>", visible_text(&name))
    });
    let _ = writeln!(
        text,
        "  CS:EIP {:04x}:{:08x}{symbol}  SS {:04x}  DS {:04x}  ES {:04x}  ring {}\n  \
         EFLAGS {:08x} ({})\n  CR0 {:08x}  CR2 {:08x}  CR3 {:08x}  CR4 {:08x}",
        state.cs().selector,
        state.eip,
        state.ss().selector,
        state.segments[3].selector,
        state.segments[0].selector,
        state.cpl(),
        state.eflags.0,
        state.eflags,
        state.cr0,
        state.cr2,
        state.cr3,
        state.cr4,
    );
    let _ = writeln!(
        text,
        "  TR {:04x} base {:08x}  IDTR {:08x}/{:04x}  GDTR {:08x}/{:04x}",
        state.tr.selector,
        state.tr.base,
        state.idtr.base,
        state.idtr.limit,
        state.gdtr.base,
        state.gdtr.limit,
    );
    text
}
