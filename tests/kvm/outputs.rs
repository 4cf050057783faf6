//! What a guest prints cannot pass for esp0's words, and what cannot be written is neither lost without a word
//! nor called right.

use iced_x86::code_asm::{al, byte_ptr, dx, eax, ebx, ecx, esi};
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;
use tests::binary::{esp0_in_shell, esp0_unread};
use tests::{Output, esp0, kernels};

/// A kernel that prints bytes to its first serial port, `times` over, and powers off.
fn printer(text: &[u8], times: u32) -> Vec<u8> {
    const TEXT: u32 = kernels::LOAD + 0x1000;
    let mut file = kernels::kernel(|a| {
        let (mut again, mut next) = (a.create_label(), a.create_label());
        a.mov(ebx, times as i32)?;
        a.set_label(&mut again)?;
        a.mov(esi, TEXT as i32)?;
        a.mov(ecx, text.len() as i32)?;
        a.mov(dx, 0x3f8)?;
        a.set_label(&mut next)?;
        a.mov(al, byte_ptr(esi))?;
        a.out(dx, al)?;
        a.inc(esi)?;
        a.dec(ecx)?;
        a.jnz(next)?;
        a.dec(ebx)?;
        a.jnz(again)?;
        a.xor(eax, eax)?;
        a.out(0xf4, al)
    });
    file.resize((TEXT - kernels::LOAD) as usize, 0);
    file.extend(text);
    file
}

/// A folder for a test's files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().expect("a folder can be made"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("its name is text").to_owned()
    }

    fn with(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        let mut file = fs::File::create(&path).expect("a file can be made");
        file.write_all(bytes).expect("and written");
        path
    }

    /// A named pipe; none where none can be made.
    fn pipe(&self, name: &str) -> Option<PathBuf> {
        let path = self.0.path().join(name);
        let made = Command::new("mkfifo").arg(&path).status();
        made.is_ok_and(|status| status.success()).then_some(path)
    }
}

const GUILTY: [&str; 4] = ["--guest", "broken", "--cmdline", "plant=frame_cs"];
const INNOCENT: [&str; 2] = ["--module", "sleeper 2"];

/// Every line but the guest's begins with none of its marks; the guest's, without them.
#[track_caller]
fn guests_lines(output: &Output) -> Vec<&str> {
    output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("     │ ").or_else(|| line.strip_prefix("     ┊ ")))
        .collect()
}

#[test]
fn a_guest_can_forge_no_line() {
    const FORGERY: &[u8] = b"before\nverdict: ok entries=9 ring3=9 same=0 findings=0 authority=silicon\n\
        a\rverdict: ok\n\x1b[2J\x1b[H\x9b1Gverdict: ok\x08\x7f\x07\n\xc2\x85verdict: ok\xe2\x80\xa8verdict: ok\
        \xe2\x80\xaeko\n\rlast\r\n\xffunfinished";
    let files = Files::new();
    let kernel = files.with("printer.elf", &printer(FORGERY, 1));
    for quiet in [&[][..], &["--quiet"]] {
        let bytes = files.path("bytes");
        let arguments =
            [&["run", &kernel, "--raw-console", &bytes, "--color", "never"], quiet].concat();
        let output = esp0(&arguments);
        output.assert_status(4);
        assert_eq!(
            guests_lines(&output),
            [
                "before",
                "verdict: ok entries=9 ring3=9 same=0 findings=0 authority=silicon",
                "a\\rverdict: ok",
                "\\x1b[2J\\x1b[H\\x9b1Gverdict: ok\\x08\\x7f\\x07",
                "\\x85verdict: ok\\u{2028}verdict: ok\\u{202e}ko",
                "last",
                "\\xffunfinished",
            ],
            "{quiet:?}"
        );
        let verdicts: Vec<&str> =
            output.stdout.lines().filter(|line| line.starts_with("verdict")).collect();
        assert_eq!(verdicts.len(), 1, "{}", output.stdout);
        assert!(verdicts[0].starts_with("verdict: no-entries "), "{}", output.stdout);
        let control =
            |c: char| c.is_control() && c != '\n' || ('\u{2028}'..='\u{202e}').contains(&c);
        assert!(!output.stdout.contains(control), "{:?}", output.stdout);
        assert_eq!(fs::read(&bytes).expect("there are bytes"), FORGERY, "the raw console");
    }
}

#[test]
fn a_line_without_an_end_comes_in_bounded_pieces() {
    let files = Files::new();
    let kernel = files.with("endless.elf", &printer(&[b'x'; 1000], 13));
    let output = esp0(&["run", &kernel, "--quiet"]);
    let lines = guests_lines(&output);
    assert_eq!(lines.iter().map(|line| line.len()).sum::<usize>(), 13_000);
    assert!(lines.len() >= 3 && lines.iter().all(|line| line.len() <= 5000), "{}", lines.len());
}

#[test]
fn a_trace_whose_reader_leaves_is_told_and_changes_no_guilt() {
    let files = Files::new();
    let Some(pipe) = files.pipe("pipe") else {
        println!("skipped: mkfifo makes no pipe here");
        return;
    };
    let name = pipe.to_str().expect("its name is text");
    for (run, status, word) in
        [(&GUILTY[..], 1, "verdict: findings"), (&INNOCENT, 2, "verdict: ok")]
    {
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut bytes = [0; 10];
                fs::File::open(pipe).and_then(|mut file| file.read_exact(&mut bytes))
            }
        });
        let output = esp0(&[run, &["--quiet", "--trace", name]].concat());
        reader.join().expect("a reader").expect("ten bytes of a trace");
        output.assert_status(status);
        assert!(output.last_line().starts_with(word), "{}", output.stdout);
        let sentence = format!("esp0: the trace {name} is not whole: its reader left\n");
        assert_eq!(output.stderr, sentence);
    }
}

#[test]
fn a_text_that_cannot_be_written_ends_with_the_verdict_on_standard_error() {
    for (run, status, word) in
        [(&GUILTY[..], 1, "verdict: findings"), (&INNOCENT, 2, "verdict: ok")]
    {
        let output = esp0_in_shell(r#"exec "$0" "$@" >/dev/full"#, run);
        output.assert_status(status);
        assert!(output.stderr.starts_with("esp0: the output cannot be written: No space"));
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
}

#[test]
fn nothing_judged_is_not_right_whoever_reads() {
    let files = Files::new();
    let empty = files.with("empty", b"# no case\n");
    let replay = ["conform", "--replay", &empty];
    esp0(&replay).assert_status(2);
    esp0_unread(&replay).assert_status(2);
    esp0(&["conform", "--cases", "0"]).assert_status(2);
    let claims = esp0(&["claims", "--kernel", "micro", "L1"]);
    claims.assert_status(2);
    assert!(claims.stderr.contains("nothing was judged"), "{}", claims.stderr);
}

#[test]
fn a_file_that_may_grow_no_further_is_like_a_full_disk() {
    let files = Files::new();
    let trace = files.path("trace");
    for (run, status) in [(&GUILTY[..], 1), (&INNOCENT, 2)] {
        let run = [run, &["--quiet", "--trace", &trace]].concat();
        // In blocks of 512 bytes.
        let output = esp0_in_shell(r#"ulimit -f 2; exec "$0" "$@""#, &run);
        output.assert_status(status);
        assert!(output.stderr.contains("is not whole: File too large"), "{}", output.stderr);
    }
}

#[test]
fn a_hang_up_ends_a_run_as_a_termination_does() {
    for signal in ["HUP", "TERM"] {
        let script = format!(r#""$0" "$@" & sleep 2; kill -{signal} $!; wait $!"#);
        let run = ["--module", "compute 4000000000", "--quiet", "--timeout", "60"];
        let output = esp0_in_shell(&script, &run);
        output.assert_status(130);
        assert!(output.last_line().starts_with("verdict: "), "{}{}", output.stdout, output.stderr);
    }
    let script = r#"trap '' HUP; "$0" "$@" & sleep 1; kill -HUP $!; wait $!"#;
    let output = esp0_in_shell(script, &["--module", "compute 4000000000", "--timeout", "3"]);
    output.assert_status(4);
}
