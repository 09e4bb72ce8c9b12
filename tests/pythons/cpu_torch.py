"""Makes a torch that was installed with ``--no-deps`` import without its CUDA libraries.

The Linux wheel of torch on PyPI holds the whole CPU library, but its loader asks for several gigabytes of
CUDA libraries beside it. Where no CPU build is to be had, this puts empty stand-ins in their places: each
of their functions answers 100, CUDA's code for "no device", so torch sees a machine without a GPU. It also
strikes the CUDA packages from torch's requirements, so that pip does not fetch them later. A CPU build is
left as it is.

    pip install --no-deps torch && python3 tests/pythons/cpu_torch.py .venv

It needs the standard library, ``cc``, ``nm`` and ``readelf``, and may run outside the environment it mends.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

CUDA_REQUIREMENT = re.compile(r"Requires-Dist: (nvidia-|cuda-|triton)")


def strike_requirements(metadata: Path) -> bool:
    """Removes the CUDA packages from torch's requirements; False if it asks for none."""
    lines = metadata.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not CUDA_REQUIREMENT.match(line)]
    metadata.write_text("".join(kept))
    return len(kept) < len(lines)


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def missing_libraries(libraries: list[Path]) -> dict[str, set[str]]:
    """The CUDA libraries that torch's own ask for and that are not there, each with its symbol versions."""
    present = {library.name for library in libraries}
    missing: dict[str, set[str]] = {}
    for library in libraries:
        needed = re.findall(r"NEEDED.*\[(lib(?:cu|nv|nccl).*)\]", output_of("readelf", "-d", library))
        missing |= {name: set() for name in needed if name not in present and name not in missing}
    for library in libraries:
        file = ""
        for line in output_of("readelf", "--wide", "-V", library).splitlines():
            if found := re.search(r"Version: 1  File: (\S+)", line):
                file = found[1]
            elif file in missing and (found := re.search(r"Name: (\S+)  Flags", line)):
                missing[file].add(found[1])
    return missing


def missing_symbols(libraries: list[Path], versions: set[str]) -> set[str]:
    """What torch's libraries use and none of them defines: CUDA's functions, by version or without one."""
    used, defined = set(), set()
    for library in libraries:
        for line in output_of("nm", "-D", library).splitlines():
            kind, symbol = line.split()[-2:]
            name, _, version = symbol.partition("@")
            if kind != "U":
                defined.add(name)
            elif version.strip("@") in versions or (not version and re.match("(__)?(cu|nv|nccl)", name)):
                used.add(name)
    return used - defined


def put_stand_ins(folder: Path) -> list[str]:
    """Compiles one small library for each that is missing, into torch's own folder; their names."""
    libraries = [path for path in sorted(folder.glob("*.so*")) if not path.is_symlink()]
    missing = missing_libraries(libraries)
    symbols = missing_symbols(libraries, {version for names in missing.values() for version in names})
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "stand_in.c"), Path(scratch, "versions")
        source.write_text("".join(f"int {symbol}(void) {{ return 100; }}\n" for symbol in sorted(symbols)))
        for name, versions in missing.items():
            first, *others = sorted(versions) or [name]
            script.write_text(
                f"{first} {{ global: *; }};\n" + "".join(f"{other} {{ }};\n" for other in others)
            )
            options = ["-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{name}"]
            output_of("cc", *options, f"-Wl,--version-script={script}", source, "-o", folder / name)
    return sorted(missing)


def main(environment: Path) -> None:
    (metadata,) = environment.glob("lib/python3*/site-packages/torch-*.dist-info/METADATA")
    if not strike_requirements(metadata):
        print("cpu_torch: torch asks for no CUDA library")
        return
    names = put_stand_ins(metadata.parent.parent / "torch" / "lib")
    print(f"cpu_torch: torch's CPU part alone; stand-ins for {', '.join(names)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
