//! A PC's small devices, driven as kernels drive them, by kernels in C.

use std::fs;
use tests::{Output, compiled, esp0};

/// What a run of the kernel of `tests/c/devices.c` with this name prints; none where there is no compiler for it.
fn run(name: &str, options: &[&str]) -> Option<Output> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let kernel = folder.path().join("kernel.elf");
    fs::write(&kernel, compiled(name)?).expect("the kernel can be written");
    let kernel = kernel.to_str().expect("its name is text");
    Some(esp0(&[&["run", kernel, "--timeout", "60", "--frames", "none"], options].concat()))
}

/// The kernel prints this line, on both clocks, and all that was entered is right: `counts` of the verdict line.
fn prints(name: &str, options: &[&str], line: &str, counts: &str) {
    for clock in ["real", "deterministic"] {
        let Some(output) = run(name, &[options, &["--clock", clock]].concat()) else { return };
        output.assert_status(0);
        let text = &output.stdout;
        assert!(text.contains(&format!("│ {line}\n")), "{clock}: {text}");
        assert!(output.last_line().contains(counts), "{clock}: {text}");
    }
}

#[test]
fn keys_come_by_interrupt_1_where_nothing_else_interrupts() {
    let typed = ["--until", "login:", "--send", "a\\n", "--until", "9c"];
    prints("KEYBOARD_BY_INTERRUPT", &typed, "1e 9e 1c 9c", "entries=4 ring3=0 same=4 findings=0");
}

#[test]
fn the_clock_interrupts_by_line_8_as_long_as_register_c_is_read() {
    prints("CLOCK_BY_INTERRUPT", &[], "twenty", "entries=20 ring3=0 same=20 findings=0");
}

#[test]
fn the_event_timer_ticks_in_place_of_the_8254_which_is_not_heard() {
    prints("HPET_PERIODIC", &[], "twenty", "entries=20 ring3=0 same=20 findings=0");
}

#[test]
fn the_event_timer_comes_once_by_a_pin_of_the_io_apic_by_level_and_by_edge() {
    prints("HPET_ONE_SHOT", &[], "five", "entries=5 ring3=0 same=5 findings=0");
}

#[test]
fn a_mouse_answers_by_interrupt_12() {
    prints("MOUSE_BY_INTERRUPT", &[], "fa aa 00 fa 00 fa", "entries=6 ring3=0 same=6 findings=0");
}

#[test]
fn a_parallel_port_has_no_printer() {
    for clock in ["real", "deterministic"] {
        let Some(output) = run("PARALLEL_PORT", &["--clock", clock]) else { return };
        assert!(output.stdout.contains("│ there, not busy, no acknowledge\n"), "{}", output.stdout);
        assert!(output.stdout.contains("the guest powered off"), "{}", output.stdout);
        assert!(!output.stdout.contains("nobody there"), "{}", output.stdout);
    }
}

#[test]
fn mode_13_is_drawn_in_the_colours_that_the_guest_has_loaded() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let picture = folder.path().join("screen.png");
    let options = ["--screenshot", picture.to_str().expect("its name is text")];
    let Some(output) = run("MODE_13", &options) else { return };
    let told = "VGA graphics (320 x 200, 256 colours): --screenshot FILE.png draws it";
    assert!(output.stdout.contains(told), "{}", output.stdout);
    let file = fs::File::open(&picture).expect("there is a picture");
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().expect("it is a PNG");
    let mut dots = vec![0; reader.output_buffer_size().expect("it is small")];
    let shown = reader.next_frame(&mut dots).expect("it is whole");
    assert_eq!((shown.width, shown.height), (320, 200));
    let orange = dots.chunks(3).enumerate().filter(|(_, dot)| *dot == [255, 130, 0]);
    assert!(orange.map(|(at, _)| at).eq(100 * 320..101 * 320), "one line in the middle");
}

#[test]
fn entries_are_judged_in_pages_of_2_mib_by_pae() {
    // Ten calls, the one that ends it, and a fault for a page that the kernel maps twice.
    prints("PAE_LARGE_PAGES", &[], "done", "entries=12 ring3=12 same=0 findings=0");
    let Some(exact) = run("PAE_LARGE_PAGES", &["--exact"]) else { return };
    exact.assert_status(0);
    assert!(
        exact.last_line().contains("entries=12 ring3=12 same=0 findings=0"),
        "{}",
        exact.stdout
    );
}
