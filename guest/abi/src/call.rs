//! The system calls: `int 0x80` with a number in EAX, or SYSENTER where the processor has it.
//!
//! Arguments are in EBX, ECX, EDX, ESI and EDI, and the result comes back in EAX; a negative result
//! is an [`Error`]. All other registers are kept, but for those that a message comes in
//! ([`Call::Receive`]) and for the segment registers: DS, ES, FS and GS hold the flat user segment
//! after every return to ring 3, whatever the program had loaded there.
//!
//! # SYSENTER
//! The same registers, and EBP holds the ESP to return with; where to return to the program has
//! said once, by [`Call::Fast`]. The processor keeps nothing, so flags are lost, and ECX and EDX too,
//! unless they bring a message.

macro_rules! calls {
    ($($(#[$meta:meta])* $name:ident = $number:literal,)*) => {
        /// What a program can ask of the microkernel. The discriminant is the number in EAX.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Call { $($(#[$meta])* $name = $number,)* }

        impl Call {
            /// The call with this number, if there is one.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

calls! {
    /// `exit(status)`: ends the task; does not return.
    Exit = 0,
    /// `write(address, length)`: writes bytes to the kernel's console; returns how many.
    Write = 1,
    /// `yield()`: lets the next task of the same priority run; returns 0.
    Yield = 2,
    /// `getpid()`: returns the caller's task identifier, which is never 0.
    GetPid = 3,
    /// `sleep(ticks)`: sleeps through that many timer ticks, fewer than 2³¹; returns 0.
    Sleep = 4,
    /// `fork()`: makes a copy of the caller; returns its identifier, and 0 in the copy.
    Fork = 5,
    /// `exec(image, length, strings, length, arguments)`: goes on as the program in an ELF file. The
    /// strings, each ended by a zero byte, are so many arguments and then the environment.
    Exec = 6,
    /// `wait(task, report, flags)`: waits until a child (any for 0) has ended, writes a
    /// [`Report`](crate::task::Report) and frees it; returns its identifier. Flag
    /// [`WAIT_NOT`](crate::task::WAIT_NOT): does not wait, and returns 0 instead.
    Wait = 7,
    /// `thread(entry, argument)`: starts a task that shares the caller's memory, on a stack of its
    /// own, with a call of `entry(argument)`; returns its identifier. It is a child like any other.
    Thread = 8,
    /// `kill(task)`: ends another task as soon as it can; returns 0.
    Kill = 9,
    /// `grow(bytes)`: adds so many bytes of zeros to the heap, or takes some away; returns where the
    /// heap ended before.
    Grow = 10,
    /// `priority(task, level)`: gives a task (0: the caller) a priority, at most its own; returns 0.
    Priority = 11,
    /// `call(task, label, word, word or address, length)`: sends a message and waits for the answer.
    Call = 12,
    /// `receive(task)`: waits for a message from a task (0: any), or for a notification. Returns the
    /// sender in EAX (0: a notification), ECX = label (or the notification's bits), EDX = word,
    /// ESI = word, EDI = how many bytes have been put into the caller's buffer.
    Receive = 13,
    /// `reply(task, label, word, word or address, length)`: answers a call; does not wait.
    Reply = 14,
    /// `reply_receive(task, label, word, word or address, length)`: answers, and waits for the next
    /// message from anybody: see [`Call::Receive`].
    ReplyReceive = 15,
    /// `notify(task, bits)`: adds bits to the task's pending notification; does not wait.
    Notify = 16,
    /// `buffer(address, length)`: where the bytes of messages to the caller are to be put.
    Buffer = 17,
    /// `counters(address)`: writes the kernel's [`Counters`](crate::task::Counters); returns 0.
    Counters = 18,
    /// `inspect(index, address)`: writes the [`Info`](crate::task::Info) about the task in place
    /// `index` of the table; returns its identifier, and 0 if the place is empty.
    Inspect = 19,
    /// `module(index, offset, address, length)`: copies bytes of a boot module; returns how many.
    Module = 20,
    /// `module_info(index, address)`: writes a module's [`ModuleInfo`](crate::task::ModuleInfo).
    ModuleInfo = 21,
    /// `ports(first, count)`: opens I/O ports below 0x400 to the caller; needs a right.
    Ports = 22,
    /// `attach(irq, bit)`: from now on an interrupt is a notification with that bit to the caller,
    /// and is masked until acknowledged; needs a right.
    Attach = 23,
    /// `acknowledge(irq)`: opens an interrupt again.
    Acknowledge = 24,
    /// `restrict(rights)`: gives up all rights but these; returns what is left.
    Restrict = 25,
    /// `uptime()`: ticks since the start.
    Uptime = 26,
    /// `power_off(status)`: ends the machine; needs a right.
    PowerOff = 27,
    /// `recurse(depth)`: the kernel calls itself so deep, if the command line has `allow=recurse`.
    Recurse = 28,
    /// `fast(address)`: from now on system calls by SYSENTER return to this address. Threads and
    /// copies of the caller inherit it. Fails if the processor has no SYSENTER.
    Fast = 29,
}

/// Why a system call was refused. The discriminant is what EAX holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Error {
    /// There is no call with this number.
    NoSuchCall = -1,
    /// Part of the memory that was passed is not the caller's, or may not be used in this way.
    BadAddress = -2,
    /// An argument has no meaning here.
    BadArgument = -3,
    /// Memory, or the table of tasks, is used up.
    NoMemory = -4,
    /// The file is no program that can be run.
    BadProgram = -5,
    /// There is no such task, or no more.
    NoSuchTask = -6,
    /// The caller has no child, or this is none.
    NoChild = -7,
    /// The caller has no right to it.
    NotAllowed = -8,
    /// The message is longer than it may be, or than the receiver's buffer.
    TooLong = -9,
    /// The partner ended before it answered.
    PartnerEnded = -10,
    /// The caller was killed while it waited. No program ever sees this.
    Killed = -11,
}

impl Error {
    /// The error that a result stands for; `None` if it is no error, or not one of ours.
    pub const fn from_result(result: i32) -> Option<Self> {
        Some(match result {
            -1 => Self::NoSuchCall,
            -2 => Self::BadAddress,
            -3 => Self::BadArgument,
            -4 => Self::NoMemory,
            -5 => Self::BadProgram,
            -6 => Self::NoSuchTask,
            -7 => Self::NoChild,
            -8 => Self::NotAllowed,
            -9 => Self::TooLong,
            -10 => Self::PartnerEnded,
            -11 => Self::Killed,
            _ => return None,
        })
    }
}
