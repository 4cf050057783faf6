//! What a benchmark of a kernel in C begins and ends with.

use crate::compiled;
use esp0::guest::GuestError;
use std::process::ExitCode;

/// Measures the kernel of `tests/c` with this name: success if that tells that the limits are kept. Nothing is measured where
/// there is no compiler for it, nor for whoever asks for a list of tests.
pub fn measured(kernel: &str, measure: impl FnOnce(&[u8]) -> Result<bool, GuestError>) -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let Some(kernel) = compiled(kernel) else { return ExitCode::SUCCESS };
    match measure(&kernel) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
