//! What has to be known of the next instruction before it is stepped.
//!
//! KVM steps with EFLAGS.TF. An instruction that pushes EFLAGS shows it, one that loads EFLAGS ends
//! it, and one that enters a handler pushes a frame that must not be judged. All three are told by
//! their first bytes.

/// How an instruction gets on with single-stepping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepping {
    /// It can be stepped.
    Plain,
    /// It can be stepped, and loads EFLAGS: stepping has to be set anew.
    LoadsFlags,
    /// PUSHF: it can be stepped, and TF has to be taken out of the word that it pushed.
    PushesFlags,
    /// A far jump: if it leads to a TSS, EFLAGS is loaded without TF, and nothing stops behind it.
    MaySwitchTasks,
    /// It enters a handler, leaves the VM, or waits: it must run without stepping.
    Never,
}

/// Looks at the first bytes of an instruction.
pub(super) fn classify(code: &[u8]) -> Stepping {
    let mut bytes = code.iter().copied().skip_while(|byte| {
        matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
    });
    match (bytes.next(), bytes.next()) {
        (Some(0x9c), _) => Stepping::PushesFlags,
        // POPF, IRET.
        (Some(0x9d | 0xcf), _) => Stepping::LoadsFlags,
        // INT3, INT n, INTO, ICEBP, HLT; IN, OUT, INS, OUTS.
        (Some(0xcc..=0xce | 0xf1 | 0xf4 | 0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef), _) => {
            Stepping::Never
        }
        // JMP FAR, CALL FAR, by memory or with the target inside.
        (Some(0xea | 0x9a), _) => Stepping::MaySwitchTasks,
        (Some(0xff), Some(modrm)) if matches!(modrm >> 3 & 7, 3 | 5) => Stepping::MaySwitchTasks,
        // SYSCALL, SYSENTER.
        (Some(0x0f), Some(0x05 | 0x34)) => Stepping::Never,
        _ => Stepping::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_must_not_be_stepped_are_known_with_prefixes_too() {
        for code in [
            &[0xcd, 0x80][..],
            &[0xcc],
            &[0xce],
            &[0xf1],
            &[0xf4],
            &[0xe6, 0xe9],
            &[0xf3, 0x6e],
            &[0x0f, 0x34],
            &[0x66, 0xed],
        ] {
            assert_eq!(classify(code), Stepping::Never, "{code:02x?}");
        }
        assert_eq!(classify(&[0xff, 0x6c, 0x24, 0x04]), Stepping::MaySwitchTasks);
        assert_eq!(classify(&[0xff, 0x64, 0x24, 0x04]), Stepping::Plain, "a near jump");
        assert_eq!(classify(&[0x66, 0x9c]), Stepping::PushesFlags);
        assert_eq!(classify(&[0x9d]), Stepping::LoadsFlags);
        assert_eq!(classify(&[0x66, 0xcf]), Stepping::LoadsFlags);
        assert_eq!(classify(&[0x0f, 0x01, 0x1d]), Stepping::Plain);
        assert_eq!(classify(&[]), Stepping::Plain);
    }
}
