//! What the kernels, their ring-3 programs and the VMM agree on, and nothing else.
//!
//! Numbers and addresses only: no code, no dependencies. The crate compiles for the guest (i586)
//! and for the VMM's host alike. Nothing in here is evidence: the VMM finds out for itself what a
//! guest really does, and uses these names only to make its output nicer.
//!
//! # How a kernel is started
//! The image is an ELF32 file for EM_386 with a Multiboot 1 header in its first 8 KiB, loaded at
//! the physical addresses of its segments (from 1 MiB up) and entered with EAX = 0x2BADB002 and
//! EBX = the address of the Multiboot information: memory map, command line, modules. Each module
//! is a ring-3 program (for `classic`, one that is there to be executed); its string is `name arguments…`, and becomes the program's arguments
//! (see [`layout`]). `classic` is entered in real mode, for which it asks by a note, with the same
//! in EAX and EBX.
//!
//! | command line | meaning | default |
//! | --- | --- | --- |
//! | `hz=N` | timer ticks a second, 19 to 10,000 | 100 |
//! | `plant=NAME` | `broken`: what to do wrong | none |
//! | `allow=recurse` | `micro`: the system call that overflows a kernel stack | not allowed |
//!
//! # How a kernel speaks and ends
//! See [`port`]: its console, and the port that powers the machine off.
//!
//! # Where a kernel can be watched
//! See [`probe`]: no-ops of two bytes at each entry, and in front of each return.

#![no_std]

pub mod call;
pub mod layout;
pub mod port;
pub mod probe;
pub mod service;
pub mod task;
pub mod vector;
