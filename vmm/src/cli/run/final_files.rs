//! The files that are written when the run is over.

use super::super::failure::Failure;
use super::super::files::Begun;
use super::super::page::PageFile;
use super::concluded::Concluded;
use super::junit::Suite;
use super::screenshot;
use super::watch::TextReport;
use esp0::boot::Boot;
use esp0::run::Run;
use esp0::trace::schema::CauseRecord;
use std::io::Write as _;

/// Those that were asked for.
pub(super) struct FinalFiles {
    pub(super) page: Option<PageFile>,
    pub(super) junit: Option<Begun>,
    pub(super) screenshot: Option<Begun>,
}

impl FinalFiles {
    /// Draws the screen as it stands at the end: before the machine is used again.
    pub(super) fn draw_screen(&mut self, run: &Run, boot: &Boot) -> Result<(), Failure> {
        let Some(file) = self.screenshot.take() else { return Ok(()) };
        file.write(|out| screenshot::write(out, run, boot.framebuffer.as_ref()))
    }

    /// Writes what was found: last, since some of what is known of `causes` comes of runs again, and the page is made of
    /// the whole trace.
    pub(super) fn write(
        self,
        report: &TextReport,
        concluded: &Concluded<'_>,
        causes: &[CauseRecord],
    ) -> Result<(), Failure> {
        if let Some(file) = self.junit {
            let suite = suite(report, concluded, causes);
            file.write(|out| out.write_all(&suite.xml()?))?;
        }
        if let Some(page) = self.page {
            page.write()?;
        }
        Ok(())
    }
}

fn suite<'a>(
    report: &'a TextReport,
    concluded: &Concluded<'a>,
    causes: &'a [CauseRecord],
) -> Suite<'a> {
    Suite {
        kernel: &concluded.guest.input.kernel,
        told: report.told(),
        causes,
        symbols: &concluded.loaded.symbols,
        verdict: concluded.verdict,
        end: report.ending(),
        line: report.verdict_line(),
    }
}
