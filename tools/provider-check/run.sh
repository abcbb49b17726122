#!/usr/bin/env bash
# Holds the providers against things that nobody here wrote. Exits non-zero at the first difference.
#
#     tools/provider-check/run.sh [gemini | mlx | llama]...      all three without arguments
#
# Needs python3 and a Rust toolchain; `llama` builds llama.cpp once, so it needs a C++ compiler and, the first time,
# many minutes. What it downloads and makes stays in tools/provider-check/work.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
work=$here/work
mkdir -p "$work"
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
server_pid=

stop_server() {
    if [ -n "$server_pid" ]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
        server_pid=
    fi
}
trap stop_server EXIT

# make_venv NAME: the virtual environment of requirements-NAME.txt, made anew when that file changes.
make_venv() {
    local venv=$work/$1 requirements=$here/requirements-$1.txt
    if ! cmp -s "$requirements" "$venv/installed.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
        cp "$requirements" "$venv/installed.txt"
    fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

example() {
    local name=$1
    shift
    cargo run --quiet --locked -p boca-providers --example "$name" -- "$@"
}

gemini() {
    make_venv gemini
    local python=$work/gemini/bin/python
    example gemini_requests "$work/gemini-requests.jsonl"
    "$python" "$here/gemini_requests.py" "$work/gemini-requests.jsonl"
    "$python" "$here/gemini_responses.py" crates/providers/tests/data/gemini
    cargo test --quiet --locked -p boca-providers --test providers documents::
    cargo build --quiet --locked -p boca-fake-providers
    "$python" "$here/gemini_sdk.py" "${CARGO_TARGET_DIR:-target}/debug/fake-provider"
}

mlx() {
    make_venv mlx
    local port
    port=$(free_port)
    # Without a cache of models, even an empty one, its list of models breaks off.
    mkdir -p "$work/hub"
    HF_HUB_CACHE=$work/hub HF_HUB_OFFLINE=1 "$work/mlx/bin/mlx_lm.server" --model assets/demo-model --host 127.0.0.1 --port "$port" >"$work/mlx.log" 2>&1 &
    server_pid=$!
    example check_openai_server "http://127.0.0.1:$port/v1" default_model usage-in-streams refusals || fail mlx
    stop_server
}

llama() {
    # Portable code without OpenMP: what is checked is a protocol, and the build is long enough.
    CMAKE_ARGS='-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF' make_venv llama
    local port
    port=$(free_port)
    "$work/llama/bin/python" "$here/make_gguf.py" "$work/tiny.gguf"
    "$work/llama/bin/python" -m llama_cpp.server --model "$work/tiny.gguf" --model_alias tiny --n_ctx 512 \
        --host 127.0.0.1 --port "$port" >"$work/llama.log" 2>&1 &
    server_pid=$!
    example check_openai_server "http://127.0.0.1:$port/v1" tiny small-context || fail llama
    stop_server
}

fail() {
    echo "the end of the server's log ($work/$1.log):" >&2
    tail -20 "$work/$1.log" >&2
    exit 1
}

for step in "${@:-gemini mlx llama}"; do
    for name in $step; do
        case $name in
        gemini | mlx | llama) ;;
        *)
            echo "usage: $0 [gemini | mlx | llama]..." >&2
            exit 2
            ;;
        esac
        printf '\n== provider check: %s ==\n' "$name"
        began=$(date +%s)
        "$name"
        echo "$name: well, in $(($(date +%s) - began)) s"
    done
done
