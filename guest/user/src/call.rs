//! The system calls, as functions.

use abi::call::{Call, Error};
use abi::task::{Counters, Info, ModuleInfo, Report, WAIT_NOT};
use core::arch::{asm, naked_asm};

/// What a call takes, and what it gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// The number; the result.
    pub eax: u32,
    /// The first argument.
    pub ebx: u32,
    /// The second; a message's label.
    pub ecx: u32,
    /// The third; a message's first word.
    pub edx: u32,
    /// The fourth; a message's second word, or the address of its bytes.
    pub esi: u32,
    /// The fifth; the count of a message's bytes.
    pub edi: u32,
}

/// `int 0x80` with two arguments, which most calls do with.
fn call(call: Call, first: u32, second: u32) -> Result<u32, Error> {
    let result: i32;
    // SAFETY: the kernel changes nothing but EAX, and no more memory than the call says.
    unsafe {
        asm!(
            "int 0x80",
            inlateout("eax") call as u32 => result,
            in("ebx") first,
            in("ecx") second,
            options(nostack, preserves_flags),
        );
    }
    answer(result)
}

fn answer(result: i32) -> Result<u32, Error> {
    match Error::from_result(result) {
        Some(error) => Err(error),
        None => Ok(result.cast_unsigned()),
    }
}

/// A function that loads [`Registers`], enters the kernel by some instructions, and stores what comes
/// back. EBP, which is not among the registers, points to them meanwhile.
macro_rules! with_registers {
    ($($instruction:literal),+ $(,)?) => {
        naked_asm!(
            "pushl %ebx",
            "pushl %esi",
            "pushl %edi",
            "pushl %ebp",
            "movl 20(%esp), %ebp",
            "movl 0(%ebp), %eax",
            "movl 4(%ebp), %ebx",
            "movl 8(%ebp), %ecx",
            "movl 12(%ebp), %edx",
            "movl 16(%ebp), %esi",
            "movl 20(%ebp), %edi",
            $($instruction,)+
            "movl %eax, 0(%ebp)",
            "movl %ecx, 8(%ebp)",
            "movl %edx, 12(%ebp)",
            "movl %esi, 16(%ebp)",
            "movl %edi, 20(%ebp)",
            "popl %ebp",
            "popl %edi",
            "popl %esi",
            "popl %ebx",
            "ret",
            options(att_syntax),
        )
    };
}

/// `int 0x80` with any registers.
///
/// # Safety
/// The call does nothing to memory that Rust does not expect.
#[unsafe(naked)]
pub unsafe extern "C" fn int80(registers: &mut Registers) {
    with_registers!("int $0x80")
}

/// SYSENTER with any registers, after [`fast`] has said yes. It comes back at `after_sysenter`, with the
/// ESP that EBP has.
///
/// # Safety
/// As for [`int80`].
#[unsafe(naked)]
pub unsafe extern "C" fn sysenter(registers: &mut Registers) {
    with_registers!(
        "pushl %ebp",
        "movl %esp, %ebp",
        "sysenter",
        ".globl after_sysenter",
        "after_sysenter:",
        "popl %ebp",
    )
}

unsafe extern "C" {
    /// Where SYSENTER comes back: inside [`sysenter`].
    safe fn after_sysenter();
}

fn call5(call: Call, arguments: [u32; 5]) -> Result<u32, Error> {
    let [ebx, ecx, edx, esi, edi] = arguments;
    let mut registers = Registers { eax: call as u32, ebx, ecx, edx, esi, edi };
    // SAFETY: callers pass memory that the call may use as it does.
    unsafe { int80(&mut registers) };
    answer(registers.eax.cast_signed())
}

/// A call by its number, with arguments that may be anything; gives EAX.
///
/// # Safety
/// As for [`int80`].
pub unsafe fn raw(number: u32, arguments: [u32; 5]) -> i32 {
    let [ebx, ecx, edx, esi, edi] = arguments;
    let mut registers = Registers { eax: number, ebx, ecx, edx, esi, edi };
    // SAFETY: as the caller promises.
    unsafe { int80(&mut registers) };
    registers.eax.cast_signed()
}

/// Ends the task.
pub fn exit(status: i32) -> ! {
    loop {
        let _ = call(Call::Exit, status.cast_unsigned(), 0);
    }
}

/// Writes bytes to the kernel's console; gives how many.
pub fn write(bytes: &[u8]) -> Result<u32, Error> {
    write_raw(bytes.as_ptr() as u32, bytes.len() as u32)
}

/// Asks the kernel to write memory that the program need not own, to see what it says.
pub fn write_raw(address: u32, length: u32) -> Result<u32, Error> {
    call(Call::Write, address, length)
}

/// Lets the next task run.
pub fn yield_now() {
    let _ = call(Call::Yield, 0, 0);
}

/// The identifier of the task that this is.
pub fn getpid() -> u32 {
    call(Call::GetPid, 0, 0).unwrap_or(0)
}

/// Sleeps through that many ticks of the timer.
pub fn sleep(ticks: u32) -> Result<(), Error> {
    call(Call::Sleep, ticks, 0).map(|_| ())
}

/// Ticks since the start.
pub fn uptime() -> u32 {
    call(Call::Uptime, 0, 0).unwrap_or(0)
}

/// A copy of this task: `None` in the copy, its identifier in the original.
pub fn fork() -> Result<Option<u32>, Error> {
    // Not inlined: everything that the compiler keeps in registers has to be copied along.
    call5(Call::Fork, [0; 5]).map(|id| (id != 0).then_some(id))
}

/// Goes on as the program in an ELF file. The strings, each ended by a zero, are so many arguments
/// and then the environment. Comes back only if it fails.
pub fn exec(image: &[u8], strings: &[u8], arguments: u32) -> Error {
    let [image, length] = [image.as_ptr() as u32, image.len() as u32];
    let result = call5(
        Call::Exec,
        [image, length, strings.as_ptr() as u32, strings.len() as u32, arguments],
    );
    result.err().unwrap_or(Error::BadProgram)
}

/// Waits until a child (any for 0) has ended.
pub fn wait(task: u32) -> Result<Report, Error> {
    let mut report = Report::default();
    call5(Call::Wait, [task, core::ptr::from_mut(&mut report) as u32, 0, 0, 0])?;
    Ok(report)
}

/// As [`wait`], but gives `None` if none has ended yet.
pub fn wait_not(task: u32) -> Result<Option<Report>, Error> {
    let mut report = Report::default();
    let address = core::ptr::from_mut(&mut report) as u32;
    let id = call5(Call::Wait, [task, address, WAIT_NOT, 0, 0])?;
    Ok((id != 0).then_some(report))
}

/// Starts a task in the same memory, on a stack of its own. `entry` must not return.
pub fn thread(entry: extern "C" fn(u32) -> !, argument: u32) -> Result<u32, Error> {
    call5(Call::Thread, [entry as *const () as u32, argument, 0, 0, 0])
}

/// Ends a task.
pub fn kill(task: u32) -> Result<(), Error> {
    call(Call::Kill, task, 0).map(|_| ())
}

/// Moves the end of the heap; gives where it was.
pub fn grow(bytes: i32) -> Result<u32, Error> {
    call(Call::Grow, bytes.cast_unsigned(), 0)
}

/// Gives a task (0: this one) a priority.
pub fn set_priority(task: u32, level: u32) -> Result<(), Error> {
    call(Call::Priority, task, level).map(|_| ())
}

/// Gives up all rights but these; gives what is left.
pub fn restrict(rights: u32) -> u32 {
    call(Call::Restrict, rights, 0).unwrap_or(0)
}

/// What the kernel counts.
pub fn counters() -> Counters {
    let mut counters = Counters::default();
    let _ = call5(Call::Counters, [core::ptr::from_mut(&mut counters) as u32, 0, 0, 0, 0]);
    counters
}

/// What is known of the task in a place of the table; `None` if the place is empty.
pub fn inspect(place: u32) -> Result<Option<Info>, Error> {
    let mut info = Info::default();
    let address = core::ptr::from_mut(&mut info) as u32;
    call5(Call::Inspect, [place, address, 0, 0, 0])?;
    Ok((info.kernel_stack_top != 0).then_some(info))
}

/// Reads bytes of a boot module; gives how many.
pub fn module(index: u32, offset: u32, bytes: &mut [u8]) -> Result<u32, Error> {
    let [address, length] = [bytes.as_mut_ptr() as u32, bytes.len() as u32];
    call5(Call::Module, [index, offset, address, length, 0])
}

/// A boot module's length and string.
pub fn module_info(index: u32) -> Result<ModuleInfo, Error> {
    let mut info = ModuleInfo { length: 0, string: [0; 124] };
    call5(Call::ModuleInfo, [index, core::ptr::from_mut(&mut info) as u32, 0, 0, 0])?;
    Ok(info)
}

/// Opens I/O ports to this task.
pub fn ports(first: u16, count: u16) -> Result<(), Error> {
    call(Call::Ports, first.into(), count.into()).map(|_| ())
}

/// Makes an interrupt a notification with these bits.
pub fn attach(irq: u32, bits: u32) -> Result<(), Error> {
    call(Call::Attach, irq, bits).map(|_| ())
}

/// Opens the interrupt again.
pub fn acknowledge(irq: u32) -> Result<(), Error> {
    call(Call::Acknowledge, irq, 0).map(|_| ())
}

/// Ends the machine.
pub fn power_off(status: u32) -> Error {
    call(Call::PowerOff, status, 0).err().unwrap_or(Error::NotAllowed)
}

/// Lets the kernel call itself so deep.
pub fn recurse(depth: u32) -> Result<u32, Error> {
    call(Call::Recurse, depth, 0)
}

/// Makes [`sysenter`] usable, if the processor has it.
pub fn fast() -> Result<(), Error> {
    call(Call::Fast, after_sysenter as *const () as u32, 0).map(|_| ())
}
