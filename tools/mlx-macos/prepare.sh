#!/usr/bin/env bash
# Makes MLX for macOS usable for cargo without Xcode's Metal toolchain: takes Apple's library, its Metal kernels compiled,
# from its Python package, builds the C interface that lies in the mlx-sys crate, and writes the cargo configuration that
# has both in place of mlx-sys' build script, which would build MLX itself. Prints the configuration's path.
#
#     cargo build --release --config "$(tools/mlx-macos/prepare.sh)"
#
# Works on a Mac with Apple Silicon and on Linux, for check.sh and link.sh. With the argument `declarations` the library
# itself is left out: enough to check types. What was made once is kept under target/mlx-macos. See README.md for what it
# needs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
# shellcheck source=tools/mlx-macos/toolchain.sh
. "$here/toolchain.sh"

part=${1:-all}
case $part in
all | declarations) ;;
*)
    echo "$0: what is there to prepare is all or declarations, not $part" >&2
    exit 2
    ;;
esac

made=$work/$part
config=$made/cargo.toml
sources=$(mlx_c_sources)
system=$(uname -s)
key=$(key_of "$mlx_version" "$macos_version" "$system" "$sources" "$here/zig.h" "$here/prepare.sh" "$here/toolchain.sh" \
    "$here/../mlx-linux/common.sh")
begin "$made" "$key"
if [ -f "$config" ]; then
    echo "$config"
    exit
fi

if [ "$system" = Darwin ]; then
    compiler="${CXX:-c++} -mmacosx-version-min=$macos_version"
    archiver=${AR:-ar}
    declarations=(-isysroot "$(xcrun --show-sdk-path)")
    cxx_library=c++
    searched=()
    library_path=$made/python/mlx/lib
else
    need_zig
    compiler="$zig c++ -target aarch64-macos.$macos_version -include $here/zig.h"
    archiver="$zig ar"
    declarations=(--target="arm64-apple-macosx$macos_version" -nostdinc
        -isystem "${zig%/*}/lib/include" -isystem "${zig%/*}/lib/libc/include/any-darwin-any")
    # By its own name zig would take the one that it brings, and link it statically: see README.md.
    cxx_library=macos-c++
    searched=("native=$here/stubs" "framework=$here/stubs")
    # What is linked here is started elsewhere, and finds the library beside itself.
    library_path=@executable_path
fi

{
    step 'Rust declarations of the C interface'
    [ -f "$made/rust/bindings.rs" ] || make_bindings "$sources" "$made" "${declarations[@]}"

    libraries=()
    if [ "$part" = all ]; then
        step "MLX $mlx_version (mlx-metal)"
        [ -d "$made/python" ] ||
            get_package "mlx-metal==$mlx_version" "$made/python" --no-deps --platform "macosx_${macos_version/./_}_arm64"
        mlx=$made/python/mlx

        step 'the C interface'
        if [ ! -f "$made/lib/libmlxc.a" ]; then
            compile_mlx_c "$sources" "$made" "$compiler" -I"$mlx/include"
            archive "$archiver" "$made"
        fi
        libraries=(static=mlxc dylib=mlx "dylib=$cxx_library")
        searched+=("native=$made/lib" "native=$mlx/lib")
    fi
} >&2

# list WORD...: as TOML has it.
list() {
    local separator='' word
    for word in "$@"; do
        printf '%s"%s"' "$separator" "$word"
        separator=', '
    done
}

cat > "$config.new" <<TOML
# Written by tools/mlx-macos/prepare.sh.
[target.$target.mlx]
rustc-link-search = [$(list ${searched[@]+"${searched[@]}"})]
rustc-link-lib = [$(list ${libraries[@]+"${libraries[@]}"})]
rustc-env = { OUT_DIR = "$made/rust" }

[env]
BOCA_LIBRARY_PATH = "$library_path"
MACOSX_DEPLOYMENT_TARGET = "$macos_version"
TOML
mv "$config.new" "$config"
echo "$config"
