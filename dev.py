#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a developer of ChatPose does, from an empty clone on.

    python3 dev.py demo                  six poses from words, in Blender, and a contact sheet of them
    python3 dev.py demo "a deep squat"   one pose: demo/<prompt>.blend and .png
    python3 dev.py serve [OPTION ...]    the server, for an add-on in an open Blender
    python3 dev.py test [PART ...]       every check, or some: lint, server, addon, gui
    python3 dev.py bench [NAME ...]      the scripts in benchmarks/
    python3 dev.py addon                 the add-on's zip, in dist/
    python3 dev.py lint                  ruff and pyright alone

Standard library only, Python 3.8 or newer. What a command needs (environments, weights) it makes first, once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import build_addon
from scripts import checks, demo, environments, wheels

ROOT = Path(__file__).resolve().parent


def serve(options: list[str]) -> int:
    """Run the server in the foreground until it is interrupted."""
    python = environments.ensure(environments.server())
    return subprocess.call([str(python), "-m", "chatpose_server", "serve", *options], cwd=str(ROOT))


def bench(names: list[str]) -> int:
    """Run the benchmarks called `names`, or all of them, one after the other."""
    python = environments.ensure(environments.server())
    there = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("[a-z]*.py"))}
    unknown = [name for name in names if name not in there]
    if unknown:
        raise environments.DevError(f"There is no benchmark called {unknown[0]}. There are: {', '.join(there)}")
    worst = 0
    for name in names or there:
        print(f"\n== {name} ==", flush=True)
        worst = max(worst, abs(subprocess.call([str(python), str(there[name])], cwd=str(ROOT))))
    return worst


def addon() -> int:
    """Build the add-on's zip, with the server's wheel in it, and print its path."""
    python = environments.ensure(environments.server())
    with tempfile.TemporaryDirectory() as folder:
        print(build_addon.build(ROOT / "dist", wheels.build_server(python, Path(folder))))
    return 0


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 0, 1 for a failed check, 2 for something that the person must mend."""
    parser = argparse.ArgumentParser(prog="dev.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("demo").add_argument("prompt", nargs="?", help="what the body shall do (default: six prompts)")
    commands.add_parser("serve", add_help=False)
    commands.add_parser("test").add_argument("part", nargs="*", help=", ".join(checks.PARTS))
    commands.add_parser("bench").add_argument("name", nargs="*", help="a script in benchmarks/")
    commands.add_parser("addon")
    commands.add_parser("lint")
    asked, rest = parser.parse_known_args(arguments)
    if rest and asked.command != "serve":
        parser.error(f"unknown option {rest[0]}")
    try:
        if asked.command == "demo":
            return demo.run(asked.prompt)
        if asked.command == "serve":
            return serve(rest)
        if asked.command == "test":
            return checks.run(asked.part)
        if asked.command == "bench":
            return bench(asked.name)
        if asked.command == "addon":
            return addon()
        return checks.run(["lint"])
    except environments.DevError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    if sys.version_info < (3, 8):  # noqa: UP036  (ruff takes the promise for the fact)
        sys.exit("dev.py needs Python 3.8 or newer: run it with a newer python3.")
    sys.exit(main(sys.argv[1:]))
