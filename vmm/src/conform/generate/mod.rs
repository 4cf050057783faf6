//! Random cases: valid ones and hostile ones, near each decision of the model.
//!
//! A case starts plain; then a few things are changed, each in the way in which it decides
//! something: an attribute of a descriptor that the event uses, a limit at the last byte that is
//! still enough, a stack pointer at the end of a page, an entry of the page table. Numbers drawn
//! evenly from 32 bits would fail the first check each time.

mod change;
mod choices;
mod event;
mod returns;
mod source;

use super::case::Case;
use super::field::Field;
use super::layout::{RAM, memory};
use super::random::Random;
use super::start::{STARTS, Start};
use super::via::Via;
use ia32::{ReadMemory, State};
use std::cell::RefCell;

/// Draws the cases of a run.
#[derive(Debug)]
pub(super) struct Generator {
    plain: Vec<u8>,
    /// A copy in which a case can be tried out.
    scratch: RefCell<Vec<u8>>,
    seed: u64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let plain = memory();
        Generator { scratch: RefCell::new(plain.clone()), plain, seed }
    }

    /// Case `number` of the run.
    pub(super) fn case(&self, number: u64) -> Case {
        let mut draft = Draft {
            random: Random::new(self.seed, number),
            plain: &self.plain,
            scratch: &self.scratch,
            case: Case::new(Start::Ring0, Via::Int3),
            used: Vec::new(),
        };
        draft.draw();
        draft.case
    }
}

struct Draft<'g> {
    random: Random,
    plain: &'g [u8],
    scratch: &'g RefCell<Vec<u8>>,
    case: Case,
    /// Selectors that the event probably loads.
    used: Vec<u16>,
}

impl Draft<'_> {
    fn draw(&mut self) {
        self.case.start = self.random.of(&STARTS).1;
        if self.random.one_in(3) {
            self.case.start = Start::Ring3;
        }
        self.flags();
        if self.random.one_in(3) {
            self.paging();
        }
        match self.random.below(10) {
            0..=5 => self.event(),
            6..=8 => self.iret(),
            _ => self.far(),
        }
        while self.random.one_in(2) {
            self.change();
        }
    }

    // What is changed.

    fn field(&mut self, field: Field, value: u32) {
        match self.case.fields.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = value,
            None => self.case.fields.push((field, value)),
        }
    }

    fn known(&self, field: Field) -> Option<u32> {
        self.case.fields.iter().find(|(known, _)| *known == field).map(|(_, value)| *value)
    }

    fn word(&self, at: u32) -> u32 {
        let changed = self.case.words.iter().find(|(known, _)| *known == at);
        changed.map_or_else(|| self.plain.read_u32(at.into()), |(_, word)| *word)
    }

    fn put(&mut self, at: u32, word: u32) {
        if at > RAM - 4 {
            return;
        }
        match self.case.words.iter_mut().find(|(known, _)| *known == at) {
            Some((_, known)) => *known = word,
            None => self.case.words.push((at, word)),
        }
    }

    fn put_two(&mut self, at: u32, value: u16) {
        let shift = 8 * (at & 2);
        let at = at & !3;
        let word = self.word(at) & !(0xffff << shift) | u32::from(value) << shift;
        self.put(at, word);
    }

    fn put_eight(&mut self, at: u32, value: u64) {
        self.put(at, value as u32);
        self.put(at + 4, (value >> 32) as u32);
    }

    fn eight(&self, at: u32) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    // How things stand in the source.

    fn state(&self) -> State {
        let mut memory = self.scratch.borrow_mut();
        let state = self.case.prepare(&mut memory);
        for (at, _) in &self.case.words {
            let word = *at as usize..*at as usize + 4;
            memory[word.clone()].copy_from_slice(&self.plain[word]);
        }
        state
    }

    fn ring(&self) -> u8 {
        match self.case.start {
            Start::Ring0 => 0,
            Start::Ring1 => 1,
            Start::Ring2 => 2,
            Start::Ring3 | Start::Virtual8086 => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::world::World;
    use ia32::{Path, Processor};

    #[test]
    fn cases_repeat_and_their_text_says_all() {
        let generator = Generator::new(1);
        for number in 0..2000 {
            let case = generator.case(number);
            assert_eq!(case, generator.case(number));
            assert_eq!(case.to_string().parse(), Ok(case));
        }
    }

    #[test]
    fn most_cases_can_be_run() {
        let generator = Generator::new(2);
        let mut world = World::new();
        let mut reasons = std::collections::BTreeMap::new();
        let mut path = Path::EMPTY;
        const CASES: u64 = 20_000;
        let mut fit = 0;
        for number in 0..CASES {
            match world.prepare(&generator.case(number), &Processor::AMD) {
                Ok(()) => {
                    fit += 1;
                    path = path.union(world.expectation().path());
                }
                Err(unfit) => *reasons.entry(unfit).or_insert(0) += 1,
            }
            world.undo(|_, _| ());
        }
        assert_eq!(world.memory, memory());
        let missing: Vec<_> = ia32::Branch::ALL
            .iter()
            .filter(|branch| !path.contains(**branch))
            .map(|branch| branch.name())
            .collect();
        println!("{fit} of {CASES}; {reasons:?}; never: {missing:?}");
        assert!(fit > CASES / 2, "{fit} of {CASES}: {reasons:?}");
        assert!(missing.len() < 20, "{missing:?}");
    }
}
