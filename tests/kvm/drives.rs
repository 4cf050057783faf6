//! Disks and CDs: drivers in C find them, read them, write them; and the files on this side.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tests::{Output, compiled, esp0, mended};

/// A folder with a kernel and images.
struct Bench {
    folder: TempDir,
    kernel: PathBuf,
}

impl Bench {
    /// With the kernel of `tests/c/drives.c` of this name; none where there is no compiler for it.
    fn new(name: &str) -> Option<Self> {
        Self::with(compiled(name)?)
    }

    fn with(bytes: Vec<u8>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let kernel = folder.path().join("kernel.elf");
        fs::write(&kernel, bytes).expect("the kernel can be written");
        Some(Bench { folder, kernel })
    }

    /// An image of so many sectors, with this text in one of them.
    fn image(&self, name: &str, sectors: usize, size: usize, sector: usize, text: &str) -> PathBuf {
        let mut bytes = vec![0; sectors * size];
        bytes[sector * size..][..text.len()].copy_from_slice(text.as_bytes());
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).expect("the image can be written");
        path
    }

    fn run(&self, options: &[&str]) -> Output {
        let kernel = self.kernel.to_str().expect("its name is text");
        let limit: &[&str] =
            if options.contains(&"--timeout") { &[] } else { &["--timeout", "60"] };
        esp0(&[&["run", kernel, "--frames", "none"], limit, options].concat())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("its name is text")
}

/// A driver moves sectors from the first of two disks to the second, woken by IRQ 14; what it says is up to `said`.
fn moves_sectors_on_both_clocks(driver: &str, said: impl Fn(&str)) {
    let Some(bench) = Bench::new(driver) else { return };
    let first = bench.image("first.img", 40, 512, 3, "from the first disk\n");
    let second = bench.image("second.img", 8, 512, 0, "");
    for clock in ["real", "deterministic"] {
        let disks = ["--disk", text(&first), "--disk", text(&second), "--clock", clock];
        let output = bench.run(&disks);
        output.assert_status(0);
        said(&output.stdout);
        assert!(output.stdout.contains("0x2e"), "entered by IRQ 14\n{}", output.stdout);
        assert_eq!(fs::read(&second).unwrap(), vec![0; 8 * 512], "what is written is forgotten");
    }
}

#[test]
fn a_driver_that_waits_for_interrupts_moves_sectors_from_disk_to_disk_on_both_clocks() {
    moves_sectors_on_both_clocks("BY_INTERRUPT", |output| {
        assert_eq!(output.matches("from the first disk").count(), 2, "{output}");
    });
}

#[test]
fn a_bus_master_moves_sectors_to_two_places_and_back_on_both_clocks() {
    moves_sectors_on_both_clocks("BUS_MASTER", |output| {
        for said in ["1from the first disk", "│ 2", "3from the first disk", "│ ."] {
            assert!(output.contains(said), "{said}\n{output}");
        }
    });
}

#[test]
fn a_file_gets_what_was_written_at_the_end_and_only_if_that_was_said() {
    let Some(bench) = Bench::new("BY_POLLING") else { return };
    let disk = bench.image("disk.img", 5, 512, 0, "as it was");
    for (how, says, begins) in [
        (",ro", "ma5pe-", &b"as it was"[..]),
        ("", "ma5we-", b"as it was"),
        (",index=0,rw", "ma5we-", b"it was written"),
    ] {
        let output = bench.run(&["--disk", &format!("{}{how}", text(&disk))]);
        assert!(output.stdout.contains(says), "{how}\n{}", output.stdout);
        let bytes = fs::read(&disk).unwrap();
        assert!(bytes.starts_with(begins) && bytes.len() == 5 * 512, "{how}");
    }
}

#[test]
fn a_disk_that_ends_within_a_sector_is_refused() {
    let Some(bench) = Bench::new("BY_POLLING") else { return };
    let disk = bench.image("disk.img", 1, 700, 0, "cut");
    let output = bench.run(&["--disk", text(&disk)]);
    output.assert_status(2);
    assert!(output.stderr.contains("no whole number of sectors"), "{}", output.stderr);
}

#[test]
fn a_disc_in_the_drive_is_read_by_packets() {
    let Some(bench) = Bench::new("CDROM") else { return };
    let disc = bench.image("disc.iso", 20, 2048, 16, "\u{1}CD001");
    let output = bench.run(&["--cdrom", text(&disc)]);
    assert!(output.stdout.contains("CD001."), "{}", output.stdout);
}

#[test]
fn a_floppy_disk_is_read_and_written_by_dma_on_both_clocks() {
    let Some(bench) = Bench::new("FLOPPY") else { return };
    // Cylinder 1, head 1, sector 2.
    let disk = bench.image("floppy.img", 2880, 512, 36 + 18 + 1, "from the floppy disk\n");
    for clock in ["real", "deterministic"] {
        let output = bench.run(&["--floppy", text(&disk), "--clock", clock]);
        output.assert_status(0);
        let said = output.stdout.matches("from the floppy disk").count();
        assert_eq!(said, 2, "{}", output.stdout);
        assert!(output.stdout.contains("0x26"), "entered by IRQ 6\n{}", output.stdout);
    }
    for (how, says) in [(",ro", "\n     │ p"), (",rw", "\n     │ w")] {
        let output = bench.run(&["--floppy", &format!("{}{how}", text(&disk))]);
        assert!(output.stdout.contains(says), "{how}\n{}", output.stdout);
        let bytes = fs::read(&disk).unwrap();
        assert_eq!(bytes[56 * 512..].starts_with(b"from the floppy disk"), how == ",rw");
    }
    let short = bench.image("short.img", 100, 512, 0, "");
    let output = bench.run(&["--floppy", text(&short)]);
    output.assert_status(2);
    assert!(output.stderr.contains("no floppy disk has"), "{}", output.stderr);
}

#[test]
fn a_wait_for_data_that_no_command_brings_is_told_on_both_clocks() {
    for (name, why) in [
        ("WAITS_FOR_DATA", "the drive has no command that it has data for"),
        ("REFUSED_AND_WAITED_FOR", "the drive has refused the last command (bit 0, ERR, is set)"),
    ] {
        let Some(bench) = Bench::new(name) else { return };
        let disk = bench.image("disk.img", 40, 512, 3, "text");
        for clock in ["real", "deterministic"] {
            let output = bench.run(&["--disk", text(&disk), "--clock", clock, "--timeout", "5"]);
            output.assert_status(4);
            for part in
                ["waits for ever for bit 3 (08) to be set of port 0x1f7", why, "findings=1 "]
            {
                assert!(
                    output.stdout.contains(part),
                    "{name}: {part:?} is missing in\n{}",
                    output.stdout
                );
            }
        }
        let Some(bench) = mended(name).and_then(Bench::with) else { return };
        let output = bench.run(&["--disk", text(&disk)]);
        let last = output.last_line();
        assert!(
            last.starts_with("verdict: no-entries") && last.contains("findings=0"),
            "mended:\n{}",
            output.stdout
        );
    }
}
