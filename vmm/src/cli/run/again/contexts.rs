//! Where code has changed stacks and then takes a word that is not meant for it: the frame that a task starts with, and
//! what takes it apart, do not go together.

use super::Again;
use esp0::check::ChangedWord;
use esp0::machine::LinearMemory;
use esp0::retrace::{Doer, ReturnAddress, SwitchedStack, Taken, Writer};

/// A sentence, and the word of the frame whose writer has laid it out.
pub(super) struct Told {
    pub(super) sentence: String,
    pub(super) laid_out: ChangedWord,
}

/// Stacks that tasks have in the kernel are no larger.
const LARGE: u32 = 64 * 1024;

impl Again<'_> {
    /// What `stack` tells of the word that `by`, a RET, took from `popped`.
    pub(super) fn context(
        &self,
        by: &Doer,
        popped: ReturnAddress,
        stack: &SwitchedStack,
        linear: &LinearMemory<'_>,
    ) -> Option<Told> {
        let is_function = |word: u32| self.begins_at(word);
        let word = |address: u32| {
            let physical = linear.paging.translate(linear.memory, address)?;
            Some(ChangedWord { address, physical, value: linear.read_u32(address)? })
        };
        let changed = self.doer(&stack.changed_by);
        let told = |sentence, address| Some(Told { sentence, laid_out: word(address)? });
        if let Some(led) = stack.not_called(popped.address) {
            return told(self.not_called(led), led.address);
        }
        if let Some((index, words)) = stack.function_taken(popped.address, is_function) {
            let taken = &stack.taken[index];
            return told(
                format!(
                    "{} had taken {} before, from {}, {} bytes below the word that RET took: behind {changed} the words \
                     of a task that goes on are taken as {}, and this frame, if it is the first of a new task, was laid out \
                     {}: what to do: let its words, and the struct that describes them, stand in the order in which they \
                     are taken, from the lowest address up",
                    self.doer(&taken.by),
                    self.place(taken.value),
                    self.place(taken.address),
                    words * 4,
                    order(stack),
                    if index == 0 && words > 1 {
                        "in another order".to_owned()
                    } else {
                        format!("in another order, or {words} {} short", counted(words))
                    },
                ),
                taken.address,
            );
        }
        let is_code = |word: u32| self.is_code(word);
        let (words, value) =
            stack.function_above(is_function, is_code).filter(|_| !stack.pushed)?;
        let address = popped.address.wrapping_add(words * 4);
        told(
            format!(
                "{} bytes above that word lies {}, at {}: behind {changed}, {} takes EIP before it comes there, so the frame \
                 has {words} {} too many below it, if it is the first of a new task: what to do: lay out no more words below \
                 that address than are taken, which is {}",
                words * 4,
                self.place(value),
                self.place(address),
                self.doer(by),
                counted(words),
                order(stack),
            ),
            address,
        )
    }

    fn not_called(&self, led: &Taken) -> String {
        format!(
            "nobody had called {}: {} led there, by the word at {}, so its own RET goes where the word right above says: \
             what to do: put an address there in a new task's first frame, of the code that goes on with what lies above (for \
             a frame of ring 3 the way out of the handlers, up to IRET)",
            self.place(led.value),
            self.doer(&led.by),
            self.place(led.address),
        )
    }

    /// The word was taken off a stack right after code had changed to it, and is one that another task, on whose stack it
    /// lies, had written over.
    pub(super) fn on_another_stack(&self, word: ChangedWord, writer: &Writer) -> Option<String> {
        let Writer::Instruction { before, stack_end: Some(end), .. } = writer else { return None };
        let esp = before.stack_address();
        let in_use = before.cpl() == 0 && (esp..*end).contains(&word.address);
        (in_use && end - esp <= LARGE).then(|| {
            format!(
                "{:08x} lay on the stack that was in use then, from ESP {} up to ESP0 {}: what the switch goes on with lies \
                 on another task's stack: what to do: look at how the address of a new task's first frame is computed (C \
                 counts what is added to a pointer in elements: cast it to `char *` first), and at whether two tasks were \
                 given one stack",
                word.address,
                self.place(esp),
                self.place(*end),
            )
        })
    }

    /// What `stack` tells of the word that POPFD took as EFLAGS.
    pub(super) fn flags(
        &self,
        by: &Doer,
        stack: &SwitchedStack,
        linear: &LinearMemory<'_>,
    ) -> Option<Told> {
        const FIXED: u32 = 1 << 1;
        let address = by.before.stack_address();
        let value = linear.read_u32(address).filter(|word| word & FIXED == 0)?;
        let why = format!(
            "{} took {value:08x} from {}, behind {}, and no PUSHF has pushed that: bit 1 of EFLAGS is always set",
            self.doer(by),
            self.place(address),
            self.doer(&stack.changed_by),
        );
        let (sentence, laid_out) = match stack.flags_above(&by.code) {
            Some((register, words, flags)) => (
                format!(
                    "{why}; {} bytes above lies {flags:08x}, which is one of EFLAGS, and a POP takes it into {register}: \
                     what to do: take the words off in the reverse order of their pushes: what is pushed first is popped \
                     last",
                    words * 4
                ),
                address.wrapping_add(words * 4),
            ),
            None => (
                format!("{why}: what to do: store 00000202 for EFLAGS in a new task's first frame"),
                address,
            ),
        };
        let physical = linear.paging.translate(linear.memory, laid_out)?;
        let value = linear.read_u32(laid_out)?;
        Some(Told { sentence, laid_out: ChangedWord { address: laid_out, physical, value } })
    }

    /// A function begins there. Without names nobody can say.
    fn begins_at(&self, address: u32) -> bool {
        let place = self.loaded.symbols.describe(address);
        place.is_some_and(|place| place.is_code && place.offset == 0)
    }

    fn is_code(&self, address: u32) -> bool {
        self.loaded.symbols.describe(address).is_some_and(|place| place.is_code)
    }
}

/// The word was pushed: so it was saved by a task that had run before, and is none of a first frame.
pub(super) fn is_saved(writer: &Writer) -> bool {
    match writer {
        Writer::Instruction { code, .. } => {
            matches!(code.first(), Some(0x50..=0x57 | 0x60 | 0x68 | 0x6a | 0x9c | 0xe8))
                || matches!(code[..], [0xff, modrm, ..] if matches!(modrm >> 3 & 7, 2 | 6))
        }
        Writer::Push { .. } => true,
        Writer::Unseen { .. } => false,
    }
}

fn counted(words: u32) -> &'static str {
    if words == 1 { "word" } else { "words" }
}

/// `EDI, ESI, EBX, EBP, EIP`.
fn order(stack: &SwitchedStack) -> String {
    let registers = stack.taken.iter().map(|taken| taken.register);
    registers.chain(["EIP"]).collect::<Vec<_>>().join(", ")
}
