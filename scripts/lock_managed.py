# SPDX-License-Identifier: GPL-3.0-or-later
"""Write requirements/managed/*.txt: what the add-on's own installer puts beside Blender, every file pinned by SHA-256.

    .venv/bin/python scripts/lock_managed.py

One resolution for Windows, macOS and Linux and for every Python that the installer takes; versions are those of
requirements/server.lock. The lists are installed with --no-deps --require-hashes, so they are the whole of it:

    server.txt       everything but torch
    torch-cpu.txt    torch without CUDA (on macOS the only one there is)
    torch-cuda.txt   torch for NVIDIA cards, with its libraries where it does not bring them along
    uv.txt           the tool that knows where PyTorch keeps the builds that the ordinary package index lacks

Needs a network. Nothing is installed here, but for uv in a temporary folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "requirements" / "managed"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("x86_64-manylinux_2_28", "windows", "aarch64-apple-darwin")
UV = "uv==0.13.9"
TORCH = "2.13.0"
GPU_ONLY = re.compile(r"torch|triton|nvidia-.+|cuda-.+")

# PyTorch's own builds are not in the ordinary package index, so their hashes are written down here, as PyTorch's
# index lists them. A file that is not listed is refused. (For CUDA on Windows with Python 3.11 no hash was at hand when
# this was written: there the CPU build is taken.)
CPU_BUILDS = {
    "cp311-manylinux_2_28_aarch64": "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
    "cp311-manylinux_2_28_x86_64": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    "cp311-win_amd64": "10717d8b3b67c45a4788bf7ffc0bab1ea1e5ebbedd24466be6100102d141fac1",
    "cp312-manylinux_2_28_aarch64": "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
    "cp312-manylinux_2_28_x86_64": "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
    "cp312-win_amd64": "a8b450c1e58e5800e5b4691dac412f8d2d65a1dc3298166f91596603a3531e6f",
    "cp313-manylinux_2_28_aarch64": "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",
    "cp313-manylinux_2_28_x86_64": "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
    "cp313-win_amd64": "a17ff48608634db245e17e8bb00a9558554a49aeb1e4f5fe6cd039af2a10515b",
}
WINDOWS_CUDA_BUILDS = {
    "cp312-win_amd64": "2efab1e83604ca628c6d85b9e188c153690980498d1297081a9dad704919303c",
    "cp313-win_amd64": "cf23236e9deed7d3510d14d9b9592d75d272ef7b35bbfee31a02bea339c73971",
}
CUDA_TAG = "cu130"


def wanted() -> list[str]:
    """What the server itself needs; none of the tools that check this project."""
    project = tomllib.loads((ROOT / "server" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [f"torch=={TORCH}" if line.startswith("torch>") else line for line in project["dependencies"]]


def compile_list(uv: Path, work: Path, requirements: list[str], *options: str) -> str:
    """uv's answer, as a requirements file with hashes."""
    asked, pins = work / "asked.in", work / "pins.txt"
    asked.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    lock = (ROOT / "requirements" / "server.lock").read_text(encoding="utf-8")
    pins.write_text(lock, encoding="utf-8")
    command = [str(uv), "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--only-binary", ":all:"]
    command += ["--constraint", str(pins), *options, str(asked)]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}  # the oldest that torch is built for
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def entries(text: str) -> dict[str, str]:
    """Package name -> its whole entry, hashes included."""
    parts = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    return {re.split(r"[=\s\[]", part, maxsplit=1)[0].lower(): part for part in parts if part.strip()}


def pinned(requirement: str, hashes: list[str]) -> str:
    """One entry in uv's form."""
    return " \\\n".join([requirement, *(f"    --hash=sha256:{digest}" for digest in hashes)]) + "\n"


def write(name: str, parts: list[str]) -> None:
    """One list."""
    LISTS.mkdir(exist_ok=True)
    head = "# Made by scripts/lock_managed.py.\n"
    (LISTS / name).write_text(head + "".join(parts), encoding="utf-8")
    print(f"requirements/managed/{name}: {len(parts)} packages")


def main() -> None:
    """Resolve, check that every platform and Python has its files, write the lists."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # The ordinary client gets uv, as it does for artists.
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", str(work / "uv"), UV], check=True)
        uv = work / "uv" / "bin" / "uv"
        universal = ("--universal", "--generate-hashes", "--python-version", PYTHONS[0])
        found = entries(compile_list(uv, work, wanted(), *universal))
        for platform in PLATFORMS:
            for python in PYTHONS:
                compile_list(uv, work, wanted(), "--python-platform", platform, "--python-version", python)
        tool = compile_list(uv, work, [UV], *universal)
    server = [entry for name, entry in found.items() if not GPU_ONLY.fullmatch(name)]
    libraries = [entry for name, entry in found.items() if GPU_ONLY.fullmatch(name) and name != "torch"]
    ordinary = re.findall(r"sha256:([0-9a-f]{64})", found["torch"])
    other = "sys_platform != 'darwin'"
    write("server.txt", server)
    write(
        "torch-cpu.txt",
        [
            pinned(f"torch=={TORCH}+cpu ; {other}", list(CPU_BUILDS.values())),
            pinned(f"torch=={TORCH} ; sys_platform == 'darwin'", ordinary),
        ],
    )
    write(
        "torch-cuda.txt",
        [
            *libraries,
            pinned(f"torch=={TORCH} ; sys_platform == 'linux'", ordinary),
            pinned(f"torch=={TORCH}+{CUDA_TAG} ; sys_platform == 'win32'", list(WINDOWS_CUDA_BUILDS.values())),
        ],
    )
    write("uv.txt", [tool])


if __name__ == "__main__":
    main()
