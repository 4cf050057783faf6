//! `esp0 run`: boots a kernel, checks its entries, prints the verdict.

use super::arguments::RunOptions;
use super::failure::Failure;
use super::input::Input;
use super::junit::Suite;
use super::output::Closable;
use super::terminal::{RawTerminal, Typed};
use super::{FINDINGS, GUEST_FAILED, INTERRUPTED, OK, colour, dialogue};
use esp0::boot::{Boot, Start};
use esp0::check::Checker;
use esp0::devices::{Devices, UnknownPorts};
use esp0::host::Backend;
use esp0::host::doctor::{self, Problem};
use esp0::machine::{Machine, stop_on_signals};
use esp0::probe::Choice;
use esp0::run::{ClockChoice, Dialogue, Input as TypedInput, Options, Run, entry_state};
use esp0::symbols::Symbols;
use esp0::trace::{Colour, Header, JsonLines, Report, Verdict, registers};
use ia32::State;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, LineWriter, Write};
use std::path::Path;

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
    let steps = match &options.dialogue {
        Some(path) => dialogue::from_file(path)?,
        None => options.steps.clone(),
    };
    let input = Input::read(kernel, options)?;
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
            return Err(Failure::NoKvm(Problem::no_machine(error).to_string()));
        }
    };
    let quick = doctor::quick(&mut machine);
    if let Err(problem) = &quick.usable {
        input.check(size)?;
        return Err(Failure::NoKvm(problem.to_string()));
    }
    let backend = quick.corrected(Backend::detect());
    let breakpoints = quick.breakpoints;
    let boot = input.load(&machine.memory)?;
    machine.vcpu.set_state(&entry_state(&boot.entry));
    let symbols = input.symbols(&boot);
    let trace = open_trace(options, &input, &backend, clock)?;
    let junit = options.junit.as_deref().map(|path| Junit::create(path)).transpose()?;
    stop_on_signals()?;

    let colour = colour(options.color);
    let out: Box<dyn Write> = if io::stdout().is_terminal() {
        Box::new(LineWriter::new(Closable::new(io::stdout().lock())))
    } else {
        Box::new(BufWriter::new(Closable::new(io::stdout().lock())))
    };
    let mut report = Report::new(out, Checker::new(&backend)).with_trace(trace).with_style(
        colour,
        options.frames.into(),
        options.quiet || options.interactive,
        options.verbose > 1,
    );
    report = report
        .with_symbols(symbols.clone())
        .with_strictness(options.strict)
        .with_enough(options.max_findings.or(options.stop_on_finding.then_some(1)))
        .with_wrapping(columns());
    report.summary().exact = options.exact;
    if options.interactive {
        report = report.with_raw_console();
    }
    report.summary().unprobed = Choice::from(options.probe) == Choice::None;
    if options.verbose > 0 {
        report.print(&loaded(&boot))?;
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
    );
    let terminal = options.interactive.then(RawTerminal::new);
    if options.interactive {
        run = run.with_input(TypedInput::new(Typed::new(io::stdin())));
    }
    if options.until_halt || !steps.is_empty() {
        let dialogue = Dialogue::new(steps);
        let dialogue = if options.until_halt { dialogue.until_halt() } else { dialogue };
        run = run.with_dialogue(dialogue);
    }
    let end = run.run(&mut report)?;
    drop(terminal);
    report.finish()?;

    report.summary().unmet = run.dialogue().and_then(Dialogue::awaits).map(str::to_owned);
    let verdict = report.summary().verdict(&end.ending);
    let how = report.summary().end(&end.ending);
    if verdict == Verdict::GuestFailed {
        let text = failure(&how, &end.state, &symbols, &report.recent(), colour);
        report.print(&text)?;
    }
    if options.verbose > 0 {
        let text = counted(&run);
        report.print(&text)?;
    }
    let census = run.probes().census();
    let mut text = String::new();
    if !options.quiet && !options.interactive {
        // The summary reads what the checker remembers.
        text = report.render_summary(&end.ending, &backend, &census);
        text.insert(0, '\n');
    }
    let line = report.summary().verdict_line(&end.ending, &backend);
    let _ = writeln!(text, "{line}");
    report.print(&text)?;
    if let Some(junit) = junit {
        let told = report.told();
        let kernel = &input.kernel;
        junit.write(&Suite { kernel, told, symbols: &symbols, verdict, end: how, line })?;
    }
    Ok(match verdict {
        Verdict::Interrupted => INTERRUPTED,
        Verdict::Ok | Verdict::Unchecked => OK,
        Verdict::Findings => FINDINGS,
        Verdict::GuestFailed | Verdict::NoEntries => GUEST_FAILED,
    })
}

fn open_trace(
    options: &RunOptions,
    input: &Input,
    backend: &Backend,
    clock: ClockChoice,
) -> Result<Option<JsonLines>, Failure> {
    let Some(path) = &options.trace else { return Ok(None) };
    let unwritable = |error: io::Error| {
        Failure::Input(format!("the trace {} cannot be written: {error}", path.display()))
    };
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
    let file = File::create(path).map_err(unwritable)?;
    JsonLines::new(file, &header).map(Some).map_err(unwritable)
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
            module.command.to_string_lossy()
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
fn failure(end: &str, state: &State, symbols: &Symbols, recent: &str, colour: Colour) -> String {
    format!(
        "\n{}\n\nthe last entries:\n{recent}\nthe registers:\n{}",
        colour.bad(end),
        registers(state, symbols),
    )
}

/// How wide the terminal is, if there is one.
fn columns() -> Option<usize> {
    let size = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(size.0.0)).filter(|columns| *columns >= 40)
}

/// The file for JUnit's XML. It is made before the run, so that it is known at once if it cannot be.
struct Junit {
    file: File,
    name: String,
}

impl Junit {
    fn create(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| Self::unwritable(&name, &error))?;
        Ok(Junit { file, name })
    }

    fn write(mut self, suite: &Suite<'_>) -> Result<(), Failure> {
        let written = suite.xml().and_then(|xml| self.file.write_all(&xml));
        written.map_err(|error| Self::unwritable(&self.name, &error))
    }

    fn unwritable(name: &str, error: &io::Error) -> Failure {
        Failure::Input(format!("the report {name} cannot be written: {error}"))
    }
}
