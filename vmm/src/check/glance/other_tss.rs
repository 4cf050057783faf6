//! Another TSS than the one that TR names: the one in which a kernel has stored ESP0.
//!
//! ```text
//!  TR ─► tss        ESP0 of the task before      what the processor reads
//!        a copy     ESP0 of the task that runs   what the kernel has written
//! ```
//! A variable that a header defines as `static` is another one in each file that includes it.

use crate::check::Objects;
use crate::machine::LinearMemory;
use ia32::{State, TssWidth};

/// The words of a TSS.
const WORDS: usize = 26;
const SIZE: u32 = WORDS as u32 * 4;
/// The words that decide about the stack of ring 0.
const ESP0: usize = 1;
const SS0: usize = 2;

/// Linear address of a TSS that nobody has loaded, and that holds `wanted` as ESP0: as large a variable as the one that TR
/// names; or, where no variables are known, words with the same SS0. All other words are those of that TSS, or were never
/// stored.
#[cold]
pub(super) fn holding(
    linear: &LinearMemory<'_>,
    state: &State,
    objects: &Objects,
    wanted: u32,
) -> Option<u32> {
    let tr = &state.tr;
    let own = words(linear, tr.base)?;
    if TssWidth::from_type(tr.ty()) != Some(TssWidth::Bits32) || own[ESP0] == wanted {
        return None;
    }
    match objects.at(tr.base).filter(|object| object.end - tr.base >= SIZE) {
        Some(named) => {
            let like = objects.variables().iter().filter(|one| {
                one.end - one.start == named.end - named.start && one.start != named.start
            });
            let mut places = like.map(|one| one.start + (tr.base - named.start));
            places.find(|at| words(linear, *at).is_some_and(|words| is_copy(&words, &own, wanted)))
        }
        None => anywhere(linear, tr.base, &own, wanted),
    }
}

fn words(linear: &LinearMemory<'_>, address: u32) -> Option<[u32; WORDS]> {
    let mut bytes = [0; SIZE as usize];
    linear.read(address, &mut bytes)?;
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Some(words)
}

/// `words` differ from `own` in ESP0, and where nothing was stored.
fn is_copy(words: &[u32; WORDS], own: &[u32; WORDS], wanted: u32) -> bool {
    let is_alike = |index: usize| index == ESP0 || words[index] == own[index] || words[index] == 0;
    words[ESP0] == wanted && (0..WORDS).all(is_alike)
}

/// The same in all of memory, as far from its linear address as the TSS `own` is from its own.
fn anywhere(linear: &LinearMemory<'_>, base: u32, own: &[u32; WORDS], wanted: u32) -> Option<u32> {
    const BLOCK: usize = 0x1_0000;
    let memory = linear.memory;
    let offset = base.wrapping_sub(linear.paging.translate(memory, base)? as u32);
    let pair = [wanted.to_le_bytes(), own[SS0].to_le_bytes()];
    let mut block = vec![0; BLOCK + 4];
    let mut start = 0;
    while start < memory.size() {
        let length = (memory.size() - start).min(block.len() as u64) as usize;
        memory.read(start, &mut block[..length])?;
        let found = block[..length].as_chunks::<4>().0.windows(2).enumerate();
        for (index, _) in found.filter(|(_, two)| *two == pair) {
            let physical = start + index as u64 * 4;
            let at = (physical as u32).wrapping_add(offset).wrapping_sub(ESP0 as u32 * 4);
            let is_there =
                linear.paging.translate(memory, at) == physical.checked_sub(ESP0 as u64 * 4);
            if is_there
                && own[SS0] != 0
                && words(linear, at).is_some_and(|words| is_copy(&words, own, wanted))
            {
                return Some(at);
            }
        }
        start += BLOCK as u64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_another_esp0_and_else_what_the_tss_has_or_nothing() {
        let mut own = [0; WORDS];
        (own[ESP0], own[SS0], own[25]) = (0x1000, 0x10, 104 << 16);
        let mut copy = [0; WORDS];
        copy[ESP0] = 0x2000;
        assert!(is_copy(&copy, &own, 0x2000));
        assert!(!is_copy(&copy, &own, 0x3000));
        (copy[SS0], copy[25]) = (0x10, 104 << 16);
        assert!(is_copy(&copy, &own, 0x2000));
        // A record of something else.
        copy[7] = 3;
        assert!(!is_copy(&copy, &own, 0x2000));
    }
}
