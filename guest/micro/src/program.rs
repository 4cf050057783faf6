//! How an ELF file becomes the memory of a program.
//!
//! The program gets an address space of its own, its segments with the permissions they ask for, a
//! stack, and on the stack its arguments and environment (drawn in [`abi::layout`]). The file is a
//! boot module, or lies in the memory of whoever calls exec.

use crate::elf::{Elf, Image, Segment};
use crate::interrupts;
use crate::memory::frames::Frame;
use crate::memory::space::{Access, Space};
use abi::call::Error;
use abi::layout::{PAGE, STACK_TOP, STACKS_START};

/// A program that is ready to run.
pub(crate) struct Program {
    /// Its memory.
    pub(crate) space: Space,
    /// Its first EIP.
    pub(crate) entry: u32,
    /// Its first ESP.
    pub(crate) stack: u32,
}

/// How many strings a program can be given.
const MAX_STRINGS: usize = 64;

/// How many bytes the strings can be.
pub(crate) const MAX_STRING_BYTES: u32 = PAGE / 2;

/// Makes a program of a file and of strings, of which the first `arguments` are its arguments and the
/// others its environment. Pre-emptible after each page.
pub(crate) fn load<'a>(
    file: &dyn Image,
    strings: impl Iterator<Item = &'a [u8]>,
    arguments: usize,
) -> Result<Program, Error> {
    let elf = Elf::parse(file)?;
    let space = Space::new()?;
    let mut end = 0;
    for segment in elf.segments() {
        let segment = segment?;
        if segment.memory.start < PAGE || segment.memory.end > STACKS_START {
            return Err(Error::BadProgram);
        }
        end = segment.memory.end.max(end);
        load_segment(&space, file, &segment)?;
    }
    space.set_heap(end.max(PAGE));
    space.take_stack()?;
    let stack = write_strings(&space, strings, arguments)?;
    Ok(Program { entry: elf.entry(), space, stack })
}

fn load_segment(space: &Space, file: &dyn Image, segment: &Segment) -> Result<(), Error> {
    let access = if segment.writable { Access::ReadWrite } else { Access::ReadOnly };
    let file_end = segment.memory.start + segment.in_file;
    let first_page = segment.memory.start / PAGE * PAGE;
    for page in (first_page..segment.memory.end).step_by(PAGE as usize) {
        if space.is_mapped(page) {
            return Err(Error::BadProgram); // two segments share it
        }
        let frame = Frame::allocate().ok_or(Error::NoMemory)?;
        let (start, end) = (page.max(segment.memory.start), (page + PAGE).min(file_end));
        if start < end {
            // SAFETY: the frame is mapped, ours alone, and the range lies in the page.
            let bytes = unsafe {
                core::slice::from_raw_parts_mut(
                    frame.pointer().add((start - page) as usize),
                    (end - start) as usize,
                )
            };
            file.read(segment.offset + (start - segment.memory.start), bytes)?;
        }
        space.map(page, frame, access)?;
        interrupts::point();
    }
    Ok(())
}

/// Puts the strings on the new stack; gives the first ESP.
fn write_strings<'a>(
    space: &Space,
    strings: impl Iterator<Item = &'a [u8]>,
    arguments: usize,
) -> Result<u32, Error> {
    // The count, the addresses of the arguments, 0, those of the environment, 0.
    let mut words = [0; MAX_STRINGS + 3];
    let mut count = 0;
    let mut top = STACK_TOP;
    for string in strings {
        let length = string.len() as u32 + 1; // new pages are zero: so is the byte behind the string
        if count == MAX_STRINGS || STACK_TOP - top + length > MAX_STRING_BYTES {
            return Err(Error::TooLong);
        }
        top -= length;
        space.write(top, string)?;
        words[1 + count + usize::from(count >= arguments)] = top;
        count += 1;
    }
    if arguments > count {
        return Err(Error::BadArgument);
    }
    words[0] = arguments as u32;
    let words = &words[..count + 3];
    let stack = (top - size_of_val(words) as u32) & !15;
    for (index, word) in words.iter().enumerate() {
        space.write(stack + 4 * index as u32, &word.to_le_bytes())?;
    }
    Ok(stack)
}
