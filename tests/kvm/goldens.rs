//! A run is as it was kept: the smallest of the traces that `scripts/goldens` makes and compares.

use std::path::{Path, PathBuf};
use tests::{esp0, host};

/// Where the traces of the backend that these tests run on are kept, if there are any.
fn kept() -> Option<PathBuf> {
    let backend = &host().backend;
    // As `scripts/goldens` names them: authority, module and version, in plain letters.
    let whole = format!("{} {backend}", backend.authority);
    let name = whole.split('(').next().unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect::<String>()
        .to_lowercase();
    let name: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name.join("-"));
    if !folder.is_dir() {
        println!("skipped: no traces of {backend} are kept; scripts/goldens generate makes them");
        return None;
    }
    Some(folder)
}

#[test]
fn a_run_has_the_events_that_were_kept_of_it() {
    let Some(kept) = kept() else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, plant, status) in [("broken", "", 0), ("wrong_ss0", "plant=wrong_ss0", 1)] {
        let golden = kept.join(format!("{name}.jsonl.zst"));
        let golden = golden.to_str().expect("text");
        let trace = folder.path().join(name);
        let trace = trace.to_str().expect("text");
        let arguments = ["--guest", "broken", "--cmdline", plant, "--trace", trace, "--quiet"];
        esp0(&arguments).assert_status(status);
        let compared = esp0(&["trace", "diff", golden, trace]);
        assert_eq!(
            compared.status,
            Some(0),
            "if this was changed on purpose: scripts/goldens generate {name}\n{}{}",
            compared.stdout,
            compared.stderr
        );
    }
}
