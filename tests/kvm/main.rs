//! esp0 on KVM, as a whole. One module a subject; a test's name says what it is that is so.

extern crate alloc;

mod cases;
mod catching;
mod causes;
mod checkpoint;
mod claims;
mod classic;
mod conform;
mod drives;
mod endings;
mod exact;
mod exact_returns;
mod firmware;
mod gdb;
mod goldens;
mod hostile;
mod library;
mod outputs;
mod ownership;
mod page;
mod pc;
mod plants;
mod processor;
mod program;
mod relatives;
mod repeating;
mod replaying;
mod rewritten;
mod sharding;
mod shell;
mod stacks;
mod telling;
mod timeline;
mod userland;
mod workload;
mod writer;
