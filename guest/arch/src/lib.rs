//! The IA-32 processor and the PC around it, for the kernels of this workspace.
//!
//! One file for each thing of the manual: what a kernel has to lay out in memory (descriptors,
//! gates, the TSS, page tables), what it does with instructions that have no Rust name (ports,
//! control registers, table loads), and the few devices of a PC that a small kernel needs. It is
//! thin: no policy, no allocation, nothing that one kernel wants and another does not.
//!
//! Layouts end in static assertions of their size and of published values. What cannot be safe is
//! `unsafe` with its condition written down; all that can be safe is.
//!
//! One processor, no other threads: [`OneCpu`] says where that is relied on.

#![no_std]

pub mod console;
pub mod control;
pub mod cpu;
pub mod eflags;
pub mod fpu;
pub mod gate;
mod mem;
pub mod multiboot;
mod one_cpu;
pub mod page;
pub mod pic;
pub mod pit;
pub mod port;
pub mod power;
pub mod segment;
pub mod table;
pub mod tss;

pub use one_cpu::OneCpu;
