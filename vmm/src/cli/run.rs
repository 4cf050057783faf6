//! `esp0 run`: boots a kernel, checks its entries, prints the verdict.

use super::arguments::RunOptions;
use super::drives::Drives;
use super::failure::{Failure, no_machine, tell};
use super::files::{Destination, standard_output};
use super::input::Input;
use super::junit::Suite;
use super::live_screen::LiveScreen;
use super::machine;
use super::output::Output;
use super::page::{Causes, PageFile, Shown};
use super::recording::{self, Recorded};
use super::terminal::{RawTerminal, Typed};
use super::writers::Again;
use super::{FINDINGS, GUEST_FAILED, INTERRUPTED, OK, UNWRITTEN, colour, dialogue, screenshot};
use esp0::boot::{Boot, Start};
use esp0::check::diagnosis::Aftermath;
use esp0::check::{Checker, Judge, Verdict};
use esp0::devices::Devices;
use esp0::doctor;
use esp0::gdb::{self, Listener};
use esp0::host::Backend;
use esp0::machine::{Machine, StopRequest};
use esp0::probe::Choice;
use esp0::report::{Recorder, Sources};
use esp0::run::{
    ClockChoice, Dialogue, End, Ending, Input as TypedInput, Mode, Options, Run, entry_state,
};
use esp0::sandbox::{self, Files, Phase};
use esp0::symbols::Symbols;
use esp0::trace::schema::HeaderRecord;
use esp0::trace::{
    Colour, JsonLines, Output as Sink, Report, Style, TraceOutput, registers, visible_text,
};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, LineWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes that a run under gdb keeps of where the guest was preempted.
const MOST_FOR_GDB: u64 = 64 << 20;

/// Wall-clock time that may be spent to find out who wrote a word.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

pub(super) fn run(kernel: Option<&Path>, options: &RunOptions) -> Result<u8, Failure> {
    if options.exact && Choice::from(options.probe) == Choice::None {
        return Err(Failure::Input(
            "--exact needs probes: they are where an event is caught".into(),
        ));
    }
    if options.gdb.is_some() && options.clock.is_some_and(ClockChoice::is_real) {
        return Err(Failure::Input(
            "--gdb needs a clock on which a run repeats (--clock exits or deterministic): going back is to run again".into(),
        ));
    }
    let recorded = options.record.is_some() || options.replay.is_some();
    if recorded && !matches!(options.clock, None | Some(ClockChoice::Exits { .. })) {
        return Err(Failure::Input(
            "--record and --replay need the clock of exits (--clock exits), which is theirs if none is named".into(),
        ));
    }
    let named = options.clock.or(recorded.then_some(ClockChoice::EXITS));
    if named.is_some_and(|clock| Mode::new(clock, options.exact).is_none()) {
        return Err(no_exact_mode());
    }
    let steps = match &options.dialogue {
        Some(path) => dialogue::from_file(path)?,
        None => options.steps.clone(),
    };
    let until = options.timeout.map(|timeout| Instant::now() + timeout);
    let drives = Drives::open(kernel, &options.drives)?;
    let input = Input::read(kernel, options, &drives)?;
    let stop = StopRequest::default();
    stop.on_signals()?;
    let replayed = Recorded::replayed(options)?;
    let destinations = Destinations::open(options, &input, until, &stop)?;
    let gdb = options.gdb.as_deref().map(listen).transpose()?;
    let size = options.mem << 20;
    let firmware = drives.firmware.is_some();
    let steps_it = options.exact
        || gdb.is_some()
        || recorded
        || options.clock.is_some_and(|clock| !clock.is_real());
    if firmware && steps_it {
        return Err(Failure::Input(
            "what a BIOS boots runs on the real clock: other clocks, --record, --exact and --gdb are for kernels".into(),
        ));
    }
    let deterministic = options.exact || gdb.is_some() || (input.carried && !options.interactive);
    let clock =
        named.unwrap_or(if deterministic { ClockChoice::DETERMINISTIC } else { ClockChoice::Real });
    let mode = Mode::new(clock, options.exact).ok_or_else(no_exact_mode)?;
    let mut machine = match Machine::with_model(size, &options.cpu) {
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
    let mut breakpoints = quick.breakpoints;
    // How fast they are is measured, and may come out otherwise when the run is to be the same again.
    breakpoints.slow |= matches!(clock, ClockChoice::Exits { .. });
    machine.exit_on_msr();
    let mut boot = input.load(&machine.memory)?;
    boot.entry.loader = options.loader.into();
    let vcpu = machine.vcpu.image()?;
    machine.vcpu.set_state(&entry_state(&boot.entry));
    let symbols = input.symbols(&boot);
    let Destinations { trace, console, junit, page, screenshot, record } = destinations;
    let identity = recording::identity(options, &input, &backend, clock, &steps);
    replayed.is_of(&identity)?;
    let header = header(options, &input, &backend, clock);
    let (page, of_page) =
        page.map(|page| PageFile::begin(page, trace.as_ref())).transpose()?.unzip();
    let trace = begin_trace(trace, of_page.flatten(), &header)?;
    let console = console.map(|file| {
        let path = file.path().display().to_string();
        file.begin().map_err(|error| unwritable("raw console", &path, &error))
    });
    let console = console.transpose()?;
    let junit = junit.map(|file| {
        let path = file.path().display().to_string();
        file.begin()
            .map(|file| (file, path.clone()))
            .map_err(|error| unwritable("report", &path, &error))
    });
    let junit = junit.transpose()?;

    let screenshot = screenshot.map(|file| {
        let path = file.path().display().to_string();
        file.begin()
            .map(|file| (file, path.clone()))
            .map_err(|error| unwritable("screenshot", &path, &error))
    });
    let screenshot = screenshot.transpose()?;

    let recorded = record.map_or(Ok(replayed), Recorded::kept)?;
    let colour = colour(options.color);
    let mut live =
        options.screen.then(|| LiveScreen::new(colour != Colour::default())).transpose()?;
    let out = Output::standard();
    let columns = out.columns();
    let out: Box<dyn Write> = if io::stdout().is_terminal() {
        Box::new(LineWriter::new(out))
    } else {
        Box::new(BufWriter::new(out))
    };
    let checker = Checker::new(&backend).with_objects(input.objects());
    let mut judge = Judge::new(checker)
        .with_strictness(options.strict)
        .with_enough(options.max_findings.or(options.stop_on_finding.then_some(1)))
        .without_probes(Choice::from(options.probe) == Choice::None);
    let recorder = page.as_ref().map(|_| {
        let sources = Sources::of(&symbols, input.built);
        Recorder::new(symbols.clone(), sources)
    });
    let mut report = Report::new(out, header)
        .with_trace(trace)
        .with_recorder(recorder)
        .with_console_file(console)
        .with_columns(columns)
        .with_style(Style {
            colour,
            frames: options.frames.into(),
            quiet: options.quiet || options.interactive || options.screen,
            returns: options.verbose > 1,
            all: options.all,
        })
        .with_symbols(symbols.clone());
    if options.interactive && !options.screen {
        report = report.with_raw_console();
    }
    if options.verbose > 0 {
        report.print(&loaded(&boot));
    }
    let withdrawn = (!options.no_sandbox).then(sandbox::withdraw).transpose()?;
    let boxed = |phase| if options.no_sandbox { Ok(()) } else { sandbox::filter(phase) };
    // Before the run's time counts; but a thread that reads what is typed has to be there first.
    if !options.interactive {
        boxed(if gdb.is_some() { Phase::Debug } else { Phase::Run })?;
    }
    let how = Options { mode, probes: options.probe.into(), breakpoints, timeout: options.timeout };
    let devices = || drives.attach(devices(size, options));
    let mut run = Run::new(machine, devices(), &how).with_stop_request(stop.clone());
    if firmware {
        run = run.behind_firmware();
    }
    run = recorded.apply(run);
    if gdb.is_some() {
        run = run.reversible(MOST_FOR_GDB);
    }
    let terminal = options.interactive.then(RawTerminal::new);
    if options.interactive {
        let typed = Typed::standard(stop.clone())
            .map_err(|error| Failure::Input(format!("what is typed cannot be read: {error}")))?;
        run = run.with_input(TypedInput::new(typed));
    }
    let dialogue = (options.until_halt || !steps.is_empty()).then(|| {
        let dialogue = Dialogue::new(steps);
        if options.until_halt { dialogue.until_halt() } else { dialogue }
    });
    if let Some(dialogue) = &dialogue {
        run = run.with_dialogue(dialogue.clone());
    }
    if options.interactive {
        boxed(Phase::Run)?;
    }
    let served = match &gdb {
        Some(listener) => {
            tell(&format!("the guest waits for gdb: target remote {}", listener.name()));
            let beside = gdb::Beside { judge: &mut judge, report: &mut report, symbols: &symbols };
            gdb::serve(listener, &mut run, beside, &stop).map_err(Failure::from)
        }
        None => Ok(()),
    };
    let ran = served.and_then(|()| {
        loop {
            if let Some(end) = judge.advance(&mut run, &mut report).map_err(Failure::Machine)? {
                return Ok(end);
            }
            if let Some(live) = &mut live {
                live.look(&run, judge.tally());
            }
        }
    });
    if let Some(live) = live {
        live.end(&run, judge.tally());
    }
    let mut end = match ran {
        Ok(end) => end,
        Err(failure) => return Ok(broken_off(&mut report, &judge, &failure)),
    };
    drop(terminal);
    let written_back = drives.write_back(run.devices());
    let preemptions = run.preemptions();
    let is_recorded = !matches!(recorded, Recorded::No);
    let kept = recorded.finish(&run, &identity);
    let counts = counted(&run);
    let load = |machine: &mut Machine| {
        // It has been loaded once.
        if let Ok(mut boot) = input.load(&machine.memory) {
            boot.entry.loader = options.loader.into();
            machine.vcpu.set_state(&entry_state(&boot.entry));
        }
    };
    let start = |clock, machine| {
        let how = Options { mode: Mode::Ordinary(clock), timeout: Some(LOOK_AGAIN), ..how.clone() };
        let run = Run::new(machine, devices(), &how).with_stop_request(stop.clone());
        match &dialogue {
            Some(dialogue) => run.with_dialogue(dialogue.clone()),
            None => run,
        }
    };
    let names = |address: u32| {
        let place = symbols.describe(address)?;
        let line = place.line.as_ref();
        let line = line.map_or(String::new(), |line| format!(", {}:{}", line.file, line.number));
        Some(format!("{}{line}", place.short()))
    };
    let as_before = |machine| start(clock, machine);
    let again = Again { vcpu: &vcpu, load: &load, start: &as_before, names: &names };
    // What is to be found by single instructions needs a clock that counts them. Where no interrupt has come, another
    // clock changes nothing.
    let counted_clock = if clock.is_real() { ClockChoice::DETERMINISTIC } else { clock };
    let counted = |machine| start(counted_clock, machine);
    let counted_again = Again { start: &counted, ..again };
    let repeats = preemptions == 0
        && !firmware
        && !options.interactive
        && (!clock.is_real() || run.counters().injected == 0);
    if end.ending == Ending::TripleFault && repeats && gdb.is_none() {
        if io::stderr().is_terminal() {
            tell("the guest was shut down; it is run again up to there");
        }
        (run, end) = match again.to_the_end(run, end) {
            Ok(known) => known,
            Err(error) => return Ok(broken_off(&mut report, &judge, &Failure::Machine(error))),
        };
    }
    report.record_last(run.machine(), run.probes());
    judge.awaited_in_vain(run.dialogue().and_then(Dialogue::awaits).map(str::to_owned));
    let aftermath = Aftermath {
        end: &end,
        memory: &run.machine().memory,
        devices: run.devices(),
        probes: run.probes(),
        processor: run.machine().processor(),
        names: &names,
    };
    report.conclude(&mut judge, &aftermath, &run.probes().census());
    report.finish();

    let verdict = judge.verdict(&end.ending);
    let ending = report.ending();
    if verdict == Verdict::GuestFailed {
        let text = failure(&ending, &end, &symbols, &report.recent(), colour);
        report.print(&text);
    }
    if options.verbose > 0 {
        report.print(&counts);
    }
    let mut text = String::new();
    if !options.quiet && !options.interactive {
        text = report.summary();
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
        if preemptions > 0 && !is_recorded {
            let _ = writeln!(
                text,
                "repeats      no: preempted {preemptions} times while it computed (--record FILE keeps where)"
            );
        }
        text.push_str(&machine::unanswered(run.devices().unanswered(), &boot));
        text.insert_str(0, &machine::screen(&run, &boot));
    }
    report.print(&text);
    let shown = page.as_ref().map(|_| Shown {
        summary: report.plain_summary(),
        screen: machine::screen(&run, &boot),
        unanswered: machine::unanswered(run.devices().unanswered(), &boot),
        verdict,
        line: report.verdict_line(),
    });
    let drawn = screenshot.map_or(Ok(()), |(file, name)| {
        screenshot::write(file, &run, boot.framebuffer.as_ref())
            .map_err(|error| unwritable("screenshot", &name, &error))
    });
    let mut text = String::new();
    let mut writers = Vec::new();
    if report.told().kinds().iter().any(|kind| kind.finding.changed.is_some()) {
        if preemptions > 0 {
            text += "who wrote that word is found by running again, and a guest that was preempted while it computed does \
                     not repeat: --clock deterministic\n";
        } else if !repeats {
            text += "who wrote that word is found by running again, and on the real clock no run is like another: \
                     --clock deterministic\n";
        } else if end.ending != Ending::Stopped {
            writers = counted_again.tell(report.told(), run.into_machine());
            for (_, sentence) in &writers {
                let _ = writeln!(text, "{sentence}");
            }
        }
    } else if report.told().kinds().iter().any(|kind| kind.finding.retrace.is_some())
        && !firmware
        && end.ending != Ending::Stopped
    {
        if repeats {
            for sentence in counted_again.tell_ways(report.told(), run.into_machine()) {
                let _ = writeln!(text, "{sentence}");
            }
        } else if preemptions == 0 {
            text += "what led there is found by running again, and on the real clock no run is like another: --clock \
                     deterministic\n";
        }
    }
    boxed(Phase::Report)?;
    let last = report.verdict_line();
    let _ = writeln!(text, "{last}");
    report.print(&text);
    let written = junit.map_or(Ok(()), |(mut file, name)| {
        let (kernel, told, line) = (input.kernel.as_str(), report.told(), last.clone());
        let suite = Suite { kernel, told, symbols: &symbols, verdict, end: ending, line };
        let xml = suite.xml();
        xml.and_then(|xml| file.write_all(&xml))
            .map_err(|error| unwritable("report", &name, &error))
    });
    let written = written.and_then(|()| {
        let (Some(page), Some(shown)) = (page, shown) else { return Ok(()) };
        let none = Sources::default();
        let sources = report.recorder().map_or(&none, Recorder::sources);
        let causes = Causes { told: report.told(), symbols: &symbols, sources, writers: &writers };
        page.write(shown, &causes)
    });
    let status = match verdict {
        Verdict::Interrupted => INTERRUPTED,
        Verdict::Ok | Verdict::Unchecked => OK,
        Verdict::Findings => FINDINGS,
        Verdict::GuestFailed | Verdict::NoEntries => GUEST_FAILED,
    };
    let status = tell_what_was_lost(&mut report, options, &last, status);
    // A report or a disk that is not whole makes nothing right, and nobody innocent.
    let Err(failure) = written.and(drawn).and(written_back).and(kept) else { return Ok(status) };
    tell(&failure.to_string());
    Ok(if status == OK { UNWRITTEN } else { status })
}

/// The status of a run that cannot go on: what was found before is found.
fn broken_off(report: &mut Report<Box<dyn Write>>, judge: &Judge, failure: &Failure) -> u8 {
    report.finish();
    tell(&failure.to_string());
    if judge.tally().findings > 0 { FINDINGS } else { failure.status() }
}

/// Listens where gdb is to come to.
fn listen(address: &str) -> Result<Listener, Failure> {
    Listener::open(address).map_err(|error| {
        let hint = if Path::new(address).is_file() { "; the kernel goes before --gdb" } else { "" };
        Failure::Input(format!("no gdb can be waited for at {address}: {error}{hint}"))
    })
}

fn devices(size: u64, options: &RunOptions) -> Devices {
    let devices = Devices::new(size);
    match options.exit_codes.as_slice() {
        [] => devices,
        good => devices.with_good_exits(good),
    }
}

/// Says which outputs are not whole. Who was found guilty stays so; a run of which a part was lost is not called
/// right.
fn tell_what_was_lost<W: Write>(
    report: &mut Report<W>,
    options: &RunOptions,
    verdict: &str,
    status: u8,
) -> u8 {
    let name = |path: &Option<std::path::PathBuf>| {
        path.as_deref().map_or(String::new(), |path| path.display().to_string())
    };
    for lost in report.lost() {
        tell(&match lost.output {
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
    junit: Option<Destination>,
    page: Option<Destination>,
    screenshot: Option<Destination>,
    record: Option<Destination>,
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
        taken.extend(options.replay.as_deref().and_then(super::files::identity));
        let mut open = |path: &Option<std::path::PathBuf>, what: &str| {
            let Some(path) = path else { return Ok(None) };
            let destination = Destination::open(path, what, until, stop)?;
            destination.differs_from(what, &taken)?;
            taken.extend(destination.identity(what));
            Ok::<_, Failure>(Some(destination))
        };
        let trace = open(&options.trace, "trace")?;
        let console = open(&options.raw_console, "raw console")?;
        let junit = open(&options.junit, "report")?;
        let page = open(&options.report, "page")?;
        let screenshot = open(&options.screenshot, "screenshot")?;
        let record = open(&options.record, "recording")?;
        Ok(Destinations { trace, console, junit, page, screenshot, record })
    }
}

fn unwritable(what: &str, name: &str, error: &io::Error) -> Failure {
    Failure::Input(format!("the {what} {name} cannot be written: {error}"))
}

fn no_exact_mode() -> Failure {
    Failure::Input("--exact needs the deterministic clock: it steps the guest".into())
}

fn header(
    options: &RunOptions,
    input: &Input,
    backend: &Backend,
    clock: ClockChoice,
) -> HeaderRecord {
    HeaderRecord {
        authority: backend.authority.to_string(),
        backend: backend.to_string(),
        clock: match clock {
            ClockChoice::Real | ClockChoice::Slowed { .. } => "real",
            ClockChoice::Deterministic { .. } => "deterministic",
            ClockChoice::Exits { .. } => "exits",
        }
        .into(),
        kernel: input.kernel.clone(),
        command_line: options.cmdline.clone(),
        memory: options.mem << 20,
        exact: options.exact,
        ..HeaderRecord::new()
    }
}

fn begin_trace(
    trace: Option<Destination>,
    of_page: Option<File>,
    header: &HeaderRecord,
) -> Result<Option<JsonLines>, Failure> {
    let (path, file) = match (trace, of_page) {
        (Some(trace), _) => (trace.path().to_owned(), trace.begin()),
        (None, Some(file)) => ("of the page".into(), Ok(file)),
        (None, None) => return Ok(None),
    };
    let begun = file
        .and_then(|file| TraceOutput::by_name(file, &path))
        .and_then(|output| JsonLines::to(output, header.clone()));
    begun.map(Some).map_err(|error| unwritable("trace", &path.display().to_string(), &error))
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
         {} interrupts injected\n",
        counters.exits,
        counters.stops,
        counters.device_accesses,
        counters.stepped,
        counters.injected,
    )
}

/// What happened to a guest that failed: the ending, the last entries, the registers.
fn failure(how: &str, end: &End, symbols: &Symbols, recent: &str, colour: Colour) -> String {
    let when = match (&end.ending, &end.last_event) {
        (Ending::TripleFault, Some(_)) => "the registers just before",
        (Ending::TripleFault, None) => "the registers at the last stop before",
        _ => "the registers",
    };
    format!(
        "\n{}\n\nthe last entries:\n{recent}\n{when}:\n{}",
        colour.bad(how),
        registers(&end.state, symbols),
    )
}
