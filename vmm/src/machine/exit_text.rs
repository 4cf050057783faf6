//! An exit in words.

use super::Exit;
use kvm_bindings::KVM_EXIT_DEBUG;
use std::fmt;

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::PortWrite { port, .. } => write!(f, "an OUT to port {port:#x}"),
            Exit::PortRead { port, .. } => write!(f, "an IN from port {port:#x}"),
            Exit::MemoryRead { address, .. } => write!(f, "a read beyond RAM at {address:#x}"),
            Exit::MemoryWrite { address, .. } => write!(f, "a write beyond RAM at {address:#x}"),
            Exit::MsrRead { index } => write!(f, "RDMSR of register {index:#x}"),
            Exit::MsrWrite { index, .. } => write!(f, "WRMSR of register {index:#x}"),
            Exit::Halt => f.write_str("an exit by HLT"),
            Exit::InterruptWindow => f.write_str("an exit for an open interrupt window"),
            Exit::Step => f.write_str("one instruction stepped"),
            Exit::Breakpoint { address } => write!(f, "a breakpoint at {address:08x}"),
            Exit::Shutdown => f.write_str("a triple fault (KVM_EXIT_SHUTDOWN)"),
            Exit::InternalError { suberror, .. } => {
                let what = match suberror {
                    1 => "an instruction that it cannot emulate",
                    2 => "two exceptions at once",
                    3 => "an event that it cannot deliver",
                    4 => "an exit that it does not expect",
                    _ => "an unknown reason",
                };
                write!(f, "KVM giving up: {what} (KVM_EXIT_INTERNAL_ERROR, {suberror})")
            }
            Exit::EntryFailed { reason } => {
                write!(f, "the processor refusing the state ({reason:#x})")
            }
            Exit::Interrupted => f.write_str("nothing, however long it was waited for"),
            Exit::Other(KVM_EXIT_DEBUG) => f.write_str("an exit for debugging"),
            Exit::Other(reason) => write!(f, "KVM exit {reason}"),
        }
    }
}
