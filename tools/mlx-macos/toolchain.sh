# shellcheck shell=bash
# What the scripts here have in common: for which system they build, and with which compilers they do so on Linux. To be
# read in the root of the repository.

# shellcheck source=tools/mlx-linux/common.sh
. tools/mlx-linux/common.sh
# shellcheck source=tools/debian.sh
. tools/debian.sh

target=aarch64-apple-darwin
work=$PWD/target/mlx-macos
macos_version=14.0 # The oldest that MLX' package is there for.

# The distribution's compiler has the sources of its standard library beside it, the usual toolchain only the compiled
# form for its own system.
distribution_packages=(rustc-web cargo-web rust-web-src rust-web-clippy)

need_distribution_compiler() {
    need_packages 'building for macOS' "${distribution_packages[@]}"
}

# tool NAME VERSION: where the files of that Python package lie.
tool() {
    local directory=$work/tools/$1-$2
    if [ ! -d "$directory" ]; then
        step "$1 $2" >&2
        get_package "$1==$2" "$directory" --no-deps >&2
    fi
    echo "$directory"
}

# need_zig: a C and C++ compiler with the headers of macOS, which links for it, too.
need_zig() {
    zig=$(tool ziglang 0.17.1)/ziglang/zig
    export ZIG_GLOBAL_CACHE_DIR=$work/zig-cache ZIG_LOCAL_CACHE_DIR=$work/zig-cache
}

# for_macos COMMAND [OPTION...]: cargo's COMMAND for macOS.
for_macos() {
    local command=$1 zigbuild
    shift
    need_zig
    zigbuild=$(tool cargo-zigbuild 0.24.0)/bin/cargo-zigbuild
    # Cargo gets a home of its own: two versions in one home spoil each other's caches.
    env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS -u SDKROOT PATH="/usr/bin:$PATH" \
        CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        CARGO_HOME="${BOCA_MACOS_CARGO_HOME:-$work/cargo-home}" CARGO_TARGET_DIR="${BOCA_MACOS_TARGET_DIR:-$work/build}" \
        BOCA_ZIG="$zig" MACOSX_DEPLOYMENT_TARGET="$macos_version" \
        CARGO_ZIGBUILD_ZIG_PATH="$PWD/tools/mlx-macos/zig.sh" CARGO_ZIGBUILD_CACHE_DIR="$work/zig-cache" \
        "$zigbuild" "$command" -Zbuild-std=std,panic_unwind --target "$target" --locked "$@"
}
