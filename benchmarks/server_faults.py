"""Does to a real server what can go wrong with one, and writes down what the person at the keyboard saw.

    .venv/bin/python benchmarks/server_faults.py

The faults and their checks are ``tests/server/api/faults.py``, which the tests run as well. Writes '## Server: faults'.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "server"), str(ROOT / "benchmarks")]

from _results import write_section  # noqa: E402

from tests.server.api.faults import FAULTS, row  # noqa: E402
from tests.server.fakes import unrefined  # noqa: E402


def main():
    unrefined()
    rows = []
    for title, do in FAULTS.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(title, do(Path(folder))))
        print(rows[-1], flush=True)
    head = "`.venv/bin/python benchmarks/server_faults.py`: each fault done to a server with a fake model behind it."
    write_section(
        "Server: faults", "\n".join([head, "", "| fault | what was seen | what was lost |", "|---|---|---|", *rows])
    )


if __name__ == "__main__":
    main()
