"""Checks that a macOS binary asks for nothing that is not there: every undefined symbol has to come from a library that
the binary names and that exports it, and the libraries have to be Apple's own or MLX.

    undefined.py BINARY --library DYLIB... --stubs DIRECTORY...

Of a library given with --library the exports are read; of Apple's own the `.tbd` stubs tell them.
"""

import argparse
import pathlib
import re
import sys

import lief

CXX = "/usr/lib/libc++.1.dylib"
APPLE = ("/usr/lib/", "/System/")


def stub_exports(path):
    """What a `.tbd` file (the text form of a library for linkers) exports on arm64, by the library's name.

    One file may have a library and those that it passes on, as a document each; all count as the first, under whose name
    a linker records them."""
    text = path.read_text()
    name = re.search(r"^install-name:\s*'?([^'\s]+)", text, re.MULTILINE).group(1)
    symbols = set()
    for targets, body in re.findall(r"- targets:\s*\[(.*?)\](.*?)(?=- targets:|^---|^\.\.\.|\Z)", text, re.DOTALL | re.MULTILINE):
        if "arm64" in targets:  # Also where it says arm64e: that is how Apple's own libraries are made.
            for names in re.findall(r"symbols:\s*\[(.*?)\]", body, re.DOTALL):
                symbols.update(name.strip(" \n'") for name in names.split(","))
    return name, symbols - {""}


def linked_names(binary):
    """The libraries in the order in which symbols count them, from 1 on."""
    load = {
        lief.MachO.LoadCommand.TYPE.LOAD_DYLIB,
        lief.MachO.LoadCommand.TYPE.LOAD_WEAK_DYLIB,
        lief.MachO.LoadCommand.TYPE.REEXPORT_DYLIB,
    }
    return [library.name for library in binary.libraries if library.command in load]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--library", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--stubs", type=pathlib.Path, action="append", default=[])
    options = parser.parse_args()
    wrong = []
    lief.logging.disable()

    def expect(holds, complaint):
        if not holds:
            wrong.append(complaint)

    exports = {}
    cxx_symbols = set()
    for path in options.library:
        library = lief.MachO.parse(str(path)).at(0)
        own = next(c.name for c in library.libraries if c.command == lief.MachO.LoadCommand.TYPE.ID_DYLIB)
        exports[own] = {symbol.name for symbol in library.exported_symbols}
        names = linked_names(library)
        cxx_symbols |= {s.name for s in library.imported_symbols if names[s.library_ordinal - 1 : s.library_ordinal] == [CXX]}
        for name in names:
            expect(name.startswith(APPLE), f"{own} needs {name}")
    for directory in options.stubs:
        for path in sorted(directory.rglob("*.tbd")):
            name, symbols = stub_exports(path)
            exports[name] = symbols

    slices = lief.MachO.parse(str(options.binary))
    binary = slices.at(0)
    expect(slices.size == 1, f"{slices.size} architectures")
    expect(binary.header.cpu_type == lief.MachO.Header.CPU_TYPE.ARM64, f"made for {binary.header.cpu_type}")
    expect(binary.header.file_type == lief.MachO.Header.FILE_TYPE.EXECUTE, f"is a {binary.header.file_type}")
    expect(lief.MachO.Header.FLAGS.TWOLEVEL in binary.header.flags_list, "does not say which library a symbol is from")
    expect(binary.has_code_signature, "has no signature; Apple's processors start nothing without one")
    oldest = binary.build_version.minos if binary.has_build_version else None
    expect(oldest == [14, 0, 0], f"is for macOS from {oldest}")

    names = linked_names(binary)
    for name in names:
        expect(name.startswith(APPLE) or name in exports, f"needs {name}")
    for name in [CXX, *(n for n in exports if n.startswith("@rpath/"))]:
        expect(name in names, f"does not name {name}")
    expect([r.path for r in binary.rpaths] == ["@executable_path"], f"looks for libraries in {[r.path for r in binary.rpaths]}")

    # Two C++ runtimes in one process: what one throws the other would not catch.
    defined = {s.name for s in binary.symbols if s.category != lief.MachO.Symbol.CATEGORY.UNDEFINED}
    twice = defined & (cxx_symbols | exports[CXX])
    expect(not twice, f"brings C++'s library along: {sorted(twice)[:10]}")

    taken = {}
    for symbol in binary.symbols:
        if symbol.category != lief.MachO.Symbol.CATEGORY.UNDEFINED:
            continue
        ordinal = symbol.library_ordinal
        if not 1 <= ordinal <= len(names):
            expect(False, f"{symbol.name} comes from no library (ordinal {ordinal})")
            continue
        name = names[ordinal - 1]
        taken.setdefault(name, set()).add(symbol.name)
        expect(symbol.name in exports.get(name, ()), f"{symbol.name} is not exported by {name}")
    for name in names:
        print(f"{len(taken.get(name, ())):5} symbols of {name}")

    for complaint in wrong:
        print(f"{options.binary.name}: {complaint}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
