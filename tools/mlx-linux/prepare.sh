#!/usr/bin/env bash
# Makes MLX usable for cargo on Linux: takes Apple's library from its Python package, builds the C interface that lies in
# the mlx-sys crate, and writes the cargo configuration that has both in place of mlx-sys' build script, which knows
# Apple's systems alone. Prints the configuration's path.
#
#     cargo test --features mlx --config "$(tools/mlx-linux/prepare.sh cpu)"
#
# The argument is cpu (the default) or cuda13. What was made once is kept under target/mlx-linux. See README.md for what
# it needs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
# shellcheck source=tools/mlx-linux/common.sh
. "$here/common.sh"

flavour=${1:-cpu}
case $flavour in
cpu) package=mlx-cpu ;;
cuda13) package=mlx-cuda-13 ;;
*)
    echo "$0: MLX for Linux is there as cpu and as cuda13, not as $flavour" >&2
    exit 2
    ;;
esac

work=$PWD/target/mlx-linux/$flavour
config=$work/cargo.toml
host=$(rustc -vV | sed -n 's/^host: //p')
sources=$(mlx_c_sources)
key=$(key_of "$mlx_version" "$flavour" "$host" "$sources" "$here"/*.h "$here"/*.c "$here"/*.sh)
begin "$work" "$key"
if [ -f "$config" ]; then
    echo "$config"
    exit
fi

{
    step "MLX $mlx_version ($package)"
    [ -d "$work/python" ] || get_package "$package==$mlx_version" "$work/python"
    mlx=$work/python/mlx

    step 'the C interface'
    if [ ! -f "$work/lib/libmlxc.a" ]; then
        compile_mlx_c "$sources" "$work" "${CXX:-c++}" -I"$mlx/include" -include "$here/format.h"
        ${CC:-cc} -O2 -fPIC -c "$here/shim.c" -I"$sources" -o "$work/objects/shim.o"
        archive "${AR:-ar}" "$work"
    fi

    step 'its Rust declarations'
    # libclang comes without the compiler's own headers.
    make_bindings "$sources" "$work" -include "$here/halves.h" -I"$(${CC:-cc} -print-file-name=include)"
} >&2

cat > "$config.new" <<TOML
# Written by tools/mlx-linux/prepare.sh.
[target.$host.mlx]
rustc-link-search = ["native=$work/lib", "native=$mlx/lib"]
rustc-link-lib = ["static=mlxc", "dylib=mlx", "dylib=stdc++"]
rustc-env = { OUT_DIR = "$work/rust" }

[env]
BOCA_LIBRARY_PATH = "$mlx/lib"
TOML
mv "$config.new" "$config"
echo "$config"
