//! Forwards, freely past what does not concern a watched word.
//!
//! Who has not written to a word's page has not written the word. So the guest is let go on to its next exit; where it
//! has written there on the way, it is put back, and whoever watches looks at each instruction.

use super::{Came, Company, Timeline};
use crate::machine::MachineError;
use crate::run::Run;

/// What became of going on past something that is watched.
#[derive(Clone, Debug)]
pub enum Past {
    /// It is past.
    Came(Came),
    /// It is not, and the run is where it was.
    Not {
        /// What comes next is known by its end only: running freely again would pass over all of it.
        to_its_end: bool,
    },
}

impl<M: Clone> Timeline<M> {
    /// Goes on freely to the next exit, unless that `concerns` somebody: by the run there, and the pages (address / 4096)
    /// that were written on the way.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn turn_past(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        concerns: impl FnOnce(&Run, &[usize]) -> bool,
    ) -> Result<Past, MachineError> {
        if run.has_ended() {
            return Ok(Past::Came(Came::End));
        }
        let before = run.checkpoint()?;
        run.take_recent_pages()?;
        let event = run.turn()?;
        let written = run.take_recent_pages()?;
        if concerns(run, &written) {
            run.restore(&before)?;
            if self.ahead.is_none() {
                self.keep_for_later(run, company)?;
            }
            return Ok(Past::Not { to_its_end: run.happens_again_to_a_state() });
        }
        Ok(Past::Came(self.turned(run, company, event)?))
    }

    /// What the attempt came to has not been for anybody: the run may go another way. That it is stepped from here on makes
    /// this a place that somebody is likely to come back to.
    fn keep_for_later(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
    ) -> Result<(), MachineError> {
        run.forget_what_follows();
        if let Some(event) = run.keep_this_place()? {
            self.told(run, company, event, false)?;
        }
        Ok(())
    }
}
