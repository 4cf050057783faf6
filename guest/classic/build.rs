//! Hands the kernel's and the programs' linker scripts to the linker.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    for (binary, script) in [("classic", "kernel"), ("arguments", "program"), ("twins", "program")]
    {
        println!("cargo::rustc-link-arg-bin={binary}=-T{folder}/{script}.ld");
        println!("cargo::rerun-if-changed={script}.ld");
    }
}
