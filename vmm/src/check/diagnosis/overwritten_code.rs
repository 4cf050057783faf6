//! The kernel runs in a function that has been written over.
//!
//! A stack that grows down over the code below it, or a pointer that is wrong, fills functions with bytes that are none of
//! the file's. The processor then executes bytes that are no code of the kernel's, and may
//! end anywhere.

use super::lost::RULE;
use super::{Aftermath, Placed};
use crate::check::{ChangedWord, Finding, History, Subject};
use crate::run::Ending;

/// So many bytes in a row are no code that somebody has put there, if they are all the same.
const ROW: usize = 8;
/// What code is filled with on purpose.
const PADDING: [u8; 2] = [0x90, 0xcc];

/// The function in which a run ends badly is the one in the file.
pub(super) fn runs_no_more(aftermath: &Aftermath<'_>, history: &History) -> Option<Placed> {
    let state = &aftermath.end.state;
    let bad = matches!(
        aftermath.end.ending,
        Ending::TimedOut
            | Ending::Stopped
            | Ending::Halted
            | Ending::InternalError { .. }
            | Ending::TripleFault
    );
    if !bad || state.cpl() != 0 {
        return None;
    }
    let at = state.instruction_address();
    let function = history.objects().function_at(at)?;
    let length = (function.end - function.start) as usize;
    let file = history.objects().loaded(function.start, length)?;
    let linear = aftermath.linear(state);
    let mut now = vec![0; length];
    if aftermath.probes.read_code(&linear, function.start, &mut now) < length {
        return None;
    }
    let is_filled = |row: &[u8], file: &[u8]| {
        row.iter().all(|byte| *byte == row[0] && !PADDING.contains(byte))
            && row.iter().zip(file).filter(|(now, was)| now != was).count() + 1 >= ROW
    };
    let first =
        now.windows(ROW).zip(file.windows(ROW)).position(|(row, file)| is_filled(row, file))?;
    let address = (function.start + first as u32).next_multiple_of(4);
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "ring 0 runs in {}, and the code of that function has been written over",
            function.name
        ),
        "the bytes that the kernel's file has there",
        format!("bytes of {:02x} from {} on", now[first], aftermath.place(function.start + first as u32)),
    )
    .because(format!(
        "ESP is {:08x}: a stack that is too small for what lies on it grows down over what lies below it",
        state.general.esp
    ))
    .advise("give the stack more room, or make large arrays static; else look for a wrong pointer")
    .about_instruction(function.start);
    let word = linear
        .read_u32(address)
        .zip(linear.paging.translate(linear.memory, address))
        .map(|(value, physical)| ChangedWord { address, physical, value });
    let finding = finding.written_at(word);
    let place = format!("the end, in ring 0, at {}", aftermath.place(at));
    Some((place, finding))
}
