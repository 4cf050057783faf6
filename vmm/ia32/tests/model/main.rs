//! The model against what the manuals publish: each row of the architecture's tables as a case, and
//! properties that hold for every input.

mod chain;
mod delivery;
mod hostile;
mod lab;
mod pages;
mod refusals;
mod returns;
mod tasks;
mod virtual_8086;
