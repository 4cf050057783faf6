//! gdb with the guests that esp0 carries.

use super::*;

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

/// Four programs lie at 08048000: gdb has the names of the one that runs.
#[test]
fn of_programs_at_one_address_gdb_knows_the_one_that_is_mapped() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let into = folder.path().display().to_string();
    let debugged = Debugged::start(&["--guest", "micro"]);
    let init = ["gdbinit", "--guest", "micro", "--into", &into, "--gdb", &debugged.address];
    let commands = "program compute\nbreak main\nprogram writer\ninfo breakpoints\ndelete\n\
        monitor stop-on entry 0x20\npython\nseen = set()\nfor _ in range(7):\n  gdb.execute('continue')\n  \
        gdb.execute('reverse-stepi')\n  if int(gdb.parse_and_eval('$cpl')) == 3:\n    \
        symbol = gdb.execute('info symbol $pc', to_string=True).split('/')[-1].strip()\n    \
        status = gdb.execute('monitor status', to_string=True)\n    \
        named = status.split('(')[1].split(')')[0]\n    \
        print(['differs', 'agrees'][': ' not in named or named.startswith(symbol + ': ')], symbol, status)\n    \
        seen.add(symbol)\n  \
        gdb.execute('continue')\nprint('seen', len(seen))\nend\nkill\n";
    let Some(text) = gdb(&init, commands) else { return debugged.kill() };
    follow(
        &text,
        &[
            "[symbols of compute]",
            "Breakpoint 1 at ",
            "breakpoint 1 at main of compute is now breakpoint 2",
        ],
    );
    follow(&text, &["[symbols of writer]", "0x080", "agrees ", "agrees ", "seen "]);
    assert!(!text.contains("differs") && !text.contains("Python Exception"), "{text}");
    assert!(!text.contains("seen 0") && !text.contains("seen 1"), "of one program only:\n{text}");
    debugged.end();
}
