//! What looks on while the guest runs: the rules, the report, and the screen on the terminal.

use super::super::failure::{Failure, tell};
use super::super::output::Output;
use super::super::{FINDINGS, colour};
use super::going::{Beside, Line};
use super::guest::RequestedGuest;
use super::live_screen::LiveScreen;
use super::loaded::Loaded;
use esp0::check::{Checker, Judge};
use esp0::gdb::{self, Listener};
use esp0::host::Backend;
use esp0::probe::Choice;
use esp0::report::{CodeReader, Recorder, Sources};
use esp0::run::{End, Run};
use esp0::trace::schema::HeaderRecord;
use esp0::trace::{Colour, JsonLines, Report, Style};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, LineWriter, Write};

/// The report of a run, on standard output.
pub(super) type TextReport = Report<Box<dyn Write>>;

/// The files that are written while the guest runs.
pub(super) struct Meanwhile {
    pub(super) trace: Option<JsonLines>,
    /// The console, byte for byte.
    pub(super) console: Option<File>,
    /// A page is going to be made of the trace.
    pub(super) for_page: bool,
}

/// Whoever gets each event.
pub(super) struct Watch {
    pub(super) report: TextReport,
    pub(super) judge: Judge,
    /// The text screen on the terminal, while the guest runs.
    live: Option<LiveScreen>,
    /// How far the run has come, on the terminal.
    line: Option<Line>,
}

impl Watch {
    /// Begins to look on: what it takes of files and of the terminal is had from here on.
    pub(super) fn begin(
        guest: &RequestedGuest<'_>,
        loaded: &Loaded,
        backend: &Backend,
        header: HeaderRecord,
        meanwhile: Meanwhile,
    ) -> Result<Self, Failure> {
        let options = guest.options;
        let colour = colour(options.color);
        let coloured = colour != Colour::default();
        let live = options.screen.then(|| LiveScreen::new(coloured)).transpose()?;
        // With these the terminal is somebody else's.
        let hidden =
            options.quiet || options.interactive || options.screen || options.gdb.is_some();
        let line = Line::of(hidden, options.timeout);
        let mut report = report(guest, loaded, header, meanwhile, (colour, line.clone()));
        if options.verbose > 0 {
            report.print(&loaded.told());
        }
        Ok(Watch { report, judge: judge(guest, loaded, backend), live, line })
    }

    /// How far it has come, if that is to be seen.
    pub(super) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// Lets the guest run to its end: by gdb first, if one is waited for, and then by itself.
    pub(super) fn follow(
        &mut self,
        run: &mut Run,
        gdb: Option<&Listener>,
        loaded: &Loaded,
    ) -> Result<End, Failure> {
        let served = gdb.map_or(Ok(()), |listener| self.serve(listener, run, loaded));
        let ended = served.and_then(|()| self.run_to_the_end(run));
        if let Some(live) = self.live.take() {
            live.end(run, self.judge.tally());
        }
        ended
    }

    fn serve(
        &mut self,
        listener: &Listener,
        run: &mut Run,
        loaded: &Loaded,
    ) -> Result<(), Failure> {
        tell(&format!("the guest waits for gdb: target remote {}", listener.name()));
        let stop = run.stop_request().clone();
        let (judge, report) = (&mut self.judge, &mut self.report);
        let beside = gdb::Beside { judge, report, symbols: &loaded.symbols };
        Ok(gdb::serve(listener, run, beside, &stop)?)
    }

    fn run_to_the_end(&mut self, run: &mut Run) -> Result<End, Failure> {
        loop {
            if let Some(end) = self.judge.advance(run, &mut self.report)? {
                return Ok(end);
            }
            if let Some(live) = &mut self.live {
                live.look(run, self.judge.tally());
            }
            if let Some(line) = &self.line {
                line.tell(self.judge.tally().entries, run.time());
            }
        }
    }

    /// The status of a run that cannot go on: what was found before is found.
    pub(super) fn broken_off(&mut self, failure: &Failure) -> u8 {
        self.report.finish();
        tell(&failure.to_string());
        if self.judge.tally().findings > 0 { FINDINGS } else { failure.status() }
    }
}

fn judge(guest: &RequestedGuest<'_>, loaded: &Loaded, backend: &Backend) -> Judge {
    let options = guest.options;
    let checker = Checker::new(backend).with_objects(guest.input.objects(&loaded.boot));
    Judge::new(checker)
        .with_strictness(options.strict)
        .with_enough(options.max_findings.or(options.stop_on_finding.then_some(1)))
        .without_probes(Choice::from(options.probe) == Choice::None)
}

fn report(
    guest: &RequestedGuest<'_>,
    loaded: &Loaded,
    header: HeaderRecord,
    meanwhile: Meanwhile,
    (colour, line): (Colour, Option<Line>),
) -> TextReport {
    let options = guest.options;
    let out = Output::standard();
    let columns = out.columns();
    let out: Box<dyn Write> = if io::stdout().is_terminal() {
        Box::new(LineWriter::new(Beside { out, line }))
    } else {
        Box::new(BufWriter::new(out))
    };
    let symbols = || loaded.symbols.clone();
    let sources = meanwhile.trace.is_some().then(|| Sources::of(&symbols(), guest.input.built));
    let code = sources.clone().map(|sources| CodeReader::new(symbols(), sources));
    let recorder = sources.filter(|_| meanwhile.for_page);
    let recorder = recorder.map(|sources| Recorder::new(symbols(), sources));
    let report = Report::new(out, header)
        .with_trace(meanwhile.trace)
        .with_recorder(recorder)
        .with_code(code)
        .with_console_file(meanwhile.console)
        .with_columns(columns)
        .with_style(Style {
            colour,
            frames: options.frames.into(),
            quiet: options.quiet || options.interactive || options.screen,
            returns: options.verbose > 1,
            all: options.all,
        })
        .with_symbols(loaded.symbols.clone());
    if options.interactive && !options.screen { report.with_raw_console() } else { report }
}
