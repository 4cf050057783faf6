//! What a guest's own code costs under esp0, beside the same kernel under QEMU with the same KVM.
//!
//! Other people's kernels mostly compute between two stops, and touch their memory. Armed hardware breakpoints, a
//! dirty log or huge pages could make either dear, so both are held against another hypervisor. The kernels are in
//! `tests/c/work.c`: one does a little of the work, one more of it, and the difference leaves out what only a start
//! costs. Wall-clock times are taken in turns, and the shortest of each counts; only the ratio means anything.
//!
//! `ESP0_QEMU` names the QEMU, otherwise it is that of the search path. `scripts/bench` starts this where time is
//! not counted in instructions: breakpoints that slow an emulated processor down execute none.

use esp0::guest::Guest;
use esp0::run::Ending;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const MEMORY_MIB: u64 = 256;
const TURNS: usize = 3;

/// What is done, the kernels that do a little and more of it, and what it may cost beside QEMU.
const ROWS: [(&str, [&str; 2], f64); 2] = [
    ("calls and memory, 8,000,000 rounds", ["LOOPS_FEW", "LOOPS_MANY"], 1.2),
    ("the first write to each page of 224 MiB", ["PAGES_FEW", "PAGES_MANY"], 1.0),
];

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let qemu = std::env::var_os("ESP0_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into());
    let version = Command::new(&qemu).arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: {} cannot be started, and there is nothing to compare with",
            qemu.display()
        );
        return ExitCode::SUCCESS;
    }
    println!("{:<42} {:>10} {:>10} {:>6}  limit", "guest code", "esp0", "QEMU", "ratio");
    let mut met = true;
    for (name, kernels, limit) in ROWS {
        let [Some(few), Some(many)] = kernels.map(tests::compiled) else {
            println!("{name:<42} skipped");
            continue;
        };
        let mut shortest = [[Duration::MAX; 2]; 2];
        for _ in 0..TURNS {
            for (index, kernel) in [&few, &many].into_iter().enumerate() {
                let times = [under_esp0(kernel), under_qemu(&qemu, kernels[index])];
                for (shortest, time) in shortest.iter_mut().zip(times) {
                    shortest[index] = shortest[index].min(time);
                }
            }
        }
        let [esp0, other] =
            shortest.map(|[few, many]| many.saturating_sub(few).as_secs_f64() * 1e3);
        let ratio = esp0 / other;
        met &= ratio <= limit;
        let verdict = if ratio <= limit { "kept" } else { "MISSED" };
        println!("{name:<42} {esp0:>7.0} ms {other:>7.0} ms {ratio:>6.2} {limit:>6.2}  {verdict}");
    }
    println!("\n{}", if met { "all limits are kept" } else { "a limit is missed" });
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As somebody else's kernel is run: on the real clock, with whatever probes are taken by themselves.
fn under_esp0(kernel: &[u8]) -> Duration {
    let start = Instant::now();
    let mut guest = Guest::from_bytes("work", kernel)
        .memory_mib(MEMORY_MIB)
        .real_time()
        .boot()
        .expect("the kernel boots");
    let end = guest.run_to_end().expect("KVM");
    let time = start.elapsed();
    assert_eq!(end.ending, Ending::PoweredOff);
    guest.assert_clean();
    time
}

fn under_qemu(qemu: &OsString, kernel: &str) -> Duration {
    let file = Path::new(env!("ESP0_TEST_KERNELS")).join(format!("{kernel}.plain.elf"));
    let start = Instant::now();
    let status = Command::new(qemu)
        .args(
            "-accel kvm -nodefaults -display none -device isa-debug-exit,iobase=0xf4 -m".split(' '),
        )
        .arg(MEMORY_MIB.to_string())
        .arg("-kernel")
        .arg(file)
        .stdin(Stdio::null())
        .status()
        .expect("QEMU was there a moment ago");
    let time = start.elapsed();
    // The device ends QEMU with twice the value that was written, and 1.
    assert_eq!(status.code(), Some(1), "{kernel} did not come to its end under QEMU");
    time
}
