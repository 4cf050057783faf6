//! `init` starts the servers and then the shell, and takes in orphans.
//!
//! It is the first task, and knows the others by what fork gave it; so it can tell the shell, in the
//! environment, whom to ask for what: `names=2 console=3 files=4`. `init PROGRAM ARGUMENTS…` starts
//! that instead of the shell. When it ends the machine is powered off, with its status.

#![no_std]
#![no_main]

extern crate alloc;

use abi::service::names;
use abi::task::{CHILD_ENDED, EXITED, right};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use user::message::{self, KERNEL, Message};
use user::{call, files, println};

user::program!(main);

/// The servers, in the order in which they are started, and the rights that each is left with.
const SERVERS: [(&str, u32); 3] = [("names", 0), ("console", right::DEVICES), ("files", 0)];

fn main(arguments: user::Arguments) -> i32 {
    let mut environment: Vec<String> = Vec::new();
    let mut servers = Vec::new();
    for (name, rights) in SERVERS {
        let Some(task) = start(&[name], rights, &environment) else { return 1 };
        servers.push((name, task));
        if !is_found(servers[0].1, name) {
            println!("init: {name} does not answer");
            return 1;
        }
        environment.push(format!("{name}={task}"));
    }
    let words: Vec<&str> = (1..arguments.count()).filter_map(|n| arguments.get(n)).collect();
    let words = if words.is_empty() { &["sh"][..] } else { &words };
    let Some(shell) = start(words, right::ALL, &environment) else { return 1 };
    loop {
        match message::receive(0) {
            Ok((KERNEL, Message { label, .. })) if label & CHILD_ENDED != 0 => {}
            Ok((task, _)) => {
                let _ = message::reply(task, Message::default());
                continue;
            }
            Err(_) => continue,
        }
        while let Ok(Some(report)) = call::wait_not(0) {
            if report.task == shell {
                let status = if report.how == EXITED { report.status } else { 1 };
                call::power_off(status.cast_unsigned());
            }
            if let Some((name, _)) = servers.iter().find(|(_, task)| *task == report.task) {
                println!("init: {name} has ended: {report:?}");
                call::power_off(1);
            }
        }
    }
}

/// Starts a program as a child with fewer rights.
fn start(words: &[&str], rights: u32, environment: &[String]) -> Option<u32> {
    match call::fork() {
        Ok(Some(child)) => Some(child),
        Ok(None) => {
            call::restrict(rights);
            let error = files::exec_with(words, environment.iter().map(String::as_str));
            println!("init: {}: {error:?}", words[0]);
            call::exit(files::NO_PROGRAM)
        }
        Err(error) => {
            println!("init: no child for {}: {error:?}", words[0]);
            None
        }
    }
}

/// Waits until a server has told the name server that it is there.
fn is_found(names: u32, name: &str) -> bool {
    name == "names"
        || (0..5000).any(|_| {
            let question = Message::long(names::FIND, 0, name.as_bytes());
            let found = message::call(names, question).is_ok_and(|answer| answer.word != 0);
            if !found {
                let _ = call::sleep(1);
            }
            found
        })
}
