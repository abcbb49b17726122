#!/usr/bin/env bash
# Checks the types of the whole workspace for macOS, the MLX backend included, and lints it as the rest is linted, on
# Linux. Exits non-zero at the first complaint.
#
#     tools/mlx-macos/check.sh [CARGO OPTION...]
#
# See README.md for what it needs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
# shellcheck source=tools/mlx-macos/toolchain.sh
. "$here/toolchain.sh"

need_distribution_compiler
mlx=$("$here/prepare.sh" declarations)
# Nothing of it is run: no time goes into optimising.
for_macos clippy --workspace --all-targets --features mlx --config "$mlx" \
    --config profile.dev.opt-level=0 --config 'profile.dev.package."*".opt-level=0' \
    --config profile.dev.package.boca-engine.opt-level=0 "$@" -- -D warnings
