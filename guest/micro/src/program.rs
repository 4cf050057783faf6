//! How a Multiboot module becomes a task.
//!
//! The module is an ELF file, its string the program's name and arguments. The program gets an
//! address space of its own, its segments with the permissions they ask for, a stack, and on the
//! stack its arguments (drawn in [`abi::layout`]).

use crate::elf::Elf;
use crate::memory::space::{Access, AddressSpace};
use crate::task::Task;
use abi::layout::{PAGE, STACK_SIZE, STACK_TOP};
use arch::multiboot::Module;
use core::ops::Range;

/// How many words a module's string may have.
const MAX_WORDS: usize = 16;

/// Starts a module as a task. Modules come from whoever started the machine: a bad one is a panic.
pub(crate) fn start(module: Module) {
    let mut words = module.string.split_ascii_whitespace();
    let path = words.next().unwrap_or("nameless");
    let name = path.rsplit('/').next().unwrap_or(path);
    let words = core::iter::once(name).chain(words);

    match load(module.bytes, words) {
        Ok((space, entry, stack)) => match Task::create(name, space, entry, stack) {
            Some(task) => {
                let Range { start, end } = task.kernel_stack();
                arch::println!("micro: task {task} kernel stack {start:08x} to {end:08x}");
            }
            None => panic!("module {name}: no memory for a task"),
        },
        Err(reason) => panic!("module {name}: {reason}"),
    }
}

/// An address space with the program in it, its first EIP and its first ESP.
fn load<'a>(
    file: &[u8],
    words: impl Iterator<Item = &'a str>,
) -> Result<(AddressSpace, u32, u32), &'static str> {
    const NO_MEMORY: &str = "no memory for its pages";
    let elf = Elf::parse(file)?;
    let space = AddressSpace::new().ok_or(NO_MEMORY)?;
    for segment in elf.segments() {
        let segment = segment?;
        if segment.memory.end > STACK_TOP - STACK_SIZE - PAGE {
            return Err("a segment lies in the stack or the kernel");
        }
        let access = if segment.writable { Access::ReadWrite } else { Access::ReadOnly };
        let first_page = segment.memory.start / PAGE * PAGE;
        for page in (first_page..segment.memory.end).step_by(PAGE as usize) {
            if space.is_mapped(page) {
                return Err("two segments share a page");
            }
            space.map(page, access).ok_or(NO_MEMORY)?;
        }
        space.write(segment.memory.start, segment.bytes);
    }
    for page in (STACK_TOP - STACK_SIZE..STACK_TOP).step_by(PAGE as usize) {
        space.map(page, Access::ReadWrite).ok_or(NO_MEMORY)?;
    }
    let stack = write_arguments(&space, words)?;
    Ok((space, elf.entry(), stack))
}

/// Puts the words on the new stack; gives the first ESP.
fn write_arguments<'a>(
    space: &AddressSpace,
    words: impl Iterator<Item = &'a str>,
) -> Result<u32, &'static str> {
    let mut count = 0;
    let mut addresses = [0; MAX_WORDS];
    let mut top = STACK_TOP;
    for word in words {
        let length = word.len() as u32 + 1; // new pages are zero: so is the byte behind the word
        if count == MAX_WORDS || STACK_TOP - top + length > PAGE / 2 {
            return Err("its string is too long");
        }
        top -= length;
        space.write(top, word.as_bytes());
        addresses[count] = top;
        count += 1;
    }
    let stack = (top - 4 * (count as u32 + 2)) & !15;
    space.write(stack, &(count as u32).to_le_bytes());
    for (index, address) in addresses[..count].iter().enumerate() {
        space.write(stack + 4 * (index as u32 + 1), &address.to_le_bytes());
    }
    Ok(stack)
}
