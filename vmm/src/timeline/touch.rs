//! Whether the next instruction reads or writes a word, by its operands.
//!
//! What the processor does by itself is not seen: it reads tables and the TSS, and pushes frames.

use super::Watched;
use crate::instruction::LONGEST;
use crate::instruction::operands::accesses;
use crate::run::Run;

/// A word that somebody wants to see used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Where it is.
    pub word: Watched,
    /// Who only writes it is of no interest.
    pub reads_only: bool,
}

/// The first of these words that the instruction at which `run` stands uses.
pub fn touches(run: &mut Run, words: &[Touched]) -> Option<Watched> {
    if words.is_empty() {
        return None;
    }
    let state = run.state();
    let linear = run.machine().linear();
    let mut code = [0; LONGEST];
    let count = run.probes().read_code(&linear, state.instruction_address(), &mut code);
    let all = accesses(&code[..count], &state);
    let word = words.iter().find(|Touched { word, reads_only }| {
        let own = word.physical..word.physical + u64::from(word.length);
        all.iter().filter(|access| access.reads || !reads_only).any(|access| {
            (0..access.size).any(|at| {
                let physical =
                    linear.paging.translate(linear.memory, access.linear.wrapping_add(at));
                physical.is_some_and(|physical| own.contains(&physical))
            })
        })
    })?;
    Some(word.word)
}
