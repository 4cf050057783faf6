//! Any bytes as a kernel's file, asked for its names: no panic.
#![no_main]

use esp0::symbols::Symbols;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let symbols = Symbols::none().with_kernel(bytes.to_vec());
    for function in symbols.functions() {
        let _ = symbols.describe(function.address);
    }
    for address in [0, 1, 0x10_0000, 0xC010_0000, u32::MAX] {
        let _ = symbols.describe(address);
        let _ = symbols.describe_physical(address);
    }
    let _ = symbols.address_of("main");
    let _ = symbols.source_files();
});
