//! How a whole run is judged.

use crate::run::Ending;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All entries were right.
    Ok,
    /// There are findings.
    Findings,
    /// The guest did not come to a good end.
    GuestFailed,
    /// Nothing was entered that could have been right or wrong.
    NoEntries,
    /// There were no probes, as asked for.
    Unchecked,
    /// The user ended it before the guest did.
    Interrupted,
}

impl Verdict {
    /// The word in the verdict line.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Findings => "findings",
            Verdict::GuestFailed => "guest-failed",
            Verdict::NoEntries => "no-entries",
            Verdict::Unchecked => "unchecked",
            Verdict::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a verdict rests on, beside how the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// Entries that were seen.
    pub entries: u64,
    /// What was found.
    pub findings: u64,
    /// The console never said what it was expected to say.
    pub unmet: bool,
    /// The guest ran without probes.
    pub unprobed: bool,
}

/// The verdict on a run that ended so.
pub fn verdict(ending: &Ending, grounds: Grounds) -> Verdict {
    if *ending == Ending::Stopped {
        Verdict::Interrupted
    } else if !ending.is_good() || (grounds.unmet && *ending != Ending::Enough) {
        Verdict::GuestFailed
    } else if grounds.findings > 0 {
        Verdict::Findings
    } else if grounds.unprobed {
        Verdict::Unchecked
    } else if grounds.entries == 0 {
        Verdict::NoEntries
    } else {
        Verdict::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: Grounds = Grounds { entries: 7, findings: 0, unmet: false, unprobed: false };

    #[test]
    fn a_bad_end_wins_over_findings_and_the_user_over_both() {
        let found = Grounds { findings: 1, ..RIGHT };
        assert_eq!(verdict(&Ending::PoweredOff, RIGHT), Verdict::Ok);
        assert_eq!(verdict(&Ending::Halted, found), Verdict::Findings);
        assert_eq!(verdict(&Ending::TripleFault, found), Verdict::GuestFailed);
        assert_eq!(verdict(&Ending::Stopped, found), Verdict::Interrupted);
    }

    #[test]
    fn what_was_awaited_in_vain_is_no_good_end() {
        let unmet = Grounds { unmet: true, ..RIGHT };
        assert_eq!(verdict(&Ending::PoweredOff, unmet), Verdict::GuestFailed);
        assert_eq!(verdict(&Ending::Stopped, unmet), Verdict::Interrupted);
        let enough = Grounds { findings: 1, ..unmet };
        assert_eq!(verdict(&Ending::Enough, enough), Verdict::Findings);
    }

    #[test]
    fn what_was_not_looked_at_is_not_called_right() {
        let none = Grounds { entries: 0, ..RIGHT };
        assert_eq!(verdict(&Ending::PoweredOff, none), Verdict::NoEntries);
        let unprobed = Grounds { unprobed: true, ..none };
        assert_eq!(verdict(&Ending::PoweredOff, unprobed), Verdict::Unchecked);
    }
}
