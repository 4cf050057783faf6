//! The system calls that are left.

use kvm_bindings::{
    KVMIO, kvm_clear_dirty_log, kvm_cpuid2, kvm_debugregs, kvm_dirty_log, kvm_enable_cap,
    kvm_guest_debug, kvm_interrupt, kvm_msr_filter, kvm_msr_list, kvm_msrs, kvm_regs, kvm_sregs,
    kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::collections::BTreeMap;
use vmm_sys_util::{ioctl_io_nr, ioctl_ior_nr, ioctl_iow_nr, ioctl_iowr_nr};

/// What the process is about to do, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Run guests of esp0's own, in machines that are made meanwhile.
    Machines,
    /// Run cases, in machines that are there.
    Cases,
    /// Run a guest that a debugger may ask for at a socket that listens already.
    Debug,
    /// Run a guest.
    Run,
    /// Tell what was seen.
    Report,
}

// Linux, include/uapi/linux/kvm.h.
ioctl_io_nr!(CHECK_EXTENSION, KVMIO, 0x03);
ioctl_io_nr!(RUN, KVMIO, 0x80);
ioctl_iow_nr!(SET_SREGS, KVMIO, 0x84, kvm_sregs);
ioctl_iow_nr!(INTERRUPT, KVMIO, 0x86, kvm_interrupt);
ioctl_iow_nr!(SET_GUEST_DEBUG, KVMIO, 0x9b, kvm_guest_debug);
ioctl_ior_nr!(GET_DEBUGREGS, KVMIO, 0xa1, kvm_debugregs);
ioctl_iow_nr!(SET_DEBUGREGS, KVMIO, 0xa2, kvm_debugregs);
ioctl_iow_nr!(SET_USER_MEMORY_REGION, KVMIO, 0x46, kvm_userspace_memory_region);
ioctl_iow_nr!(GET_DIRTY_LOG, KVMIO, 0x42, kvm_dirty_log);
ioctl_iow_nr!(ENABLE_CAP, KVMIO, 0xa3, kvm_enable_cap);
ioctl_iowr_nr!(GET_MSRS, KVMIO, 0x88, kvm_msrs);
ioctl_iow_nr!(SET_MSRS, KVMIO, 0x89, kvm_msrs);
ioctl_ior_nr!(GET_XSAVE, KVMIO, 0xa4, kvm_xsave);
ioctl_iow_nr!(SET_XSAVE, KVMIO, 0xa5, kvm_xsave);
ioctl_ior_nr!(GET_XCRS, KVMIO, 0xa6, kvm_xcrs);
ioctl_iow_nr!(SET_XCRS, KVMIO, 0xa7, kvm_xcrs);
ioctl_iowr_nr!(CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);
ioctl_io_nr!(NMI, KVMIO, 0x9a);
ioctl_io_nr!(CREATE_VM, KVMIO, 0x01);
ioctl_iowr_nr!(GET_MSR_INDEX_LIST, KVMIO, 0x02, kvm_msr_list);
ioctl_io_nr!(GET_VCPU_MMAP_SIZE, KVMIO, 0x04);
ioctl_iowr_nr!(GET_SUPPORTED_CPUID, KVMIO, 0x05, kvm_cpuid2);
ioctl_io_nr!(CREATE_VCPU, KVMIO, 0x41);
ioctl_io_nr!(SET_TSS_ADDR, KVMIO, 0x47);
ioctl_ior_nr!(GET_REGS, KVMIO, 0x81, kvm_regs);
ioctl_ior_nr!(GET_SREGS, KVMIO, 0x83, kvm_sregs);
ioctl_iow_nr!(SET_CPUID2, KVMIO, 0x90, kvm_cpuid2);
ioctl_iow_nr!(X86_SET_MSR_FILTER, KVMIO, 0xc6, kvm_msr_filter);
ioctl_ior_nr!(GET_VCPU_EVENTS, KVMIO, 0x9f, kvm_vcpu_events);

/// Whatever their arguments are: memory of one's own, time, threads that are there, open files.
const ALWAYS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_timer_settime,
    libc::SYS_timer_delete,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The terminal: its size, and that it is put back.
const TERMINAL: [u64; 5] =
    [libc::TCGETS, libc::TCSETS, libc::TCSETSW, libc::TCSETSF, libc::TIOCGWINSZ];

impl Phase {
    /// Many threads take and give back memory. The C library then has a look at /proc/sys/vm/overcommit_memory and
    /// /sys/devices/system/cpu/online, and does without where it cannot.
    pub(super) fn has_threads(self) -> bool {
        matches!(self, Phase::Machines | Phase::Cases)
    }
}

/// To open a file for reading is an error (EACCES), and not the end, where there are threads.
pub(super) fn refused() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    Ok(BTreeMap::from([(libc::SYS_openat, vec![reading()?])]))
}

/// The flags with which a file is opened for reading, and no others.
fn reading() -> Result<SeccompRule, BackendError> {
    only(2, (libc::O_RDONLY | libc::O_CLOEXEC) as u64)
}

pub(super) fn rules(phase: Phase) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    // What is asked most often comes first.
    let mut requests: Vec<u64> = Vec::new();
    if phase != Phase::Report {
        requests.extend([RUN(), SET_GUEST_DEBUG(), INTERRUPT(), NMI()]);
        requests.extend([SET_SREGS(), GET_DEBUGREGS(), SET_DEBUGREGS()]);
    }
    if phase != Phase::Report {
        // Disks, which are open, are read when the guest reads them, and written at the end of the run.
        rules.extend([libc::SYS_pread64, libc::SYS_pwrite64].map(|call| (call, Vec::new())));
        // Exact mode needs a log of what is written, and so does whoever looks for a guest's last state.
        requests.extend([
            GET_DIRTY_LOG(),
            CLEAR_DIRTY_LOG(),
            SET_USER_MEMORY_REGION(),
            ENABLE_CAP(),
            CHECK_EXTENSION(),
        ]);
        // Whoever looks for the writer of a word goes back to checkpoints.
        requests.extend([GET_MSRS(), SET_MSRS(), GET_XSAVE(), SET_XSAVE(), GET_XCRS(), SET_XCRS()]);
    }
    if phase == Phase::Machines {
        // Machines are made of /dev/kvm, which is open, and each has its alarm, whose signal is heard.
        requests.extend([CREATE_VM(), GET_VCPU_MMAP_SIZE(), GET_SUPPORTED_CPUID()]);
        requests.extend([GET_MSR_INDEX_LIST(), SET_TSS_ADDR(), CREATE_VCPU(), SET_CPUID2()]);
        requests.extend([GET_REGS(), GET_SREGS(), GET_VCPU_EVENTS(), X86_SET_MSR_FILTER()]);
        let alarm = only(0, crate::machine::alarm_signal() as u64)?;
        rules.insert(libc::SYS_rt_sigaction, vec![alarm]);
        rules.insert(libc::SYS_timer_create, Vec::new());
    }
    if phase.has_threads() {
        requests.push(NMI());
        rules.insert(libc::SYS_openat, vec![reading()?]);
        rules.insert(libc::SYS_sched_getaffinity, Vec::new());
        // A file that is written at the end is open, and is emptied first.
        rules.insert(libc::SYS_ftruncate, Vec::new());
    }
    if phase == Phase::Debug {
        // The socket is bound and listens; what comes is read and written as any file is.
        rules.insert(libc::SYS_accept4, Vec::new());
    }
    requests.extend(TERMINAL);
    let ioctls = requests.into_iter().map(|request| only(1, request)).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, ioctls);
    if phase != Phase::Report {
        // The next filter, which can only take more away.
        let no_new_privileges = only(0, libc::PR_SET_NO_NEW_PRIVS as u64)?;
        rules.insert(libc::SYS_prctl, vec![no_new_privileges]);
        rules.insert(libc::SYS_seccomp, Vec::new());
    }
    // Memory that can be executed is not made.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![without(2, libc::PROT_EXEC as u64)?]);
    }
    // Whether a file is open still; not how it is.
    rules.insert(
        libc::SYS_fcntl,
        vec![only(1, libc::F_GETFD as u64)?, only(1, libc::F_GETFL as u64)?],
    );
    // A panic that cannot go on ends this process, and no other.
    rules.insert(libc::SYS_tgkill, vec![only(0, std::process::id().into())?]);
    Ok(rules)
}

/// The argument is this value.
fn only(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    let condition =
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
    SeccompRule::new(vec![condition])
}

/// The argument has none of these bits.
fn without(argument: u8, bits: u64) -> Result<SeccompRule, BackendError> {
    let none = SeccompCmpOp::MaskedEq(bits);
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, none, 0)?])
}
