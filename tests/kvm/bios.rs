//! What a kernel finds of a BIOS where there is none: services that fail, a data area that is right, and a summary that
//! says so.

use std::fs;
use tests::{Output, compiled, esp0};

/// What a run of the kernel of `tests/c/bios.c` with this name prints; none where there is no compiler for it.
fn run(name: &str, options: &[&str]) -> Option<Output> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let kernel = folder.path().join("kernel.elf");
    fs::write(&kernel, compiled(name)?).expect("the kernel can be written");
    let kernel = kernel.to_str().expect("its name is text");
    Some(esp0(&[&["run", kernel, "--timeout", "60", "--frames", "none"], options].concat()))
}

#[test]
fn a_kernel_that_asks_the_bios_goes_on_is_accused_of_nothing_and_is_told() {
    for clock in ["real", "deterministic"] {
        let Some(output) = run("ASKS_BIOS", &["--clock", clock]) else { return };
        let text = &output.stdout;
        assert!(text.contains("│ n\n"), "the memory map is refused\n{text}");
        assert!(
            text.contains("the guest powered off") && text.contains("findings     none"),
            "{text}"
        );
        let told = text.lines().find(|line| line.starts_with("no BIOS ")).unwrap_or_default();
        assert!(told.contains("for int 0x10 with AX=0e41 at 0000:80"), "{text}");
        assert!(told.contains(" 2 times, int 0x15 with AX=e820 at 0000:80"), "{text}");
        assert!(told.ends_with("boot it from a CD or a disk image"), "{text}");
        assert!(!text.contains("port 0xec"), "that port is esp0's own\n{text}");
    }
}

#[test]
fn the_data_area_says_which_drives_there_are() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let image = |name: &str, size: usize| {
        let path = folder.path().join(name);
        fs::write(&path, vec![0; size]).expect("the image can be written");
        path.to_str().expect("its name is text").to_owned()
    };
    let (disk, floppy) = (image("disk.img", 4096), image("floppy.img", 1_474_560));
    let Some(none) = run("ASKS_FOR_DRIVES", &[]) else { return };
    assert!(none.stdout.contains("│ 2600\n"), "{}", none.stdout);
    let drives = ["--disk", &disk, "--disk", &disk, "--floppy", &floppy];
    let Some(three) = run("ASKS_FOR_DRIVES", &drives) else { return };
    assert!(three.stdout.contains("│ 2702\n"), "{}", three.stdout);
}
