//! esp0 on KVM, as a whole. One module a subject; a test's name says what it is that is so.

mod catching;
mod claims;
mod classic;
mod conform;
mod endings;
mod exact;
mod hostile;
mod plants;
mod processor;
mod program;
mod repeating;
mod stacks;
mod userland;
mod workload;
