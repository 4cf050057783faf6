# From the loader to Rust, from a gate to Rust, and back. In AT&T syntax, with these names from Rust:
# cooperative (0, 1), magic, flags, stub, kernel_data, user_data, system_call, stack, start, trap.
#
# What `trap` is given: the vector, the general registers, and the CPU's words.
#
#               SS ESP EFLAGS CS EIP     pushed by the CPU
#               vector                   pushed by the stub, or nothing
#               the general registers    pushed by PUSHA

    .section .boot.header, "a"
    .balign 4
    .long {magic}, {flags}, -({magic} + {flags})

    .text
    .globl start
start:
    cli
    cld
    movl $({stack} + {stack_size}), %esp
    xorl %ebp, %ebp
    pushl %ebx
    pushl %eax
    call {start}

    .section .text.entry, "ax"
    .altmacro
    .macro vector_stub number
    .balign {stub}
    .globl vector_\number
vector_\number:
    .if {cooperative}
    .byte 0x66, 0x90
    pushl $\number
    jmp enter
    .else
    # Five ways to begin a handler; the timer begins with PUSHA, system calls with the other four.
    .set way, (\number + 2) % 5
    .if way == 0
    pushl $\number
    jmp enter
    .endif
    .if way == 1
    .byte 0x68
    .long \number
    jmp enter
    .endif
    .if way == 2
    cld
    pushl $\number
    jmp enter
    .endif
    .if way == 3
    subl $4, %esp
    movl $\number, (%esp)
    jmp enter
    .endif
    .if way == 4
    pushal
    movl $\number, %ebx
    jmp enter_by_pusha
    .endif
    .endif
    .endm

    .set number, 0
    .rept 256
    vector_stub %number
    .set number, number + 1
    .endr
    .noaltmacro

    # Our data segments, and no direction: ring 3 may have brought anything.
    .macro kernel_segments
    cld
    movl ${kernel_data}, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    .endm

    .macro user_segments
    movl ${user_data}, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    .endm

    .macro no_op
    .if {cooperative}
    .byte 0x66, 0x90
    .endif
    .endm

enter:
    pushal
    kernel_segments
    movl %esp, %eax
    leal 36(%esp), %ecx
    pushl %ecx
    pushl %eax
    pushl 32(%eax)
    call {trap}
    addl $12, %esp
    # A new task starts here, with ESP at its registers.
    .globl leave
leave:
    user_segments
    popal
    addl $4, %esp
    no_op
    iretl

enter_by_pusha:
    kernel_segments
    movl %esp, %eax
    leal 32(%esp), %ecx
    pushl $0                    # as deep as `enter`
    pushl %ecx
    pushl %eax
    pushl %ebx
    call {trap}
    addl $16, %esp
    user_segments
    popal
    no_op
    iretl

    # plant=gate_16bit: the CPU's words have 16 bits each. The code behind such a gate has to lie
    # below 64 KiB, so only the jump to here does.
    .globl enter_16
enter_16:
    pushl ${system_call}
    pushal
    kernel_segments
    movl %esp, %eax
    leal 36(%esp), %ecx
    pushl %ecx
    pushl %eax
    pushl 32(%eax)
    call {trap}
    addl $12, %esp
    user_segments
    popal
    addl $4, %esp
    no_op
    iretw
