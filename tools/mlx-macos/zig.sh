#!/usr/bin/env bash
# zig as cargo-zigbuild shall call it: that names macOS without a version, and zig would take a newer one than the oldest
# that MLX is there for. Expects zig itself as BOCA_ZIG, and the version as MACOSX_DEPLOYMENT_TARGET.
set -euo pipefail
options=()
for option in "$@"; do
    if [ "$option" = aarch64-macos-none ]; then
        option=aarch64-macos.$MACOSX_DEPLOYMENT_TARGET-none
    fi
    options+=("$option")
done
exec "$BOCA_ZIG" "${options[@]}"
