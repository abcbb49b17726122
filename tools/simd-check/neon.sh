#!/usr/bin/env bash
# Runs the kernel tests for Arm with NEON, under qemu's user-mode emulation. See README.md for what it needs.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/debian.sh
. ../debian.sh
need_packages 'the check of NEON' rustc-web cargo-web rust-web-src gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static

target=aarch64-unknown-linux-gnu
# The distribution's compiler has the sources of its standard library beside it, the usual toolchain only x86-64's
# compiled form. Its cargo gets a home of its own: two versions in one home spoil each other's caches.
export CARGO_HOME="$PWD/work/cargo-home" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
export SIMD_CHECK_EXPECT=neon
unset RUSTUP_TOOLCHAIN RUSTFLAGS

# Only the library has tests, and `rustdoc` would be the other toolchain's.
exec /usr/bin/cargo test --lib -Zbuild-std=std,panic_unwind --target "$target" --target-dir work/neon "$@"
