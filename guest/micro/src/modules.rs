//! Boot modules: the files that the loader brought along.
//!
//! If the first is called `init`, it alone is started, and the others are files: init will know what
//! to do with them. Otherwise each is a program, and is started with the words of its string.

use crate::program;
use crate::task::{Name, Task, life};
use crate::trap::frame::UserFrame;
use arch::OneCpu;
use arch::multiboot::{Info, Module};
use core::cell::Cell;

// SAFETY: set once, before the first task runs.
static INFO: OneCpu<Cell<Option<Info>>> = unsafe { OneCpu::new(Cell::new(None)) };

/// The module with this number.
pub(crate) fn get(index: u32) -> Option<Module> {
    INFO.get()?.modules().nth(index as usize)
}

/// Starts init, or all modules, as children of the idle task. They come from whoever started the
/// machine: a bad one is a panic.
pub(crate) fn start(info: Info, idle: &'static Task) {
    INFO.set(Some(info));
    let first = info.modules().next();
    match first.filter(|module| name_of(module.string) == "init") {
        Some(init) => life::set_init(start_one(init, idle).id()),
        None => info.modules().for_each(|module| {
            start_one(module, idle);
        }),
    }
}

fn name_of(string: &str) -> &str {
    let path = string.split_ascii_whitespace().next().unwrap_or("nameless");
    path.rsplit('/').next().unwrap_or(path)
}

fn start_one(module: Module, idle: &'static Task) -> &'static Task {
    let name = name_of(module.string);
    let words = module.string.split_ascii_whitespace().skip(1);
    let strings = core::iter::once(name).chain(words).map(str::as_bytes);
    let count = strings.clone().count();
    let created = program::load(&module.bytes, strings, count).and_then(|program| {
        let frame = UserFrame::start(program.entry, program.stack);
        life::create(idle, Name::of_path(name.as_bytes()), program.space, 0, frame)
    });
    match created {
        Ok(task) => {
            let stack = task.kernel_stack();
            let (start, end) = (stack.start, stack.end);
            arch::println!("micro: task {task} kernel stack {start:08x} to {end:08x}");
            task
        }
        Err(error) => panic!("module {name}: {error:?}"),
    }
}
