#!/usr/bin/env bash
# Links the complete binary for macOS on Linux, the MLX backend included, and checks with a reader of such files that it
# asks for nothing that a Mac with MLX beside the binary does not have. Prints the binary's path at the end.
#
#     tools/mlx-macos/link.sh
#
# See README.md for what it needs, and for what this cannot show.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
# shellcheck source=tools/mlx-macos/toolchain.sh
. "$here/toolchain.sh"

need_distribution_compiler
mlx=$("$here/prepare.sh")
# Debug information is what the release profile strips again, and the tool for that is not here.
for_macos zigbuild --release --package boca --bin boca --config "$mlx" \
    --config profile.release.debug=false --config 'profile.release.strip="none"'

reader=$(tool lief 1.0.0)
binary=${BOCA_MACOS_TARGET_DIR:-$work/build}/$target/release/boca
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$reader python3 "$here/undefined.py" "$binary" \
    --library "$work/all/python/mlx/lib/libmlx.dylib" \
    --stubs "${zig%/*}/lib/libc/darwin" --stubs "$here/stubs"
echo "$binary"
