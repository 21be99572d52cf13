"""Thousands of requests, right and wrong, made from our own OpenAPI document by schemathesis against a real process.

    .venv/bin/python benchmarks/server_schema.py [--requests 2000]

Every check of schemathesis is on (server errors, undocumented statuses, content types and bodies, ignored
authentication, ...). The model is faked. Exit status 0 when nothing was found. Needs ``schemathesis`` (tests extra).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "server")]

from tests.server.api.live import process  # noqa: E402

OPERATIONS = 14


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, process(folder, "--port", "0") as server:
        server.wait_ready()
        line = [Path(sys.executable).with_name("schemathesis"), "--config-file", ROOT / "tests/server/api/schema.toml"]
        line += ["run", f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {server.token}"]
        line += ["--max-examples", max(1, options.requests // OPERATIONS), "--phases", "examples,coverage,fuzzing"]
        line += ["--seed", options.seed, "--continue-on-failure", "--request-timeout", 60]
        done = subprocess.run([str(part) for part in line], cwd=folder, check=False)
        with server.client() as http:
            alive = http.get("/health").status_code == 200
    return done.returncode or int(not alive)


if __name__ == "__main__":
    sys.exit(main())
