# shellcheck shell=bash
# What preparing MLX has in common for Linux and for macOS.

mlx_version=0.32.2 # The one that mlx-c, as mlx-sys carries it, names.
bindgen_version=0.72.1 # That of mlx-sys' own build script.
libclang_version=18.1.1

step() {
    printf '== %s ==\n' "$1"
}

# Where the sources of mlx-c lie: inside the crate that cargo has in its store.
mlx_c_sources() {
    local manifest
    manifest=$(cargo metadata --locked --format-version 1 --features mlx |
        python3 -c 'import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "mlx-sys"))')
    echo "$(dirname "$manifest")/src/mlx-c"
}

# One line that changes with the words and the files that it is given.
key_of() {
    local word
    for word in "$@"; do
        if [ -f "$word" ]; then cat "$word"; else echo "$word"; fi
    done | cksum
}

# begin WORK KEY: an empty directory for what is made of KEY. What an interrupted run has made of the same key is whole, and
# stays.
begin() {
    if [ "$(cat "$1/begun" 2>/dev/null)" != "$2" ]; then
        rm -rf "$1"
        mkdir -p "$1"
        echo "$2" > "$1/begun"
    fi
}

# get_package REQUIREMENT DIRECTORY [PIP OPTION...]: a Python package's files; nothing is installed for the system.
get_package() {
    local requirement=$1 directory=$2
    shift 2
    rm -rf "$directory" "$directory.new"
    python3 -m pip --disable-pip-version-check install --quiet --root-user-action ignore --no-compile --only-binary=:all: \
        --target "$directory.new" "$@" "$requirement"
    mv "$directory.new" "$directory"
}

# compile_mlx_c SOURCES WORK C++COMPILER OPTION...
compile_mlx_c() {
    local sources=$1 work=$2 compiler=$3
    shift 3
    rm -rf "$work/objects" "$work/lib"
    mkdir -p "$work/objects" "$work/lib"
    # As mlx-c's CMakeLists.txt has it: every file, C++20, position-independent.
    find "$sources/mlx/c" -maxdepth 1 -name '*.cpp' -print0 |
        xargs -0 -P "$(getconf _NPROCESSORS_ONLN)" -I '{}' sh -c '
            source=$1 objects=$2
            shift 2
            exec "$@" -c "$source" -o "$objects/$(basename "$source" .cpp).o"
        ' sh '{}' "$work/objects" $compiler -std=c++20 -O2 -fPIC -I"$sources" "$@"
}

# archive ARCHIVER WORK
archive() {
    rm -f "$2/lib/libmlxc.a.new"
    $1 rcs "$2/lib/libmlxc.a.new" "$2"/objects/*.o
    mv "$2/lib/libmlxc.a.new" "$2/lib/libmlxc.a"
}

# make_bindings SOURCES WORK [CLANG OPTION...]
make_bindings() {
    local sources=$1 work=$2 tools header
    shift 2
    tools=$PWD/target/mlx-tools
    if [ ! -x "$tools/bin/bindgen" ]; then
        cargo install --quiet --locked --root "$tools" --version "$bindgen_version" bindgen-cli
    fi
    # On a Mac bindgen finds Xcode's libclang by itself.
    if [ "$(uname -s)" = Linux ]; then
        [ -d "$tools/libclang" ] || get_package "libclang==$libclang_version" "$tools/libclang" --no-deps
        local -x LIBCLANG_PATH=$tools/libclang/clang/native
    fi
    mkdir -p "$work/rust"
    for header in "$sources"/mlx/c/*.h; do
        echo "#include \"$header\""
    done > "$work/all.h"
    "$tools/bin/bindgen" "$work/all.h" --output "$work/rust/bindings.rs.new" \
        --rust-target 1.73 --blocklist-function malloc --blocklist-function realloc -- -I"$sources" "$@"
    mv "$work/rust/bindings.rs.new" "$work/rust/bindings.rs"
}
