"""What it costs that the model runs in a process of its own: milliseconds a job, seconds to open the port, memory.

    .venv/bin/python benchmarks/server_worker.py

A fake model of a few microseconds, so that what is left is the way there and back. Writes '## Server: the worker'.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "server"), str(ROOT / "benchmarks")]

from _results import write_section  # noqa: E402
from chatpose_server.engine import Engine  # noqa: E402
from chatpose_server.model_host import ModelHost  # noqa: E402
from chatpose_server.picture import Picture  # noqa: E402
from chatpose_server.tasks import PoseRequest  # noqa: E402
from chatpose_server.worker.answers import InProcess  # noqa: E402
from chatpose_server.worker.remote import Remote  # noqa: E402
from PIL import Image  # noqa: E402

from tests.server.api.images import encode  # noqa: E402
from tests.server.fakes import FakeModel, unrefined  # noqa: E402
from tests.server.worker.conftest import SCRIPT  # noqa: E402

OPENING = """
import time; began = time.process_time()
import sys, chatpose_server.api.serve, chatpose_server.worker.remote
{more}
took = time.process_time() - began
import resource; print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def cpu_seconds(pid):
    """Of another process, so far."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def milliseconds(engine, request, times):
    """Per job: the median's, the 95th percentile's, and the CPU time of both processes together."""
    engine.answer(request)
    taken, pid = [], engine.vitals().pid
    cpu = time.process_time() + cpu_seconds(pid)
    for _ in range(times):
        began = time.perf_counter()
        engine.answer(request)
        taken.append(1e3 * (time.perf_counter() - began))
    cpu = 1e3 * (time.process_time() + cpu_seconds(pid) - cpu) / times
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1], cpu


def opening(more):
    code = OPENING.format(more=more)
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(1)]
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
            (a, a95, a_cpu), (b, b95, b_cpu) = milliseconds(here, request, 200), milliseconds(there, request, 200)
            rows.append(f"| {what} | {a:.2f} ({a95:.2f}) | {b:.2f} ({b95:.2f}) | {a_cpu:.2f} | {b_cpu:.2f} |")
        began = time.perf_counter()
        for _ in range(50):
            from chatpose_server.worker import frames

            frames.copied(picture)
        copy = 1e3 * (time.perf_counter() - began) / 50
        there.close()
    (slim, slim_mb), (fat, fat_mb) = opening(""), opening("import torch")
    body = [
        f"`.venv/bin/python benchmarks/server_worker.py`; {os.getloadavg()[0]:.0f} processes wanted the machine's"
        f" {os.cpu_count()} cores: the times are mostly waiting, the CPU is what the work takes.",
        "",
        "| milliseconds a job, median (95 %) | in one process | with the worker | CPU, one process | CPU, both |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"A JPEG of {len(picture.data) / 1e6:.1f} MB into and out of a message: {copy:.2f} ms."
        f" A worker without torch answers {start:.1f} s after it is asked for.",
        "",
        "| the process that answers HTTP | to import, s of CPU | memory, MB |",
        "|---|---|---|",
        f"| as it is | {slim:.2f} | {slim_mb:.0f} |",
        f"| with torch in it, as before | {fat:.2f} | {fat_mb:.0f} |",
    ]
    print("\n".join(body))
    write_section("Server: the worker", "\n".join(body))


if __name__ == "__main__":
    main()
