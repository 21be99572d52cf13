"""What it costs that the model runs in a process of its own: milliseconds a job, seconds to open the port, memory.

    .venv/bin/python benchmarks/server_worker.py

A fake model of a few microseconds, so that what is left is the way there and back. Writes '## Server: the worker'.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "server"), str(ROOT / "benchmarks")]

from chatpose_server.engine import Engine, ModelHost, Picture, PoseRequest  # noqa: E402
from chatpose_server.worker.answers import InProcess  # noqa: E402
from chatpose_server.worker.remote import Remote  # noqa: E402
from PIL import Image  # noqa: E402
from results import write_section  # noqa: E402

from tests.server.api.images import encode  # noqa: E402
from tests.server.fakes import FakeModel, unrefined  # noqa: E402
from tests.server.worker.conftest import SCRIPT  # noqa: E402

OPENING = """
import time; began = time.perf_counter()
import sys, chatpose_server.api.serve, chatpose_server.worker.remote
{more}
took = time.perf_counter() - began
import resource; print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def milliseconds(engine, request, times):
    engine.answer(request)
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        engine.answer(request)
        taken.append(1e3 * (time.perf_counter() - began))
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1]


def opening(more):
    code = OPENING.format(more=more)
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    return min(tuple(map(float, run.stdout.split())) for run in runs)


def main():
    unrefined()
    noise = Image.effect_noise((1600, 1200), 80).convert("RGB")
    picture = Picture.check(encode(noise, "JPEG", quality=92))
    requests = {
        "a pose from words": PoseRequest("kneel", refine=False),
        "16 candidates": PoseRequest("kneel", candidates=16, refine=False),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "worker_fake.py")
        script.write_text(textwrap.dedent(SCRIPT.format(root=str(ROOT))), encoding="utf-8")
        model = FakeModel(name="fake", keep=False, stands=True)
        here = InProcess(Engine(ModelHost(model.load, "fake")))
        began = time.perf_counter()
        there = Remote("fake", command=(sys.executable, str(script)))
        there.answer(requests["a pose from words"])
        start = time.perf_counter() - began
        for what, request in requests.items():
            (a, a95), (b, b95) = milliseconds(here, request, 300), milliseconds(there, request, 300)
            rows.append(f"| {what} | {a:.2f} ({a95:.2f}) | {b:.2f} ({b95:.2f}) | {b - a:+.2f} |")
        began = time.perf_counter()
        for _ in range(50):
            from chatpose_server.worker import frames

            frames.copied(picture)
        copy = 1e3 * (time.perf_counter() - began) / 50
        there.close()
    (slim, slim_mb), (fat, fat_mb) = opening(""), opening("import torch")
    body = [
        "`.venv/bin/python benchmarks/server_worker.py` (machine shared with other work)",
        "",
        "| milliseconds a job, median (95 %) | in the same process | in the worker | more |",
        "|---|---|---|---|",
        *rows,
        "",
        f"A JPEG of {len(picture.data) / 1e6:.1f} MB into and out of a message: {copy:.2f} ms."
        f" A worker without torch answers {start:.1f} s after it is asked for.",
        "",
        "| the process that answers HTTP | imports, s | memory, MB |",
        "|---|---|---|",
        f"| as it is | {slim:.2f} | {slim_mb:.0f} |",
        f"| with torch in it, as before | {fat:.2f} | {fat_mb:.0f} |",
    ]
    print("\n".join(body))
    write_section("Server: the worker", "\n".join(body))


if __name__ == "__main__":
    main()
