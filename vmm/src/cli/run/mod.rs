//! `esp0 run`: boots a kernel, checks its entries, prints the verdict.
//!
//! ```text
//!  options ──► clock       what contradicts itself is refused
//!                │
//!              Opened      all that is read, written and listened to; nothing has been emptied
//!                │
//!           TestedMachine  a machine that does what a run rests on; the guest is Loaded into it
//!                │
//!              Outputs     emptied; Watch is what looks on: rules, report, live screen
//!                │         ┄┄┄┄ from here on no file is opened ┄┄┄┄
//!              Session     the run that was asked for, to its end
//!                │
//!              Outcome     how it ended ──► Again: the last state of a guest that was shut down
//!                │
//!              Concluded   what the run as a whole has to answer for; summary
//!                │     └──► Again: who wrote a word, what led there; the trace ends with that
//!                │         ┄┄┄┄ from here on no guest runs ┄┄┄┄
//!              verdict, last files, exit status
//! ```

mod again;
mod causes;
mod clock;
mod concluded;
mod destinations;
mod final_files;
mod going;
mod guest;
mod junit;
mod last_view;
mod live_screen;
mod loaded;
mod opened;
mod outcome;
mod recording;
mod screenshot;
mod session;
mod start;
mod status;
mod summary;
mod tested;
mod watch;

use super::INTERRUPTED;
use super::arguments::RunOptions;
use super::boxed::Boxed;
use super::failure::Failure;
use again::Again;
use concluded::Concluded;
use destinations::Outputs;
use esp0::doctor::TestedMachine;
use esp0::sandbox::Phase;
use going::Going;
use loaded::Loaded;
use opened::Opened;
use outcome::Outcome;
use session::Session;
use start::Start;
use std::path::Path;
use watch::Watch;

/// Runs what the options name; the exit status.
pub(super) fn run(kernel: Option<&Path>, options: &RunOptions) -> Result<u8, Failure> {
    let named = clock::named(options)?;
    let Opened { guest, replayed, destinations, gdb, stop } = Opened::open(kernel, options)?;
    let mode = clock::mode(named, &guest)?;
    let Some(tested) = tested::create(&guest, &stop)? else { return Ok(INTERRUPTED) };
    let TestedMachine { mut machine, backend, breakpoints } = tested;
    let loaded = Loaded::into(&mut machine, &guest)?;
    let identity = recording::identity(&guest, &backend, mode.clock());
    replayed.is_of(&identity)?;

    let header = guest.header(&backend, mode.clock());
    let Outputs { meanwhile, record, mut last } = destinations.begin(&header)?;
    let recorded = replayed.or_kept(record);
    let mut watch = Watch::begin(&guest, &loaded, &backend, header, meanwhile)?;
    let sandbox = Boxed::withdraw(options.no_sandbox)?;
    let going = watch.line().map(Going::begin);
    let start = Start::new(&guest, &loaded.symbols, mode, breakpoints, &stop);
    let mut session = Session::begin(&start, machine, &recorded, sandbox)?;
    let end = match watch.follow(&mut session.run, gdb.as_ref(), &loaded) {
        Ok(end) => end,
        Err(failure) => return Ok(watch.broken_off(&failure)),
    };
    drop(going);
    let outcome = Outcome::of(session.end(), end, &start, &recorded);
    let disks = guest.drives.write_back(outcome.run.devices());
    let recording = recorded.finish(&outcome.run, &identity);

    let again = Again::new(&start, &loaded);
    let outcome = match again.to_the_end(outcome) {
        Ok(outcome) => outcome,
        Err(error) => return Ok(watch.broken_off(&Failure::Machine(error))),
    };
    let concluded = Concluded::of(&outcome, &guest, &loaded, &mut watch);
    summary::print(&mut watch, &outcome, &concluded, sandbox);
    let screenshot = last.draw_screen(&outcome.run, &loaded.boot);
    let found = again.look_back(&watch.report, outcome);
    let causes = concluded.places.causes(watch.report.told(), &found.answers);
    watch.report.close(&causes);
    sandbox.filter(Phase::Report)?;
    let verdict_line = watch.report.verdict_line();
    watch.report.print(&format!("{}{verdict_line}\n", found.text));
    let status = status::of(concluded.verdict);
    let results = last.write(&watch.report, &concluded, &causes);
    let status = status::unless_lost(status, &mut watch.report, options);
    Ok(status::unless_unwritten(status, results.and(screenshot).and(disks).and(recording)))
}
