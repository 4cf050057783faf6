//! What the program says to bad input, and where there is no KVM. Needs none: bad input is bad with
//! KVM or without.

use esp0::doctor::TestedMachine;
use esp0::guests;
use esp0::machine::Machine;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What the program left behind.
struct Output {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn esp0(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_esp0"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("cargo has built the program");
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Exit status 2, nothing on standard output, and one sentence that has `says` in it.
#[track_caller]
fn assert_refused(arguments: &[&str], says: &[&str]) {
    let output = esp0(arguments);
    assert_sentence(arguments, &output, 2);
    for part in says {
        assert!(output.stderr.contains(part), "{arguments:?}: no {part:?} in {}", output.stderr);
    }
}

#[track_caller]
fn assert_sentence(arguments: &[&str], output: &Output, status: i32) {
    let Output { status: got, stdout, stderr } = output;
    assert_eq!(*got, Some(status), "status of {arguments:?}\n{stdout}{stderr}");
    assert_eq!(stdout, "", "{arguments:?} prints nothing on standard output");
    let sentence = stderr.strip_suffix('\n').unwrap_or("");
    assert!(
        sentence.starts_with("esp0: ") && !sentence.contains('\n') && sentence.len() > 20,
        "{arguments:?}: expected one sentence, got\n{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Runs `script` in a shell, where `"$0" "$@"` is the program with its arguments.
fn in_shell(script: &str, arguments: &[&str]) -> Output {
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_esp0")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell");
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What clap says to a wrong word: a line that names it, and how the program is used.
#[track_caller]
fn assert_misused(arguments: &[&str], says: &[&str]) {
    let Output { status, stdout, stderr } = esp0(arguments);
    assert_eq!(status, Some(2), "status of {arguments:?}\n{stdout}{stderr}");
    let first = stderr.lines().next().unwrap_or("");
    assert!(first.starts_with("error: "), "{arguments:?}: {stderr}");
    for part in says {
        assert!(first.contains(part), "{arguments:?}: no {part:?} in {first}");
    }
}

/// A folder of files for the program to read.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().expect("a folder can be made"))
    }

    fn with(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("a file can be written");
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the name is text")
}

fn micro() -> &'static [u8] {
    guests::guest("micro").expect("esp0 carries it").kernel
}

/// An ELF32 file for the 386 with these segments: physical address, size in memory. Each holds a
/// Multiboot header and an endless loop.
fn elf32(segments: &[(u32, u32)]) -> Vec<u8> {
    const HEADER: u32 = 52;
    const PROGRAM_HEADER: u32 = 32;
    const MAGIC: u32 = 0x1BAD_B002;
    let body = [MAGIC, 0, 0u32.wrapping_sub(MAGIC), 0xfeeb];
    let count = segments.len() as u32;
    let start = HEADER + count * PROGRAM_HEADER;
    let entry = segments.first().map_or(0, |(address, _)| address + 12);
    let mut file = vec![0x7F, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Executable, 386.
    file.extend([2, 0, 3, 0]);
    for word in [1, entry, HEADER, 0, 0] {
        file.extend(u32::to_le_bytes(word));
    }
    for half in [HEADER, PROGRAM_HEADER, count, 40, 0, 0] {
        file.extend((half as u16).to_le_bytes());
    }
    for (address, size) in segments {
        // PT_LOAD.
        for word in [1, start, *address, *address, 16, *size, 7, 4] {
            file.extend(word.to_le_bytes());
        }
    }
    file.extend(body.iter().flat_map(|word| word.to_le_bytes()));
    file
}

/// The kernel `classic` with one byte of its start note changed, `at` bytes from the note's kind: in
/// front of that lies the length of what follows its name.
fn with_start_note(at: isize, value: u8) -> Vec<u8> {
    let mut kernel = guests::guest("classic").expect("esp0 carries it").kernel.to_vec();
    const NOTE: &[u8] = b"\x01\0\0\0esp0\0\0\0\0";
    let note = kernel.windows(NOTE.len()).position(|bytes| bytes == NOTE).expect("it has a note");
    kernel[note.wrapping_add_signed(at)] = value;
    kernel
}

#[test]
fn bad_start_notes_are_refused() {
    let files = Files::new();
    for (name, at, value, says) in [
        ("kind.elf", 0, 7, "has a start note that is of kind 7"),
        ("length.elf", -4, 3, "has a start note that has 3 bytes"),
        ("far.elf", -2, 1, "has a start note that is cut off"),
        (
            "place.elf",
            14,
            0xd0,
            "asks for 07d0:0000, which is 0x7d00, but its entry point is 0x7c00",
        ),
    ] {
        let path = files.with(name, &with_start_note(at, value));
        assert_refused(&["run", text(&path)], &[text(&path), says]);
    }
}

#[test]
fn help_tells_the_exit_statuses() {
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let output = esp0(arguments);
        assert_eq!(output.status, Some(0), "{arguments:?}: {}", output.stderr);
        for part in [
            "Exit status",
            "0 all entries right",
            "1 findings",
            "2 usage or bad input",
            "3 no usable KVM",
            "4 the guest failed",
        ] {
            // Long lines are wrapped.
            let words = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(part), "{arguments:?}: no {part:?} in\n{}", output.stdout);
        }
    }
    let run = esp0(&["run", "--help"]);
    assert_eq!(run.status, Some(0));
    for option in [
        "--trace",
        "--quiet",
        "--frames",
        "--timeout",
        "--mem",
        "--cmdline",
        "--module",
        "--clock",
        "--probe",
        "--color",
        "--symbols",
        "--until",
        "--send",
        "--dialogue",
        "--until-halt",
        "--stop-on-finding",
        "--max-findings",
        "--strict",
        "--junit",
    ] {
        assert!(run.stdout.contains(option), "no {option} in\n{}", run.stdout);
    }
}

#[test]
fn the_version_is_told() {
    let output = esp0(&["--version"]);
    assert_eq!(
        (output.status, output.stdout),
        (Some(0), format!("esp0 {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn a_kernel_that_cannot_be_read_is_refused_by_name() {
    let files = Files::new();
    let missing = files.0.path().join("no-such-kernel.elf");
    assert_refused(&["run", text(&missing)], &[text(&missing), "No such file"]);
    let folder = files.0.path();
    assert_refused(&["run", text(folder)], &[text(folder), "directory"]);
}

#[test]
fn a_file_that_is_no_elf32_kernel_is_refused_by_name() {
    let files = Files::new();
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("empty", Vec::new(), "is empty"),
        ("text", b"a kernel, of sorts\n".to_vec(), "is not an ELF file"),
        ("one-byte", vec![0x7f], "is not an ELF file"),
        ("magic-only", b"\x7fELF".to_vec(), "truncated"),
        ("cut-in-header", micro()[..40].to_vec(), "truncated"),
        ("cut-in-program-headers", micro()[..60].to_vec(), "truncated"),
        ("cut-in-a-segment", elf32(&[(0x10_0000, 16)])[..96].to_vec(), "truncated"),
        ("other-machine", with(elf32(&[(0x10_0000, 16)]), 18, 40), "another machine"),
        ("object-file", with(elf32(&[(0x10_0000, 16)]), 16, 1), "not an ELF executable"),
        ("no-header", with(elf32(&[(0x10_0000, 16)]), 84, 0), "has no Multiboot header"),
    ];
    for (name, bytes, says) in cases {
        let path = files.with(name, &bytes);
        assert_refused(&["run", text(&path)], &[text(&path), says]);
    }
}

#[test]
fn an_elf64_file_is_refused_by_name() {
    let own = env!("CARGO_BIN_EXE_esp0");
    assert_refused(&["run", own], &[own, "is an ELF64 file"]);
}

#[test]
fn a_multiboot_header_that_cannot_be_satisfied_is_refused() {
    let files = Files::new();
    let flags = |flags: u32| {
        let checksum = 0u32.wrapping_sub(0x1BAD_B002).wrapping_sub(flags);
        let mut file = elf32(&[(0x10_0000, 16)]);
        file[88..92].copy_from_slice(&flags.to_le_bytes());
        file[92..96].copy_from_slice(&checksum.to_le_bytes());
        file
    };
    let path = files.with("unknown", &flags(0x8000));
    assert_refused(&["run", text(&path)], &[text(&path), "0x8000"]);
    let path = files.with("checksum", &with(elf32(&[(0x10_0000, 16)]), 92, 1));
    assert_refused(&["run", text(&path)], &[text(&path), "checksum"]);
}

#[test]
fn segments_that_do_not_fit_are_refused_with_what_to_do() {
    let files = Files::new();
    let far = files.with("far", &elf32(&[(0x0400_0000, 16)]));
    assert_refused(&["run", text(&far)], &[text(&far), "outside guest memory", "give --mem 65"]);
    let large = files.with("large", &elf32(&[(0x10_0000, 0x0100_0000)]));
    assert_refused(
        &["run", text(&large)],
        &[text(&large), "outside guest memory", "give --mem 17"],
    );
    let top = files.with("top", &elf32(&[(0xffff_f000, 0x1000)]));
    assert_refused(&["run", text(&top), "--mem", "3072"], &[text(&top), "outside guest memory"]);
    let both = files.with("overlap", &elf32(&[(0x10_0000, 0x2000), (0x10_1000, 0x1000)]));
    assert_refused(
        &["run", text(&both)],
        &[text(&both), "segments 0 (0x100000..0x102000) and 1", "overlap"],
    );
}

#[test]
fn modules_that_are_missing_or_do_not_fit_are_refused_by_name() {
    assert_refused(
        &["--module", "no-such-program and its arguments"],
        &["no-such-program", "No such file"],
    );
    assert_refused(&["--module", " "], &["--module"]);
    let files = Files::new();
    let large = files.with("large-module", &vec![0; 3 << 20]);
    assert_refused(&["--module", text(&large), "--mem", "3"], &[text(&large), "memory"]);
    assert_refused(&["--module", text(files.0.path())], &[text(files.0.path()), "directory"]);
}

#[test]
fn a_command_line_that_cannot_be_passed_is_refused() {
    let long = "x".repeat(100_000);
    assert_refused(&["--cmdline", &long], &["the kernel command line", "long"]);
}

#[test]
fn misuse_is_named() {
    assert_misused(&["--no-such-option"], &["--no-such-option"]);
    assert_misused(&["no-such-command"], &["no-such-command"]);
    assert_misused(&["--guest", "no-such-guest"], &["no-such-guest", "--guest"]);
    assert_misused(&["--frames", "some"], &["some", "--frames"]);
    assert_misused(&["--probe", "hope"], &["hope", "--probe"]);
    assert_misused(&["run", "one", "two"], &["two"]);
    assert_misused(&["--trace"], &["--trace"]);
    assert_misused(&["--max-findings", "0"], &["--max-findings"]);
    assert_misused(&["--stop-on-finding", "--max-findings", "2"], &["cannot be used with"]);
    assert_misused(&["--until", "a", "--dialogue", "b"], &["cannot be used with"]);
    for pair in [
        ["--quiet", "--all"],
        ["--interactive", "--exact"],
        ["--interactive", "--all"],
        ["--interactive", "--clock=real"],
        ["--screen", "--frames=none"],
        ["--record=a", "--floppy=b"],
        ["--replay=a", "--floppy=b"],
    ] {
        assert_misused(&pair, &["cannot be used with"]);
    }
    let wrong =
        ["fast", "deterministic:", "deterministic:0", "deterministic:x", "real:0", "real:x", ""];
    for clock in wrong {
        assert_misused(&["--clock", clock], &["--clock"]);
    }
    for cpu in ["386", "486,sep", "host,-x", ""] {
        assert_misused(&["--cpu", cpu], &["--cpu"]);
    }
    for timeout in ["0", "-1", "soon", "inf", "nan", "1e300", "0s", "s", "2h", ""] {
        assert_misused(&[&format!("--timeout={timeout}")], &["--timeout"]);
    }
    assert_misused(&["--timeout=60ms"], &["--timeout", "seconds", "`90s`", "minutes", "`2m`"]);
    for memory in ["0", "1", "-1", "much", "3073", "99999999999999999999", ""] {
        assert_misused(&[&format!("--mem={memory}")], &["--mem"]);
    }
}

#[test]
fn a_command_that_is_nearly_right_is_suggested_and_a_file_has_its_command() {
    let output = esp0(&["docter"]);
    assert_eq!(output.status, Some(2));
    assert!(output.stderr.contains("'doctor'"), "{}", output.stderr);
    let files = Files::new();
    let kernel = files.with("kernel.elf", micro());
    assert_refused(&[text(&kernel)], &[text(&kernel), "esp0 run"]);
}

#[test]
fn dialogues_and_symbols_that_cannot_be_read_are_refused_by_name() {
    let files = Files::new();
    let path = files.with("talk", b"expect login:\nwait 3\n");
    assert_refused(&["--dialogue", text(&path)], &[text(&path), ":2: `wait`"]);
    let missing = files.0.path().join("none");
    assert_refused(&["--dialogue", text(&missing)], &[text(&missing), "No such file"]);
    assert_refused(&["--until", "a\\q"], &["--until", "\\q"]);
    assert_refused(&["--send", ""], &["--send", "no text"]);
    assert_refused(&["--symbols", text(&missing)], &[text(&missing), "No such file"]);
    assert_refused(&["--symbols", text(&path)], &[text(&path), "no symbols"]);
}

#[test]
fn qemus_words_are_understood() {
    let files = Files::new();
    let far = files.with("far", &elf32(&[(0x0400_0000, 16)]));
    assert_refused(&["-m", "32M", "-kernel", text(&far)], &[text(&far), "give --mem 65"]);
    let large = files.with("large", &vec![0; 3 << 20]);
    assert_refused(&["-initrd", text(&large), "-m", "3"], &[text(&large), "memory"]);
    assert_misused(&["-m", "much"], &["--mem", "much"]);
    let long = "x".repeat(100_000);
    assert_refused(&["-append", &long], &["the kernel command line", "long"]);
}

#[test]
fn modules_with_spaces_in_their_names_are_found() {
    let files = Files::new();
    let path = files.with("a large module", &vec![0; 3 << 20]);
    let quoted = format!("'{}' with arguments", text(&path));
    let escaped = text(&path).replace(' ', "\\ ");
    for module in [text(&path), &quoted, &escaped] {
        assert_refused(&["--module", module, "--mem", "3"], &["a large module", "memory"]);
    }
    assert_refused(&["--module", "no such \\ file"], &["no cannot be read"]);
}

#[test]
fn completions_and_manual_pages_are_printed_without_kvm_and_without_a_home() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = esp0(&["completions", shell]);
        assert_eq!(output.status, Some(0), "{}", output.stderr);
        assert!(output.stdout.contains("until-halt"), "{shell}:\n{}", output.stdout);
    }
    assert_misused(&["completions", "abacus"], &["abacus"]);
    for (arguments, title) in
        [(&["man"][..], ".TH esp0 1"), (&["man", "conform"], ".TH esp0-conform 1")]
    {
        let output = esp0(arguments);
        assert_eq!(output.status, Some(0), "{}", output.stderr);
        assert!(output.stdout.contains(title), "{}", output.stdout);
    }
    assert_refused(&["man", "nothing"], &["there is no command nothing"]);
    let homeless = Command::new(env!("CARGO_BIN_EXE_esp0"))
        .arg("man")
        .env_remove("HOME")
        .env_remove("XDG_CACHE_HOME")
        .output()
        .expect("cargo has built the program");
    assert!(homeless.status.success());
}

/// Bad input is told of where KVM is missing too, and before anything is made of it.
#[test]
fn bad_input_wins_over_a_missing_kvm_and_leaves_no_trace() {
    let files = Files::new();
    let trace = files.0.path().join("trace.jsonl");
    let kernel = files.with("text", b"no kernel");
    assert_refused(
        &["run", text(&kernel), "--trace", text(&trace)],
        &[text(&kernel), "is not an ELF file"],
    );
    assert!(!trace.exists(), "a trace of nothing was begun");
}

#[test]
fn output_that_nobody_gets_is_an_error() {
    for arguments in [&["--version"][..], &["--help"], &["--guest", "broken"], &["doctor"]] {
        for closed in [r#"exec "$0" "$@" >&-"#, r#"exec "$0" "$@" 1</dev/null"#] {
            let output = in_shell(closed, arguments);
            assert_sentence(arguments, &output, 2);
            assert!(output.stderr.contains("standard output is closed"), "{}", output.stderr);
        }
    }
    let full = in_shell(r#"exec "$0" "$@" >/dev/full"#, &["--help"]);
    assert_sentence(&["--help"], &full, 2);
    // A reader that has enough is no error.
    let left = in_shell(r#"("$0" "$@"; echo $? >&2) | true"#, &["--help"]);
    assert_eq!(left.stderr, "0\n");
}

#[test]
fn files_without_an_end_are_refused() {
    let zero = &["/dev/zero"][..];
    assert_refused(&["run", "/dev/zero"], zero);
    assert_refused(&["--module", "/dev/zero"], zero);
    assert_refused(&["explain", "/dev/zero", "1"], &["/dev/zero", "longer than 16 MiB"]);
    assert_refused(&["conform", "--replay", "/dev/zero"], zero);
    let files = Files::new();
    let large = files.with("large", b"");
    fs::File::options().write(true).open(&large).unwrap().set_len(1 << 40).unwrap();
    assert_refused(&["run", text(&large)], &[text(&large), "larger than 512 MiB"]);
    assert_refused(&["conform", "--replay", text(&large)], &[text(&large), "larger than"]);
}

#[test]
fn no_output_is_written_over_an_input_or_another_output() {
    let files = Files::new();
    let kernel = files.with("kernel", &elf32(&[(0x10_0000, 16)]));
    let before = fs::read(&kernel).unwrap();
    let other_name = files.0.path().join("link");
    std::os::unix::fs::symlink(&kernel, &other_name).unwrap();
    for option in ["--trace", "--raw-console"] {
        assert_refused(
            &["run", text(&kernel), option, text(&other_name)],
            &[text(&other_name), "is the same file as the kernel"],
        );
        assert_refused(
            &["--module", text(&kernel), option, text(&kernel)],
            &[text(&kernel), "is the same file as the module"],
        );
    }
    assert_eq!(fs::read(&kernel).unwrap(), before);
    let both = files.0.path().join("both");
    assert_refused(
        &["run", text(&kernel), "--trace", text(&both), "--raw-console", text(&both)],
        &["the raw console", "is the same file as the trace"],
    );
    assert!(!both.exists());
    let cases = files.with("cases", b"ring3 int:80\n");
    assert_refused(
        &["conform", "--replay", text(&cases), "--collect", text(&cases)],
        &["the same file"],
    );
    assert_eq!(fs::read(&cases).unwrap(), b"ring3 int:80\n");
    let out = files.0.path().join("out");
    let script = format!(r#"exec "$0" "$@" >{}"#, text(&out));
    let output = in_shell(&script, &["run", text(&kernel), "--trace", "/dev/stdout"]);
    assert_sentence(&["--trace", "/dev/stdout"], &output, 2);
    assert!(output.stderr.contains("is the same file as standard output"), "{}", output.stderr);
}

/// What `esp0 conform --results` writes, without a run.
fn results(seed: u64, shard: u64, lines: &str) -> String {
    let first = format!(
        r#"{{"format":"esp0-conform","version":1,"esp0":"0","branches":1,"cases":4,"seed":{seed},"shard":{shard},"#
    );
    let rest = r#""shards":2,"authority":"tcg","backend":"none","kernel":"none"}"#;
    format!("{first}{rest}\n{lines}")
}

/// The record of a shard that has come to its end: two cases, so many of them mismatches.
fn end(mismatches: u64) -> String {
    let counts =
        format!(r#""compared":2,"not_run":{{}},"deviations":{{}},"mismatches":{mismatches}"#);
    format!(r#"{{"end":{{{counts},"found":[],"taken":[],"refused":null}}}}"#) + "\n"
}

#[test]
fn results_of_shards_are_put_together_or_it_is_told_why_not() {
    let files = Files::new();
    let with = |name: &str, text: String| files.with(name, text.as_bytes());
    let one = with("one", results(7, 1, &end(0)));
    let two = with("two", results(7, 2, &end(0)));
    let output = esp0(&["conform", "merge", text(&one), text(&two)]);
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("none; 4 cases, seed 0x7, 2 shards"), "{}", output.stdout);
    assert!(output.stdout.contains("4 cases compared\n"), "{}", output.stdout);
    let found = with("found", results(7, 2, &end(1)));
    assert_eq!(esp0(&["conform", "merge", text(&one), text(&found)]).status, Some(1));

    let merge = |files: &[&Path], says: &[&str]| {
        let names: Vec<&str> = files.iter().map(|file| text(file)).collect();
        assert_refused(&[&["conform", "merge"][..], &names].concat(), says);
    };
    merge(&[&one], &["of 2 shards there are no results of 2"]);
    merge(&[&one, &one], &[text(&one), "shard 1 is in two files"]);
    let other = with("other", results(8, 2, &end(0)));
    merge(&[&one, &other], &[text(&other), "the seed is 8 here and 7 there"]);
    let cut = with("cut", results(7, 2, ""));
    merge(&[&one, &cut], &[text(&cut), "cut off after 0 of 2 cases"]);
    let torn = with("torn", results(7, 2, &end(0)[..20]));
    merge(&[&one, &torn], &[text(&torn), "cut off after 0 of 2 cases"]);
    let empty = with("empty", String::new());
    merge(&[&empty], &[text(&empty), "nothing was written to it yet"]);
    let kernel = files.with("kernel", micro());
    merge(&[&kernel], &[text(&kernel), "no file of results"]);
    assert_misused(&["conform", "merge"], &["required arguments"]);
}

#[test]
fn results_are_written_over_nothing_else() {
    let files = Files::new();
    let kernel = files.with("kernel", micro());
    let before = fs::read(&kernel).unwrap();
    assert_refused(&["conform", "--results", text(&kernel)], &[text(&kernel), "not written over"]);
    assert_eq!(fs::read(&kernel).unwrap(), before);
    assert_refused(&["conform", "--results", "/dev/null"], &["/dev/null", "is no file"]);
    assert_refused(&["conform", "--results", "/no/such/folder/x"], &["/no/such/folder/x"]);
    assert_misused(&["conform", "--results", "x", "--replay", "y"], &["cannot be used with"]);
    assert_misused(&["conform", "--shard", "3/2"], &["K/N"]);
}

#[test]
fn a_trace_that_is_there_outlives_a_kernel_that_is_none() {
    let files = Files::new();
    let trace = files.with("trace", b"an old one");
    let kernel = files.with("text", b"no kernel");
    assert_refused(&["run", text(&kernel), "--trace", text(&trace)], &["is not an ELF file"]);
    assert_eq!(fs::read(&trace).unwrap(), b"an old one");
}

#[test]
fn a_pipe_without_a_reader_is_waited_for_as_long_as_the_run_may_take() {
    let files = Files::new();
    let pipe = files.0.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: mkfifo makes no pipe here");
        return;
    }
    let started = std::time::Instant::now();
    assert_refused(
        &["--timeout", "0.3", "--trace", text(&pipe)],
        &[text(&pipe), "nobody reads this pipe"],
    );
    let took = started.elapsed().as_millis();
    assert!((300..10_000).contains(&took), "{took} ms");
}

#[test]
fn a_name_moves_no_cursor() {
    let name = "no\n\u{1b}[2J\u{202e}such";
    assert_refused(&["run", name], &["esp0: no\\n\\x1b[2J\\u{202e}such cannot be read"]);
}

#[test]
fn a_shortage_is_not_a_missing_kvm() {
    if Machine::new(2 << 20).is_err() {
        println!("skipped: there is no /dev/kvm that makes a machine");
        return;
    }
    let arguments = ["--module", "sleeper 1"];
    let output = in_shell(r#"ulimit -n 5; exec "$0" "$@""#, &arguments);
    assert_sentence(&arguments, &output, 2);
    for part in ["Too many open files", "ulimit -a"] {
        assert!(output.stderr.contains(part), "no {part:?} in {}", output.stderr);
    }
}

#[test]
fn without_a_usable_kvm_a_good_kernel_ends_with_status_3_and_what_to_do() {
    if let Some(why) = usable_kvm() {
        println!("skipped: {why}");
        return;
    }
    let files = Files::new();
    let loops = files.with("loops", &elf32(&[(0x10_0000, 16)]));
    for arguments in [&[][..], &["run", text(&loops)], &["--guest", "broken", "--quiet"]] {
        let output = esp0(arguments);
        assert_sentence(arguments, &output, 3);
        assert!(output.stderr.contains("scripts/kvm-host"), "{arguments:?}: {}", output.stderr);
    }
    let doctor = esp0(&["doctor"]);
    assert_eq!(doctor.status, Some(3), "{}{}", doctor.stdout, doctor.stderr);
    assert!(doctor.stderr.contains("scripts/kvm-host"), "{}", doctor.stderr);
}

/// Why there is a KVM here that does the job, if there is.
fn usable_kvm() -> Option<String> {
    TestedMachine::new(2 << 20).ok()?;
    Some("the KVM of this machine is usable, so its absence cannot be seen here".into())
}

/// The file with another byte at `offset`.
fn with(mut file: Vec<u8>, offset: usize, byte: u8) -> Vec<u8> {
    assert_ne!(file[offset], byte, "nothing would change");
    file[offset] = byte;
    file
}

#[test]
fn images_that_cannot_be_in_a_drive_are_refused() {
    let files = Files::new();
    let kernel = files.with("kernel.elf", guests::GUESTS[0].kernel);
    let odd = files.with("odd.img", &[0; 1000]);
    let empty = files.with("empty.img", &[]);
    let disk = files.with("disk.img", &[0; 1024]);
    let mut iso = vec![0; 2048 * 18];
    iso[16 * 2048..][..6].copy_from_slice(b"\x01CD001");
    iso[16 * 2048 + 80] = 20;
    let cut = files.with("cut.iso", &iso);
    let (kernel, disk) = (text(&kernel), text(&disk));
    let run = |options: &[&str], says: &[&str]| {
        assert_refused(&[&["run", kernel][..], options].concat(), says);
    };
    run(&["--disk", text(&odd)], &["has 1000 bytes", "sectors of 512 bytes"]);
    run(&["--disk", text(&empty)], &["has 0 bytes"]);
    run(&["--cdrom", text(&cut)], &["has 36864 bytes", "it has 40960", "cut off"]);
    run(&["--disk", "/dev/null"], &["/dev/null is no file"]);
    run(&["--disk", "not-there.img"], &["the disk not-there.img cannot be read"]);
    run(&["--disk", ",rw"], &["--disk needs a file"]);
    run(&["--disk", &format!("{disk},ro,rw")], &["either ro or rw"]);
    run(&["--disk", &format!("{disk},index=4")], &["from 0 to 3"]);
    let second = format!("{disk},index=1");
    run(&["--disk", &second, "--disk", &second], &["wants place 1, which another drive has"]);
    run(&["--disk", disk, "--disk", &format!("{disk},rw")], &["is in another drive as well"]);
    run(&["--disk", disk].repeat(5), &["finds no place: there are 4 drives"]);
    run(&["--bios", disk], &["is for an image of a disk or a CD"]);
    run(&["--boot", "disk", "--disk", disk], &["--boot is for a run without a KERNEL"]);
    // What is read is not written over.
    run(&["--disk", disk, "--trace", disk], &["is the same file as the disk"]);
}

#[test]
fn an_image_is_booted_by_a_bios_on_the_real_clock_with_what_it_holds() {
    let files = Files::new();
    let mut disk = vec![0; 1024];
    disk[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    let disk = files.with("disk.img", &disk);
    let mut bios = vec![0; 0x1_0000];
    let nothing = files.with("nothing.bin", &bios);
    let short = files.with("short.bin", &[0; 100]);
    bios[0xFFF0] = 0xEA;
    let bios = files.with("bios.bin", &bios);
    let (disk, bios) = (text(&disk), text(&bios));
    let run = |bios: &str, options: &[&str], says: &[&str]| {
        assert_refused(&[&["run", disk, "--bios", bios][..], options].concat(), says);
    };
    run("not-there.bin", &[], &["not-there.bin cannot be read"]);
    run(text(&short), &[], &["has 100 bytes, and a BIOS has 64, 128, 192 or 256 KiB"]);
    run(text(&nothing), &[], &["does not begin with a jump"]);
    run(bios, &["--cmdline", "x"], &["--cmdline are for kernels"]);
    run(bios, &["--exact"], &["runs on the real clock"]);
    run(bios, &["--clock", "deterministic"], &["runs on the real clock"]);
}
