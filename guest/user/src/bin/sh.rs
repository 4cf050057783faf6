//! `sh` reads commands from the console and does them: `help` lists them.
//!
//! What is no command of its own is looked for among the files, and run as a program: the shell
//! waits for it, unless the line ends with `&`. `sh LINE` does that line, and exits with its status.

#![no_std]
#![no_main]

extern crate alloc;

use abi::layout::KERNEL_STACK;
use abi::service::error;
use abi::task::{FAULTED, Info, KILLED, Report, TASKS};
use alloc::string::String;
use alloc::vec::Vec;
use user::{call, console, files, print, println};

user::program!(main);

/// The longest line in bytes.
const LINE: usize = 256;

const HELP: &str = "\
help                 this text
ls                   the files
cat FILE…            what is in them
write FILE TEXT…     makes a file
rm FILE…             removes files
ps                   the tasks, and how much of their stacks they have used
mem                  what the kernel counts
run PROGRAM WORDS…   runs a program (`run` can be left out); with & at the end without waiting
kill TASK…           ends tasks
sleep TICKS          waits
exit [STATUS]        powers the machine off";

fn main(arguments: user::Arguments) -> i32 {
    let words: Vec<&str> = (1..arguments.count()).filter_map(|n| arguments.get(n)).collect();
    if !words.is_empty() {
        return execute(&words);
    }
    let Some(console) = console::server() else {
        println!("sh: there is no console to read from");
        return 1;
    };
    println!("micro: type `help`");
    let mut buffer = [0; LINE];
    loop {
        print!("$ ");
        let Some(length) = console::read_line(console, &mut buffer) else { return 0 };
        let Ok(line) = str::from_utf8(&buffer[..length]) else { continue };
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.first().copied() {
            None => {}
            Some("exit") => return words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0),
            Some(_) => {
                execute(&words);
            }
        }
        reap();
    }
}

/// Does one line; gives its status.
fn execute(words: &[&str]) -> i32 {
    let (command, arguments) = (words[0], &words[1..]);
    match command {
        "help" => HELP.lines().for_each(|line| println!("{line}")),
        "ls" => list(),
        "cat" => return arguments.iter().map(|name| show(name)).sum(),
        "write" => return write(arguments),
        "rm" => return arguments.iter().map(|name| said(name, files::remove(name))).sum(),
        "ps" => processes(),
        "mem" => println!("{:?}", call::counters()),
        "kill" => return arguments.iter().map(|task| kill(task)).sum(),
        "sleep" => {
            let ticks = arguments.first().and_then(|word| word.parse().ok()).unwrap_or(1);
            return i32::from(call::sleep(ticks).is_err());
        }
        "run" if !arguments.is_empty() => return run(arguments),
        _ => return run(words),
    }
    0
}

fn list() {
    for (name, length) in (0..).map_while(files::list) {
        println!("{length:>8}  {name}");
    }
}

fn show(name: &str) -> i32 {
    let Some(bytes) = files::read(name) else { return said(name, error::NONE) };
    for piece in bytes.chunks(100) {
        // What is no text is shown as dots.
        let text: String = piece
            .iter()
            .map(|&byte| if byte == b'\n' || (b' '..=b'~').contains(&byte) { byte } else { b'.' })
            .map(char::from)
            .collect();
        print!("{text}");
    }
    0
}

fn write(arguments: &[&str]) -> i32 {
    let Some((name, words)) = arguments.split_first() else { return said("write", error::BAD) };
    let mut text = words.join(" ");
    text.push('\n');
    said(name, files::write(name, text.as_bytes()))
}

/// Says what a server answered, if it is no good news.
fn said(what: &str, answer: u32) -> i32 {
    let reason = match answer {
        error::NO => return 0,
        error::NONE => "there is no such file",
        error::FULL => "the disk is full",
        error::READ_ONLY => "it can only be read",
        _ => "that makes no sense",
    };
    println!("{what}: {reason}");
    1
}

fn processes() {
    println!("  TASK PARENT  S PRI  KERNEL STACK      USER STACK  PAGES  TICKS  NAME");
    for info in (0..TASKS).filter_map(|place| call::inspect(place).ok().flatten()) {
        let Info { task, parent, priority, kernel_stack_used, user_stack_pages, .. } = info;
        let state = char::from(info.state as u8);
        let end = info.name.iter().position(|&byte| byte == 0).unwrap_or(info.name.len());
        let name = str::from_utf8(&info.name[..end]).unwrap_or("?");
        println!(
            "{task:>6} {parent:>6}  {state} {priority:>3}  {kernel_stack_used:>4} of {KERNEL_STACK}      \
             {:>4} KiB  {:>5}  {:>5}  {name}",
            user_stack_pages * 4,
            info.pages,
            info.ticks,
        );
    }
}

fn kill(task: &str) -> i32 {
    let result = task.parse().map(call::kill);
    match result {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            println!("{task}: {error:?}");
            1
        }
        Err(_) => {
            println!("{task}: that is no task");
            1
        }
    }
}

fn run(words: &[&str]) -> i32 {
    let (words, waits) = match words.split_last() {
        Some((&"&", words)) if !words.is_empty() => (words, false),
        _ => (words, true),
    };
    let child = match files::spawn(words) {
        Ok(child) => child,
        Err(error) => {
            println!("{}: {error:?}", words[0]);
            return 1;
        }
    };
    if !waits {
        println!("task {child}");
        return 0;
    }
    match call::wait(child) {
        Ok(report) => tell(words[0], &report),
        Err(_) => 1,
    }
}

/// Says how a program ended, if not well; gives its status.
fn tell(name: &str, report: &Report) -> i32 {
    let Report { how, status, vector, error, eip, address, .. } = *report;
    match how {
        FAULTED => {
            let what = abi::vector::mnemonic(vector as u8);
            println!("{name}: {what}, error {error:x}, at {eip:08x}, address {address:08x}");
            128 + vector as i32
        }
        KILLED => {
            println!("{name}: killed");
            1
        }
        _ if status == files::NO_PROGRAM => {
            println!("{name}: there is no such command or program");
            status
        }
        _ => status,
    }
}

/// Says of programs that nobody waited for how they ended.
fn reap() {
    while let Ok(Some(report)) = call::wait_not(0) {
        println!("task {} has ended with {}", report.task, report.status);
        tell("it", &report);
    }
}
