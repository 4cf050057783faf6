//! `sh` reads commands from the console and does them: `help` lists them.
//!
//! What is no command of its own is looked for among the files, and run as a program: the shell
//! waits for it, unless the line ends with `&`. Ctrl-C ends it, with all that it has started. `sh LINE` does
//! that line, and exits with its status.
//!
//! The shell edits its own lines ([`edit`]); the console hands on keys as they come. So does esp0, which need not
//! know whether a shell of this kernel's or somebody else's program is at the other end of the line.

#![no_std]
#![no_main]

extern crate alloc;

mod edit;

use abi::layout::KERNEL_STACK;
use abi::service::console::INTERRUPTED;
use abi::service::error;
use abi::task::{FAULTED, Info, KILLED, Report, TASKS};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use edit::{Editor, Event, LONGEST, completion};
use user::message::{self, KERNEL, Message};
use user::{call, console, files, print, println};

user::program!(main);

const PROMPT: &str = "$ ";

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
exit [STATUS]        powers the machine off
Tab completes, the arrows edit and go back to earlier lines, Ctrl-C ends what runs";

/// The commands, which [`HELP`] begins its lines with.
fn commands() -> impl Iterator<Item = &'static str> {
    let lines = HELP.lines().filter(|line| line.starts_with(|letter: char| letter.is_lowercase()));
    lines.filter_map(|line| line.split(' ').next())
}

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
    let mut buffer = [0; 256];
    let mut editor = Editor::new(PROMPT);
    editor.begin();
    loop {
        console::write(console, &editor.output());
        let Some(keys) = console::read(console, &mut buffer) else { return 0 };
        if keys.interrupted {
            forget_notifications();
        }
        for &byte in &buffer[..keys.count] {
            let Some(event) = editor.key(byte) else { continue };
            console::write(console, &editor.output());
            match event {
                Event::End => return 0,
                Event::GivenUp => editor.begin(),
                Event::Complete => complete(&mut editor),
                Event::TooLong(length) => {
                    println!(
                        "sh: a line has at most {LONGEST} bytes, and this one has {length}: it is not done"
                    );
                    editor.begin();
                }
                Event::Line(line) => {
                    let words: Vec<&str> = line.split_ascii_whitespace().collect();
                    match words.first().copied() {
                        None => {}
                        Some("exit") => {
                            return words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
                        }
                        // The shell itself cannot be ended.
                        Some("sleep") => {
                            run(&[&["sh"], &words[..]].concat());
                        }
                        Some(_) => {
                            execute(&words);
                        }
                    }
                    reap();
                    editor.begin();
                }
            }
        }
    }
}

/// Completes the word at the cursor, or says what it can become.
fn complete(editor: &mut Editor) {
    let before = editor.before_cursor();
    let start = before.rfind(' ').map_or(0, |space| space + 1);
    let (line, word) = before.split_at(start);
    let mut names: Vec<String> = Vec::new();
    if matches!(line.trim(), "" | "run") {
        names.extend(commands().filter(|_| line.is_empty()).map(String::from));
    }
    names.extend((0..).map_while(files::list).map(|(name, _)| name));
    let (more, fit) = completion(word, &names);
    match &*fit {
        [] => {}
        [_] => {
            let more = format!("{more} ");
            editor.insert(&more);
        }
        many if more.is_empty() => {
            let many = many.join("  ");
            println!("\n{many}");
            editor.draw_again();
        }
        _ => {
            let more = String::from(more);
            editor.insert(&more);
        }
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
    match wait_or_end(child) {
        Ok(report) => tell(words[0], &report),
        Err(_) => 1,
    }
}

/// Waits for a child, and ends it if the console says so.
fn wait_or_end(child: u32) -> Result<Report, abi::call::Error> {
    loop {
        if let Some(report) = call::wait_not(child)? {
            return Ok(report);
        }
        match message::receive(0) {
            Ok((KERNEL, message)) if message.label & INTERRUPTED != 0 => end(child),
            Ok((KERNEL, _)) | Err(_) => {}
            Ok((task, _)) => {
                let _ = message::reply(task, Message::short(error::BAD, 0, 0));
            }
        }
    }
}

/// Ends a task and all that descend from it.
fn end(task: u32) {
    let tasks: Vec<Info> =
        (0..TASKS).filter_map(|place| call::inspect(place).ok().flatten()).collect();
    let mut ended = Vec::from([task]);
    let mut looked_at = 0;
    while let Some(&parent) = ended.get(looked_at) {
        ended.extend(tasks.iter().filter(|info| info.parent == parent).map(|info| info.task));
        looked_at += 1;
    }
    for task in ended {
        // Whoever has ended meanwhile has done so.
        let _ = call::kill(task);
    }
}

/// Takes notifications that came too late to end anything.
fn forget_notifications() {
    // One is there for certain, so nobody waits.
    if message::notify(call::getpid(), INTERRUPTED).is_err() {
        return;
    }
    while let Ok((task, _)) = message::receive(0) {
        if task == KERNEL {
            return;
        }
        let _ = message::reply(task, Message::short(error::BAD, 0, 0));
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
