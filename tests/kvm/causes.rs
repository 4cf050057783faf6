//! Small kernels with one fault each, and what the program says of it: in each of its three ways to run.
//!
//! The kernel is laid out as a table of what it does before it goes to ring 3:
//! ```text
//! LOAD + 0x800 handlers  + 0x1000 GDT  + 0x2000 IDT  + 0x3000 TSS  + 0x4000 ring 3
//!      + 0x8000 ESP0                                               + 0xa000 its stack
//! ```

use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, al, ax, dword_ptr, eax, esp};
use std::io::Write;
use tests::{esp0, kernels};

const HANDLERS: u32 = kernels::LOAD + 0x800;
/// Writes 0 to the exit port.
const POWER_OFF: u32 = HANDLERS + 0x10;
const GDT: u32 = kernels::LOAD + 0x1000;
const IDT: u32 = kernels::LOAD + 0x2000;
const TSS: u32 = kernels::LOAD + 0x3000;
const USER: u32 = kernels::LOAD + 0x4000;
const ESP0: u32 = kernels::LOAD + 0x8000;
const USER_STACK: u32 = kernels::LOAD + 0xa000;

type Code = fn(&mut CodeAssembler) -> Result<(), IcedError>;

struct Case {
    name: &'static str,
    /// The gate of vector 0x80; that of 0x81 is right, and powers off.
    gate: u64,
    tss_limit: u64,
    loads_tr: bool,
    user: Code,
    /// What the report has to say.
    says: &'static [&'static str],
    status: i32,
}

/// An interrupt gate for CS 0008.
const fn gate(target: u32, type_byte: u64) -> u64 {
    (target & 0xffff) as u64
        | 0x0008 << 16
        | type_byte << 40
        | ((target & 0xffff_0000) as u64) << 32
}

const RIGHT: Case = Case {
    name: "nothing is wrong",
    gate: gate(POWER_OFF, 0xee),
    tss_limit: 0x67,
    loads_tr: true,
    user: |a| a.int(0x80),
    says: &["findings     none"],
    status: 0,
};

const CASES: [Case; 6] = [
    RIGHT,
    Case {
        name: "a gate that ring 3 may not use",
        gate: gate(POWER_OFF, 0x8f),
        says: &[
            "error code 0402 is IDT entry 0x80: its gate has DPL 0, ring 3 may not use `int 0x80`",
            "type byte ef in place of 8f",
            "a halt with interrupts closed",
        ],
        status: 1,
        ..RIGHT
    },
    Case {
        name: "an instruction that ring 3 may not execute",
        user: |a| a.hlt(),
        says: &["#GP(0000) at `hlt`", "ring 3 may not execute `hlt`"],
        status: 1,
        ..RIGHT
    },
    Case {
        name: "a TSS that is there and not loaded",
        loads_tr: false,
        says: &[
            "TR is 0: there is no TSS",
            "GDT entry 5 holds one that is not loaded",
            "`int 0x80`",
        ],
        status: 4,
        ..RIGHT
    },
    Case {
        name: "a TSS without room for SS0",
        tss_limit: 7,
        says: &["TSS at 00103000, limit 7", "0x67", "shutdown"],
        status: 4,
        ..RIGHT
    },
    Case {
        name: "a gate with its halves exchanged",
        gate: gate(POWER_OFF.rotate_left(16), 0xee),
        says: &[
            "gate 0x80 leads to 08100010, outside RAM",
            "with the halves exchanged it is 00100810",
        ],
        status: 4,
        ..RIGHT
    },
];

fn image(case: &Case) -> Vec<u8> {
    let write: Code = if case.loads_tr {
        |a| {
            a.lgdt(dword_ptr(GDT - 8))?;
            a.lidt(dword_ptr(IDT - 8))?;
            a.mov(esp, ESP0 as i32)?;
            a.mov(ax, 0x28)?;
            a.ltr(ax)?;
            to_ring_3(a)
        }
    } else {
        |a| {
            a.lgdt(dword_ptr(GDT - 8))?;
            a.lidt(dword_ptr(IDT - 8))?;
            a.mov(esp, ESP0 as i32)?;
            to_ring_3(a)
        }
    };
    let mut file = kernels::kernel(write);
    let mut put = |address: u32, bytes: &[u8]| {
        let at = (address - kernels::LOAD) as usize;
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    // What kernels do with an exception that they do not expect: CLI, HLT, and again. One place for each
    // vector, which is how it is told.
    put(HANDLERS + 0x100, &[0xfa, 0xf4, 0xeb, 0xfc].repeat(32));
    put(
        POWER_OFF,
        &kernels::assemble(POWER_OFF, |a| {
            a.xor(eax, eax)?;
            a.out(0xf4, al)
        }),
    );
    put(USER, &kernels::assemble(USER, case.user));
    let tss = 0x0000_8900_0000_0000 | case.tss_limit | u64::from(TSS) << 16;
    let segments = [
        0,
        0x00cf_9a00_0000_ffff,
        0x00cf_9200_0000_ffff,
        0x00cf_fa00_0000_ffff,
        0x00cf_f200_0000_ffff,
        tss,
    ];
    let bytes = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let register = |limit: u16, base: u32| [&limit.to_le_bytes()[..], &base.to_le_bytes()].concat();
    put(GDT - 8, &register(segments.len() as u16 * 8 - 1, GDT));
    put(GDT, &bytes(&segments));
    put(IDT - 8, &register(0x81 * 8 - 1, IDT));
    let exceptions: Vec<u64> =
        (0..32).map(|vector| gate(HANDLERS + 0x100 + 4 * vector, 0x8e)).collect();
    put(IDT, &bytes(&exceptions));
    put(IDT + 0x80 * 8, &bytes(&[case.gate]));
    put(TSS + 4, &ESP0.to_le_bytes());
    put(TSS + 8, &0x10u32.to_le_bytes());
    // No I/O map.
    put(TSS + 102, &104u16.to_le_bytes());
    file
}

/// SS, ESP, EFLAGS, CS, EIP.
fn to_ring_3(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for word in [0x23, USER_STACK as i32, 2, 0x1b, USER as i32] {
        a.push(word)?;
    }
    a.iretd()
}

#[test]
fn each_cause_is_told_on_both_clocks_and_in_exact_mode() {
    for case in &CASES {
        let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
        file.write_all(&image(case)).expect("and written");
        let path = file.path().to_str().expect("its name is text");
        for mode in [&["--clock", "real"][..], &["--clock", "deterministic"], &["--exact"]] {
            let arguments = [&["run", path, "--timeout", "20"], mode].concat();
            let output = esp0(&arguments);
            for part in case.says {
                assert!(
                    output.stdout.contains(part),
                    "{} {mode:?}: {part:?} is missing in\n{}",
                    case.name,
                    output.stdout
                );
            }
            output.assert_status(case.status);
        }
    }
}
