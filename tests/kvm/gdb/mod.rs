//! gdb itself, driven by scripts.

mod called;
mod carried;
mod packets;
mod recorded;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::binary::started;
use tests::{case, compiled_to_debug, esp0};

/// A guest that waits for gdb.
struct Debugged {
    esp0: Child,
    errors: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Debugged {
    fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["run", "-q"];
        all.extend(arguments);
        all.extend(["--gdb", "127.0.0.1:0"]);
        let mut esp0 = started(&all);
        let mut errors = BufReader::new(esp0.stderr.take().expect("it is a pipe"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("it says where it waits");
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(line.contains("target remote"), "{line}");
        Debugged { esp0, errors, address }
    }

    /// What gdb says to these commands; none, with the reason printed, if there is no gdb.
    fn gdb(&self, kernel: &Path, commands: &str) -> Option<String> {
        gdb(&["gdbinit", &kernel.display().to_string(), "--gdb", &self.address], commands)
    }

    /// What esp0 printed, and its status; what it complained about.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut errors) = (String::new(), String::new());
        if let Some(mut stdout) = self.esp0.stdout.take() {
            let _ = stdout.read_to_string(&mut out);
        }
        let _ = self.errors.read_to_string(&mut errors);
        (self.esp0.wait().ok().and_then(|status| status.code()), out, errors)
    }

    fn kill(mut self) {
        let _ = self.esp0.kill();
        let _ = self.esp0.wait();
    }
}

/// What gdb says to what `esp0` prints with these arguments, and then to these commands; none, with the reason printed, if
/// there is no gdb.
fn gdb(init: &[&str], commands: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let output = started_gdb(init, commands, folder.path())?.wait_with_output();
    let output = output.expect("gdb ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(text(&output.stdout) + &text(&output.stderr))
}

/// A gdb that does so; its script is in the folder.
fn started_gdb(init: &[&str], commands: &str, folder: &Path) -> Option<Child> {
    let init = esp0(init);
    init.assert_status(0);
    let script = folder.join("script");
    std::fs::write(&script, init.stdout + commands).expect("it can be written");
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set confirm off", "-ex", "set width 0"]);
    gdb.args(["-ex", "set height 0", "-x"]).arg(&script);
    gdb.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match gdb.spawn() {
        Ok(gdb) => Some(gdb),
        Err(error) => {
            println!("skipped: gdb cannot be started ({error})");
            None
        }
    }
}

/// Each of `parts` stands in `text`, one behind the other.
#[track_caller]
fn follow(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else {
            panic!("{part:?} is not, or not there, in\n{text}");
        };
        rest = &rest[at + part.len()..];
    }
}

/// A kernel in a file.
struct Kernel {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Kernel {
    fn of(bytes: Option<Vec<u8>>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("kernel.elf");
        std::fs::write(&path, bytes?).expect("it can be written");
        Some(Kernel { _folder: folder, path })
    }

    /// What gdb says of it to these commands, and what the program printed and ended with; none if there is no gdb.
    fn debugged(&self, commands: &str) -> Option<(String, Option<i32>, String)> {
        let debugged = Debugged::start(&[&self.path.display().to_string()]);
        let Some(text) = debugged.gdb(&self.path, commands) else {
            debugged.kill();
            return None;
        };
        let (status, out, errors) = debugged.end();
        assert!(!errors.contains("panicked"), "{errors}");
        Some((text, status, out))
    }
}

/// The kernel that most of these tests debug, in a file.
fn walk() -> Option<(tempfile::TempDir, PathBuf)> {
    let Kernel { _folder, path } = Kernel::of(compiled_to_debug("FORGETS"))?;
    Some((_folder, path))
}

/// The commands in docs/gdb.md that lead from the finding to the line.
fn walk_in_the_manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gdb.md");
    let text = std::fs::read_to_string(path).expect("the manual is there");
    let blocks = text.split("```gdb\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_walk_of_the_manual_leads_from_the_finding_to_the_line() {
    let Some(kernel) = Kernel::of(case("esp0_stale")) else { return };
    let Some((text, status, out)) = kernel.debugged(&walk_in_the_manual()) else { return };
    // What gdb says itself, and what esp0 answers to `monitor`, come by two ways.
    follow(
        &text,
        &[
            "SIGTRAP",
            "irq0",
            "Old value",
            "current ^= 1;",
            "$1 = 0",
            "return saved[current];",
            "$2 = 1",
            "$3 = 0x107000",
            "0x107000 <kernel_stack+4096>",
            "dispatch",
            "common",
            "first ()",
        ],
    );
    follow(
        &text,
        &[
            "the guest stops at findings",
            "of which something was found",
            "SS0:ESP0  0010:00107000  kernel_stack+4096",
            "was written by",
            "esp0_stale.c:40",
            "before the first entry: 00000000 before, 00107000 after",
        ],
    );
    assert_eq!(status, Some(1), "{out}");
    assert!(out.contains("entered on the stack of suspended task 1"), "{out}");
}

/// A page that is written at each system call, with the same values nearly always.
#[test]
fn the_writer_of_an_overflow_is_found_from_its_finding() {
    let Some(kernel) = Kernel::of(case("stack_overflow")) else { return };
    let commands = "monitor stop-on finding\ncontinue\nset $eip_word = kernel_stack[0] + 4096 - 20\nwho $eip_word\n\
        watch *(unsigned *)$eip_word\nreverse-continue\nbacktrace 1\nmonitor status\nkill\n";
    let Some((text, ..)) = kernel.debugged(commands) else { return };
    follow(&text, &["00106fec was written by", "format+", "stack_overflow.c:17", "41414141 after"]);
    follow(&text, &["Old value = 1094795585", "#0  format (", "stack_overflow.c:17"]);
    assert!(text.contains("its page was written"), "that not all was looked at is said:\n{text}");
    assert!(text.contains("stopped: a watched word, 00106fec; its page was written "), "{text}");
}

/// It is named where the kernel will have it, before paging is on; and two million rounds that do not write to its page are
/// not stepped.
#[test]
fn a_word_is_watched_from_the_first_instruction_on() {
    let Some(kernel) = Kernel::of(compiled_to_debug("LIVES_ABOVE")) else { return };
    let commands = "watch *(unsigned *)((char *)&count + 0xc0000000)\ncontinue\nprint count\nbacktrace 1\n\
        monitor status\nreverse-stepi\nprint count\nreverse-stepi\nstepi\nstepi\nprint count\nkill\n";
    let debugged = Debugged::start(&[&kernel.path.display().to_string(), "--clock", "exits"]);
    let Some(text) = debugged.gdb(&kernel.path, commands) else { return debugged.kill() };
    follow(&text, &["Hardware watchpoint 1", "New value = 1", "$1 = 1", "#0  main ("]);
    follow(&text, &["$1 = 1", "$2 = 0", "$3 = 1"]);
    // The rounds before it are ten million instructions, which nobody has to count. How far from its last place a guest is
    // when it is stopped is the host's doing.
    let place = text.split_once('@').and_then(|(_, rest)| rest.split_once(','));
    let step = place.and_then(|(place, _)| place.split_once('.')?.1.parse::<u64>().ok());
    assert!(step.is_some_and(|step| step < 1_000_000), "{text}");
    let (_, _, errors) = debugged.end();
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn a_register_that_a_handler_lost_is_seen_on_both_sides_of_it() {
    let Some(kernel) = Kernel::of(case("registers_lost")) else { return };
    let commands = "monitor stop-on finding\ncontinue\nmonitor status\nx/i $eip\nset $at_return = $eax\n\
        break stub\nreverse-continue\nx/i $eip\nprint $eax == $at_return\nmonitor explain\nmonitor explain #1\n\
        monitor explain #999\nbacktrace\nup\nprint $cpl\nprint $cr0\nprint/x $tr\nkill\n";
    let Some((text, status, out)) = kernel.debugged(commands) else { return };
    follow(
        &text,
        &["iret", "call", "tick", "$1 = 0", "user () at", "$2 = 3", "$3 = 17", "$4 = 0x28"],
    );
    follow(
        &text,
        &[
            "of which something was found",
            " external 0x20\n",
            "steps",
            "#1 external 0x20",
            "no entry #999",
        ],
    );
    assert_eq!(status, Some(1), "{out}");
    assert!(out.contains("EAX is not what #"), "{out}");
}

/// What had been seen up to a place is told there as it was told when the guest came to it first.
#[test]
fn what_was_seen_is_told_in_the_past_as_it_was_then() {
    let Some(kernel) = Kernel::of(case("stack_overflow")) else { return };
    // What a command prints comes on another stream than what gdb echoes.
    let mut commands = "python\ndef told(mark):\n  said = [gdb.execute('monitor ' + what, to_string=True) \
                        for what in ('entries', 'stacks', 'tasks')]\n  print('[' + mark + '\\n' + ''.join(said) \
                        + ']')\nend\nmonitor stop-on entry\n"
        .to_owned();
    for (times, mark) in [(3, "third"), (20, "twenty-third"), (30, "last")] {
        commands += &"continue\n".repeat(times);
        commands += &format!("python told('{mark}')\n");
    }
    for (place, mark) in [("#23", "twenty-third"), ("#3", "third"), ("end", "last")] {
        commands += &format!("goto {place}\npython told('{mark} again')\n");
    }
    commands += "goto start\npython told('start')\nkill\n";
    let Some((text, ..)) = kernel.debugged(&commands) else { return };
    let part = |mark: &str| {
        let (_, rest) = text.split_once(&format!("[{mark}\n")).expect("it is there");
        rest.split_once("\n]").map(|(part, _)| part.to_owned()).expect("it ends")
    };
    for mark in ["third", "twenty-third", "last"] {
        let first = part(mark);
        assert!(first.lines().filter(|line| line.contains("int 0x80")).count() > 1, "{first}");
        assert_eq!(part(&format!("{mark} again")), first, "{mark}");
    }
    assert_ne!(part("third"), part("last"));
    follow(&text, &["last again", "none was seen", "no kernel stack was seen yet", "no task was"]);
}

/// Who reads a word is found by stepping, forwards and backwards.
#[test]
fn who_reads_a_word_is_stopped_at() {
    let Some(kernel) = Kernel::of(case("esp0_stale")) else { return };
    let commands = "break dispatch\ncontinue\ncontinue\ndelete\nrwatch current\ncontinue\nx/i $eip\ncontinue\n\
        delete\nset $second = $eip\nawatch current\nreverse-continue\nprint $eip == $second\nreverse-continue\n\
        monitor status\ndelete\nwatch current\nkill\n";
    let Some((text, ..)) = kernel.debugged(commands) else { return };
    follow(
        &text,
        &[
            "Hardware read watchpoint 2: current",
            "Hardware read watchpoint 2: current",
            "Value = ",
            "Hardware read watchpoint 2: current",
            "Value = ",
            "Hardware access (read/write) watchpoint 3: current",
            "Hardware access (read/write) watchpoint 3: current",
            "Value = ",
            "Hardware access (read/write) watchpoint 3: current",
            "Old value = 0",
            "New value = 1",
        ],
    );
    assert!(text.contains("stopped: a watched word, 0010"), "{text}");
}

#[test]
fn a_handler_is_stopped_in_its_frame_read_and_its_iret_stepped_through() {
    let Some((_folder, kernel)) = walk() else { return };
    let debugged = Debugged::start(&[&kernel.display().to_string()]);
    let commands = "break timer\ncontinue\nprintf \"frame %x %x\\n\", ((unsigned *)$esp)[1], ((unsigned *)$esp)[4]\n\
        p/x $cr0\np $cpl\ndelete\nwhile *(unsigned char *)$eip != 0xcf\nstepi\nend\nx/i $eip\nstepi\np $cpl\n\
        reverse-stepi\np $cpl\nx/i $eip\nmonitor phys 0x100000 4\nmonitor gdt\nmonitor idt\nmonitor stacks\n\
        monitor tasks\nmonitor why\nmonitor status\nmonitor nonsense\nkill\n";
    let Some(text) = debugged.gdb(&kernel, commands) else { return debugged.kill() };
    follow(
        &text,
        &[
            "Breakpoint 1, ",
            "frame 1b 23",
            "$1 = 0x11",
            "$2 = 0",
            "iret",
            "$3 = 3",
            "$4 = 0",
            "iret",
            "00100000  02 b0 ad 1b",
            "0008  00cf9a000000ffff",
            "20  interrupt gate",
            "task 1",
            "#1 external 0x20",
            "steps",
            "after entry #1",
            "there is no such command",
        ],
    );
    assert!(!text.contains("hlt"), "no probe is to be seen:\n{text}");
    debugged.end();
}

#[test]
fn a_gdb_that_goes_away_or_talks_nonsense_does_not_lose_the_run() {
    let Some((_folder, kernel)) = walk() else { return };
    let debugged = Debugged::start(&[&kernel.display().to_string()]);
    let connect = || {
        let socket = TcpStream::connect(&debugged.address).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a socket");
        socket
    };
    // Somebody who leaves at once, and some who talk nonsense.
    drop(connect());
    for nonsense in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"$zz#00", b"$m#zz$", &[0xff; 5000], b"$Z0,#ff"]
    {
        let mut socket = connect();
        let _ = socket.write_all(nonsense);
    }
    // One that lets the guest run, and is gone.
    let mut socket = connect();
    socket.write_all(b"+$vCont;c#a8").expect("it is read");
    drop(socket);
    // One that asks for much and reads nothing, while another comes.
    let mut slow = connect();
    for _ in 0..500 {
        if slow.write_all(b"$m100000,800#ee").is_err() {
            break;
        }
    }
    drop(slow);
    let Some(text) = debugged.gdb(&kernel, "monitor status\nmonitor goto start\ndetach\n") else {
        return debugged.kill();
    };
    assert!(text.contains("at 00100"), "{text}");
    let (status, out, errors) = debugged.end();
    assert_eq!(status, Some(1), "{out}{errors}");
    assert!(out.contains("findings=1"), "the whole run is judged:\n{out}");
}

/// One gdb is killed while the guest runs for it, and one more comes meanwhile.
#[test]
fn a_gdb_that_is_killed_leaves_the_guest_to_the_next_one() {
    let Some(kernel) = Kernel::of(compiled_to_debug("COMPUTES_LITTLE")) else { return };
    let path = kernel.path.display().to_string();
    let debugged = Debugged::start(&[&path, "--timeout", "120"]);
    let init = ["gdbinit", &path, "--gdb", &debugged.address];
    let folder = tempfile::tempdir().expect("a folder can be made");
    let commands = "monitor stop-on entry\ncontinue\nprintf \"it goes on\\n\"\nmonitor stop-on nothing\nwhile 1\nstepi\nend\n";
    let Some(mut first) = started_gdb(&init, commands, folder.path()) else {
        return debugged.kill();
    };
    let mut said = BufReader::new(first.stdout.take().expect("it is a pipe")).lines();
    let goes_on = said.by_ref().map_while(Result::ok).any(|line| line.contains("it goes on"));
    assert!(goes_on, "it comes to the first entry");
    // Another is sent away.
    let second = gdb(&init, "monitor status\n").expect("there is a gdb");
    assert!(!second.contains("checkpoints"), "{second}");
    first.kill().expect("it runs");
    first.wait().expect("it has ended");
    drop(said);
    let third = gdb(&init, "monitor status\nreverse-stepi\nmonitor goto #1\nkill\n")
        .expect("there is a gdb");
    assert!(third.contains("after entry #") && third.contains("checkpoints"), "{third}");
    let (_, out, errors) = debugged.end();
    assert!(errors.contains("gdb is gone") && out.contains("verdict: "), "{out}{errors}");
}

#[test]
fn a_guest_that_never_leaves_is_interrupted() {
    let Some((_folder, kernel)) = walk() else { return };
    let debugged = Debugged::start(&[&kernel.display().to_string()]);
    let mut socket = TcpStream::connect(&debugged.address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("it is a socket");
    // The kernel's end is a loop over HLT; with a breakpoint nowhere it comes to its end.
    socket.write_all(b"+$c#63").expect("it is read");
    socket.write_all(&[3]).expect("it is read");
    let mut answer = Vec::new();
    let mut byte = [0];
    while socket.read(&mut byte).is_ok_and(|count| count == 1) {
        answer.push(byte[0]);
        if answer.contains(&b'#') {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.contains("S02") || answer.contains("T02") || answer.contains("replaylog"),
        "{answer}"
    );
    debugged.kill();
}

#[test]
fn frames_unwind_through_a_handler_to_what_was_interrupted() {
    let Some((_folder, kernel)) = walk() else { return };
    let debugged = Debugged::start(&[&kernel.display().to_string()]);
    let commands = "break switch_task\ncontinue\nbacktrace\nframe 2\nprint $cs & 3\nprint $esp > &user_stack\nkill\n";
    let Some(text) = debugged.gdb(&kernel, commands) else { return debugged.kill() };
    if text.contains("Python scripting is not supported") {
        println!("skipped: this gdb has no Python");
        return debugged.kill();
    }
    follow(
        &text,
        &["#0  switch_task", "in timer ()", "in first ()", "first ()", "$1 = 3", "$2 = 1"],
    );
    debugged.end();
}
