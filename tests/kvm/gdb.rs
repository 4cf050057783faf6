//! gdb itself, driven by scripts.

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
    let commands = "watch *(unsigned *)((char *)&count + 0xc0000000)\ncontinue\nprint count\nbacktrace 1\nkill\n";
    let debugged = Debugged::start(&[&kernel.path.display().to_string(), "--clock", "exits"]);
    let Some(text) = debugged.gdb(&kernel.path, commands) else { return debugged.kill() };
    follow(&text, &["Hardware watchpoint 1", "New value = 1", "$1 = 1", "#0  main ("]);
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

/// A run that was recorded is gone through both ways, and ends as it did.
#[test]
fn a_recorded_run_is_debugged() {
    let Some(kernel) = Kernel::of(case("stack_overflow")) else { return };
    let path = kernel.path.display().to_string();
    let recording = kernel.path.with_extension("recording").display().to_string();
    let recorded = esp0(&["run", &path, "--record", &recording]);
    let verdict = |out: &str| out.lines().last().unwrap_or_default().to_owned();
    let ended = verdict(&recorded.stdout);
    assert!(ended.starts_with("verdict: findings"), "{ended}");
    let debugged = Debugged::start(&[&path, "--replay", &recording]);
    let commands = "monitor stop-on finding\ncontinue\nset $found = $eip\nreverse-stepi\nmonitor status\n\
        stepi\nprint $eip == $found\ngoto #1\nmonitor status\ngoto start\ndetach\n";
    let Some(text) = debugged.gdb(&kernel.path, commands) else { return debugged.kill() };
    follow(&text, &["$1 = 1"]);
    follow(
        &text,
        &["in the past", "one instruction was taken back", "after entry #1, in the past"],
    );
    let (status, out, errors) = debugged.end();
    assert_eq!((status, verdict(&out)), (Some(1), ended), "{out}{errors}");
}

/// Kernels in Rust: what esp0 has gdb read does not rest on the language of the place.
#[test]
fn the_guests_that_esp0_carries_are_debugged() {
    for (guest, writer, at_one_address) in [("micro", "c010", true), ("classic", "0001", false)] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let into = folder.path().display().to_string();
        let debugged = Debugged::start(&["--guest", guest]);
        let init = ["gdbinit", "--guest", guest, "--into", &into, "--gdb", &debugged.address];
        let commands = "break vector_32\ncontinue\ncontinue\nbacktrace 1\nwho $tr_base+4\nphys 0x100000 4\n\
            monitor explain #1\nmonitor claims\nmonitor claims H3\nmonitor claims K1\ndelete\n\
            while $cpl == 0\nstepi\nend\nprintf \"ring %d at %x\\n\", $cpl, $eip\nset $there = $eip\n\
            reverse-stepi\nprint $cpl\nstepi\nprint $eip == $there\nmonitor status\nset var $cr0 = 0\nkill\n";
        let Some(text) = gdb(&init, commands) else { return debugged.kill() };
        follow(
            &text,
            &[
                "vector_32",
                "#0  ",
                "vector_32",
                "was written by",
                "ring 0, after #",
                "00100000  ",
                "#1 ",
                "steps",
                "H3   The new SS:ESP come from SS0:ESP0 of the current TSS",
                "guest   proved",
                "refuted=0",
                "claims: proved=1 refuted=0 open=0",
                "there is no such claim of the processor: K1",
                "in ring 3",
            ],
        );
        follow(&text, &["ring 3 at ", "$1 = 0", "$2 = true", "Could not write registers"]);
        if at_one_address {
            // Its programs all lie at the same addresses.
            let named = ["(compute: ", "(writer: ", "(sleeper: "];
            assert!(named.iter().any(|name| text.contains(name)), "{text}");
        }
        assert!(!text.contains("No symbol") && !text.contains("Python Exception"), "{text}");
        assert!(text.contains("was written by `mov [") && text.contains(writer), "{text}");
        debugged.end();
    }
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

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// A packet that gdb might send, or nearly.
fn packet(numbers: &mut Numbers) -> Vec<u8> {
    const BEGINNINGS: [&str; 32] = [
        "?",
        "g",
        "G",
        "m",
        "M",
        "p",
        "P",
        "X",
        "Z0,",
        "Z1,",
        "Z2,",
        "Z3,",
        "z0,",
        "z2,",
        "s",
        "bs",
        "vCont;s",
        "vCont?",
        "vCont;",
        "qSupported",
        "qXfer:features:read:target.xml:",
        "qXfer:memory-map:read::",
        "qRcmd,",
        "qC",
        "qfThreadInfo",
        "H",
        "T",
        "QStartNoAckMode",
        "qAttached",
        "!",
        "vMustReplyEmpty",
        "qSymbol::",
    ];
    const PARTS: [&str; 14] = [
        "100000",
        ",",
        "4",
        ":",
        ";",
        "ffffffff",
        "0",
        "#",
        "00",
        "2a",
        "6d6f6e69746f72",
        "737461747573",
        "-1",
        "%",
    ];
    let mut body = numbers.one_of(&BEGINNINGS).as_bytes().to_vec();
    for _ in 0..numbers.below(6) {
        body.extend_from_slice(numbers.one_of(&PARTS).as_bytes());
    }
    if numbers.below(4) == 0 && !body.is_empty() {
        let at = numbers.below(body.len());
        body[at] = numbers.below(256) as u8;
    }
    // What ends the guest, or lets it go, is not to be said.
    if matches!(body.first(), Some(b'k' | b'D' | b'R')) || body.starts_with(b"vKill") {
        return b"+".to_vec();
    }
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let sum = if numbers.below(8) == 0 { sum ^ 0x55 } else { sum };
    let mut packet = vec![b'$'];
    packet.extend(body);
    packet.extend(format!("#{sum:02x}").bytes());
    if numbers.below(3) == 0 {
        packet.push(b'+');
    }
    packet
}

#[test]
fn packets_at_random_lose_neither_the_run_nor_the_next_gdb() {
    let Some((_folder, kernel)) = walk() else { return };
    let debugged = Debugged::start(&[&kernel.display().to_string(), "--timeout", "200"]);
    let mut numbers = Numbers(20_261_126);
    let mut sent = 0;
    // A session ends with the first packet that is none.
    for _ in 0..400 {
        if sent > 400 {
            break;
        }
        let mut socket = TcpStream::connect(&debugged.address).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("it is a socket");
        for _ in 0..40 {
            if socket.write_all(&packet(&mut numbers)).is_err() {
                break;
            }
            sent += 1;
            let mut answer = [0; 4096];
            let _ = socket.read(&mut answer);
        }
        // A guest that runs is called back.
        let _ = socket.write_all(&[3]);
    }
    assert!(sent > 200, "only {sent} packets were taken");
    let Some(text) = debugged.gdb(&kernel, "monitor goto start\ninfo registers eip\ndetach\n")
    else {
        return debugged.kill();
    };
    assert!(text.contains("eip "), "{text}");
    let (status, out, errors) = debugged.end();
    assert!(status.is_some() && out.contains("verdict: "), "{out}{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}
