//! The broken kernel with the no-ops of [`abi::probe`].

#![no_std]
#![no_main]

broken_kernel::entries!(cooperative = 1);
