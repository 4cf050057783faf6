# shellcheck shell=bash
# Where the pieces of the portable host are. Sourced by setup, which puts them there, and kvm-host, which uses them.

scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck disable=SC2034 # for whoever sources this
root=${scripts%/*}
cache=${XDG_CACHE_HOME:-${HOME:-~}/.cache}/esp0

# The host's own KVM counts only with the hardware behind it: other modules offer a /dev/kvm
# that opens, and then cannot run a 32-bit kernel.
hardware_kvm() {
    [[ -e /sys/module/kvm_intel || -e /sys/module/kvm_amd ]] && grep -qwE -m1 'vmx|svm' /proc/cpuinfo
}

native_kvm() {
    hardware_kvm && { : <>/dev/kvm; } 2>/dev/null
}

# The order of preference of each piece: what the user points at, what setup fetched, what the system has.
find_qemu() {
    if [[ -n ${ESP0_QEMU:-} ]]; then
        type -P -- "$ESP0_QEMU"
    elif [[ -x $cache/qemu/qemu-system-x86_64 ]]; then
        printf '%s\n' "$cache/qemu/qemu-system-x86_64"
    else
        type -P qemu-system-x86_64
    fi
}

find_kernel() {
    local kernel=${ESP0_KERNEL:-$cache/kernel/vmlinux}
    [[ -r $kernel ]] && printf '%s\n' "$kernel"
}

find_modules() {
    local modules=${ESP0_MODULES:-$cache/kernel/modules}
    [[ -d $modules ]] && printf '%s\n' "$modules"
}

# The program that boots the portable host and talks to it, named after what it is made of.
portable_host() {
    local sum
    sum=$(cat -- "$root/rust-toolchain.toml" "$scripts"/portable-host/Cargo.* "$scripts"/portable-host/src/*.rs | sha256sum)
    printf '%s\n' "$cache/portable-host-${sum:0:16}"
}
