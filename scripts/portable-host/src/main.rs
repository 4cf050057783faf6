//! Runs a command in a Linux that QEMU emulates, as if it ran here.
//!
//! One program plays all three parts, so that both ends of the wire are always of the same version:
//!
//! ```text
//!   kvm-host ──exec──► client ───127.0.0.1───► QEMU ──► guest (PID 1) ──► the command
//!                        │ starts, once         ▲
//!                        └──────► serve ────────┘ starts, watches, ends when idle
//! ```
//!
//! - `client` stands in for the command: it passes on streams, signals, terminal and exit status.
//! - `serve` owns one QEMU. The two agree through locks on files in a private folder, which the kernel
//!   releases however a process ends, so a crash never leaves a state that has to be cleaned up.
//! - `guest` is what the emulated machine boots: it is the whole user space of the initramfs.
//!
//! Why not ssh: it reports no death by signal, leaves the command running when the client dies,
//! mixes its own exit statuses with the command's, and costs a key exchange on an emulated CPU.

mod client;
mod command;
mod cpio;
mod guest;
mod serve;
mod stream;
mod sys;
mod tsc;
mod wire;

use std::process::ExitCode;

const USAGE: &str = "usage: portable-host client STATE SAY BOOT… -- CMD ARGS…
       portable-host serve STATE IDLE INITRD QEMU ARGS…
       portable-host pack DIR
(scripts/kvm-host calls it; there is nothing here to be called by hand)";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let part = args.next();
    let args: Vec<_> = args.collect();
    let result = match part.as_ref().and_then(|part| part.to_str()) {
        _ if std::process::id() == 1 => guest::init(),
        Some("client") => client::run(args),
        Some("serve") => serve::run(args),
        Some("pack") => cpio::pack(args),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("kvm-host: {error}");
            ExitCode::from(3)
        }
    }
}
