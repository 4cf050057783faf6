//! Which clock a run is on, and what does not go together with it.
//!
//! The options can contradict each other before any file is open. What goes with a BIOS, and which clock is taken where
//! none is named, depends on what is booted.

use super::super::arguments::RunOptions;
use super::super::failure::Failure;
use super::guest::RequestedGuest;
use esp0::probe::Choice;
use esp0::run::{ClockChoice, Mode};

/// The clock that the options name, where they agree with each other.
pub(super) fn named(options: &RunOptions) -> Result<Option<ClockChoice>, Failure> {
    let refused = |why: &str| Err(Failure::Input(why.into()));
    if options.exact && Choice::from(options.probe) == Choice::None {
        return refused("--exact needs probes: they are where an event is caught");
    }
    if options.gdb.is_some() && options.clock.is_some_and(ClockChoice::is_real) {
        return refused(
            "--gdb needs a clock on which a run repeats (--clock exits or deterministic): going back is to run again",
        );
    }
    let recorded = is_recorded(options);
    if recorded && !matches!(options.clock, None | Some(ClockChoice::Exits { .. })) {
        return refused(
            "--record and --replay need the clock of exits (--clock exits), which is theirs if none is named",
        );
    }
    let named = options.clock.or(recorded.then_some(ClockChoice::EXITS));
    if let Some(clock) = named {
        mode_on(clock, options)?;
    }
    Ok(named)
}

/// How much is to be known of `guest`, on the clock that is `named` or else on the one that suits it.
pub(super) fn mode(
    named: Option<ClockChoice>,
    guest: &RequestedGuest<'_>,
) -> Result<Mode, Failure> {
    let options = guest.options;
    let is_real = options.clock.is_none_or(ClockChoice::is_real);
    let repeats = options.exact || options.gdb.is_some() || is_recorded(options) || !is_real;
    if guest.has_bios() && repeats {
        return Err(Failure::Input(
            "what a BIOS boots runs on the real clock: other clocks, --record, --exact and --gdb are for kernels".into(),
        ));
    }
    let carried = guest.input.carried && !options.interactive;
    let suitable = if options.exact || options.gdb.is_some() || carried {
        ClockChoice::DETERMINISTIC
    } else {
        ClockChoice::Real
    };
    mode_on(named.unwrap_or(suitable), options)
}

fn is_recorded(options: &RunOptions) -> bool {
    options.record.is_some() || options.replay.is_some()
}

fn mode_on(clock: ClockChoice, options: &RunOptions) -> Result<Mode, Failure> {
    Mode::new(clock, options.exact).ok_or_else(|| {
        Failure::Input("--exact needs the deterministic clock: it steps the guest".into())
    })
}
