//! exec: another program in the same task.
//!
//! Programs are Multiboot modules: ELF files, linked to address 0 of a task's 64 MiB. At the end of
//! those lie the strings, and below them the user stack:
//! ```text
//!  64 MiB ─►  ┌──────────────────────────────┐
//!             │ the strings, each ended by 0 │
//!             ├──────────────────────────────┤
//!             │ 0, addresses: environment    │
//!             │ 0, addresses: arguments      │
//!             │ how many arguments           │
//!  ESP ────►  ├──────────────────────────────┤  a multiple of 16
//!             │              ▼               │
//! ```

use crate::frame::Frame;
use crate::memory::{self, BadAddress};
use crate::segments::{USER_CODE, USER_DATA};
use crate::task::{SPACE, Task};
use crate::{life, user};
use arch::OneCpu;
use arch::multiboot::{Info, Module};
use arch::page::PAGE;
use core::arch::asm;
use core::cell::Cell;

/// How many strings there can be, arguments and environment together.
const MAX: usize = 16;

// SAFETY: set once, before there are tasks.
static INFO: OneCpu<Cell<Option<Info>>> = unsafe { OneCpu::new(Cell::new(None)) };

/// Keeps the modules in mind.
pub(crate) fn start(info: Info) {
    INFO.set(Some(info));
}

fn program(name: &[u8]) -> Option<Module> {
    let mut modules = INFO.get()?.modules();
    modules.find(|module| module.string.split(' ').next().map(str::as_bytes) == Some(name))
}

/// The first page of a new user stack in the making, filled from its end.
struct Strings {
    page: &'static mut [u8; PAGE as usize],
    /// What the end of the page will be to the program.
    end: u32,
    used: usize,
}

impl Strings {
    /// Puts bytes below what is there; gives the address that they will have.
    fn push(&mut self, bytes: &[u8]) -> Result<u32, BadAddress> {
        let used = self.used + bytes.len();
        let start = (PAGE as usize).checked_sub(used).ok_or(BadAddress)?;
        self.page[start..start + bytes.len()].copy_from_slice(bytes);
        self.used = used;
        Ok(self.end - used as u32)
    }

    /// Copies a list of strings that ends with a null; gives their addresses, and how many.
    fn push_list(&mut self, list: u32) -> Result<([u32; MAX], usize), BadAddress> {
        let (mut addresses, mut text) = ([0; MAX], [0; 128]);
        for index in 0..MAX {
            let mut pointer = [0; 4];
            user::read(list.wrapping_add(4 * index as u32), &mut pointer)?;
            match u32::from_le_bytes(pointer) {
                0 => return Ok((addresses, index)),
                string => {
                    let length = read_string(string, &mut text)?.len();
                    addresses[index] = self.push(&text[..=length])?;
                }
            }
        }
        Err(BadAddress)
    }
}

/// Copies a string from the running task, without its zero.
fn read_string(address: u32, to: &mut [u8; 128]) -> Result<&[u8], BadAddress> {
    for index in 0..to.len() {
        let mut byte = [0];
        user::read(address.wrapping_add(index as u32), &mut byte)?;
        to[index] = byte[0];
        if byte == [0] {
            return Ok(&to[..index]);
        }
    }
    Err(BadAddress)
}

/// Replaces the running task's program. False if there is none of that name.
pub(crate) fn exec(
    frame: &mut Frame,
    [path, arguments, environment]: [u32; 3],
) -> Result<bool, BadAddress> {
    let Some(module) = program(read_string(path, &mut [0; 128])?) else { return Ok(false) };
    let task = Task::current();
    let page = memory::get_free_page().ok_or(BadAddress)?;
    // SAFETY: a new page, which the kernel sees where it is.
    let mut strings = Strings { page: unsafe { &mut *(page as *mut _) }, end: SPACE, used: 0 };
    let stack =
        arrange(&mut strings, arguments, environment).inspect_err(|_| memory::free_page(page))?;

    // From here on there is no way back: what the task had is given up.
    memory::free_page_tables(task.base(), SPACE);
    task.widen();
    memory::put_page(task.base() + SPACE - PAGE, page).ok_or(BadAddress)?;
    let eip = load(module.bytes).unwrap_or_else(|BadAddress| life::exit(127));
    let (cs, ss) = (USER_CODE.0.into(), USER_DATA.0.into());
    let eflags = frame.eflags;
    *frame = Frame { eip, cs, eflags, esp: stack, ss, ds: ss, es: ss, fs: ss, ..Frame::default() };
    Ok(true)
}

/// Puts both lists onto the new stack; gives the first ESP.
fn arrange(strings: &mut Strings, arguments: u32, environment: u32) -> Result<u32, BadAddress> {
    let (environment, variables) = strings.push_list(environment)?;
    let (arguments, count) = strings.push_list(arguments)?;
    let words = 3 + variables + count;
    let bottom = (strings.used + 4 * words).next_multiple_of(16);
    strings.used = bottom - 4 * words;
    let lists = [&environment[..=variables], &arguments[..=count]];
    for address in lists.iter().flat_map(|list| list.iter().rev()) {
        strings.push(&address.to_le_bytes())?;
    }
    strings.push(&(count as u32).to_le_bytes())
}

/// Copies a program to where it belongs in the running task; gives its entry point. The segments in
/// use still have the old limit: they are loaded anew.
fn load(file: &[u8]) -> Result<u32, BadAddress> {
    // SAFETY: FS and GS select the task's data before and after.
    unsafe { asm!("mov fs, {0:x}", "mov gs, {0:x}", in(reg) USER_DATA.0, options(nostack)) };
    let word = |at: usize| match file.get(at..at + 4) {
        Some(bytes) => Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        None => Err(BadAddress),
    };
    // ELF: entry point, program headers and how many; of each: type, offset, address, size.
    let headers = word(28)? as usize;
    for header in (0..(word(44)? & 0xFFFF) as usize).map(|index| headers + 32 * index) {
        let [kind, offset, address, size] = [0, 4, 8, 16].map(|field| word(header + field));
        const LOAD: u32 = 1;
        if kind? == LOAD {
            let (offset, size) = (offset? as usize, size? as usize);
            user::write(address?, file.get(offset..offset + size).ok_or(BadAddress)?)?;
        }
    }
    word(24)
}
