//! The accessed bit of the descriptors that an entry loads (SDM vol. 3A, "Code- and data-segment
//! descriptor types").

use super::super::lab::Lab;
use super::super::layout::{GDT, KERNEL_CS, KERNEL_DS, SYSTEM_CALL, USER_CODE};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use ia32::Vector;

/// Bit 0 of the type, in the upper word of a descriptor.
const ACCESSED: u32 = 1 << 8;

pub(super) const TRIALS: &[Trial] = &[Trial {
    name: "accessed bits at entry",
    shows: "set in the descriptors of CS and SS",
    need: Need::Exact(Some("descriptor-not-marked-accessed")),
    run: marked,
}];

fn marked(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let segments = [("CS", KERNEL_CS), ("SS", KERNEL_DS)];
    let upper = |selector: u16| GDT + u32::from(selector & !7) + 4;
    for (_, selector) in segments {
        let word = lab.word(upper(selector));
        lab.write_words(upper(selector), &[word & !ACCESSED]);
    }
    lab.start(&start::user())?;
    lab.run_to(Stop::Entry(Vector(SYSTEM_CALL)))?;
    for (name, selector) in segments {
        let got = lab.word(upper(selector)) & ACCESSED;
        Wrong::unless_equal(&format!("accessed bit of {name}"), ACCESSED, got)
            .map_err(Wrong::measured)?;
    }
    Ok(())
}
