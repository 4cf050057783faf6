//! The broken kernel without any no-ops, and with handlers that begin in five different ways: a
//! kernel that was not built to be watched.

#![no_std]
#![no_main]

broken_kernel::entries!(cooperative = 0);
