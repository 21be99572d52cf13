"""10,000 requests over 16 connections, with random cancels and disconnects: is any lost, doubled or mixed up?

    .venv/bin/python benchmarks/server_load.py [--requests 10000] [--connections 16]

A real server process with a fake model behind it (what is measured is the server, not a model) is asked for poses and
jobs; some jobs are cancelled, some clients hang up in the middle, some send a request twice with one Idempotency-Key.
Every answer is compared with the one that its own prompt and seed must give. Writes '## Server under load'.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "server"), str(ROOT / "benchmarks")]

from _results import write_section  # noqa: E402
from chatpose_server.language.base import LanguageRequest  # noqa: E402

from tests.server.api.live import process  # noqa: E402
from tests.server.fakes import FakeModel  # noqa: E402

MEMORY = "chatpose_process_resident_bytes"
STEP_S = 0.02  # of the slow work: about a token of a real model


class Client(threading.Thread):
    """One connection, and what happened on it."""

    def __init__(self, server, number, count, end):
        super().__init__()
        self.server, self.number, self.count, self.end = server, number, count, end
        self.random = random.Random(number)
        self.outcomes = Counter()
        self.times = []
        self.jobs = {}  # id -> how it ended
        self.mistakes = []
        self.model = FakeModel(keep=False, stands=True)
        self.connection = None

    def send(self, method, path, body=None, **headers):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.server.token}", "X-ChatPose-Client": str(self.number)} | headers
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        self.connection.request(method, path, data, headers)

    def ask(self, method, path, body=None, **headers):
        self.send(method, path, body, **headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.will_close:
            self.hang_up()
        return answer.status, json.loads(data)

    def hang_up(self):
        self.connection.close()
        self.connection = None

    def right(self, result, body):
        made = self.model.answer(LanguageRequest(body["prompt"], candidates=body["candidates"], seed=body["seed"]))
        if result["poses"] != [p.to_json() for p in made.poses] or result["seed"] != body["seed"]:
            self.mistakes.append((body, result))

    def run(self):
        for i in range(self.count):
            if time.monotonic() > self.end:
                return
            try:
                self.one(i)
            except Exception as error:  # noqa: BLE001 - counted, and the run fails by it
                self.outcomes["broken"] += 1
                self.mistakes.append(repr(error))
                self.connection = None

    def one(self, i):
        seed = self.number * 1_000_000 + i
        body = {"prompt": "pose " + "x" * self.random.randrange(60), "seed": seed, "refine": False,
                "candidates": self.random.randrange(1, 4)}  # fmt: skip
        kind = self.random.random()
        start = time.perf_counter()
        if kind < 0.5:
            status, answer = self.ask("POST", "/v1/poses", body)
            self.times.append(time.perf_counter() - start)
            self.outcomes[f"poses {status}"] += 1
            if status == 200:
                self.right(answer, body)
        elif kind < 0.6:
            self.send("POST", "/v1/poses", body | {"prompt": "SLOW"})
            time.sleep(self.random.random() * 0.02)
            self.hang_up()
            self.outcomes["hung up"] += 1
        else:
            self.job(kind, body, f"{seed}")

    def job(self, kind, body, key):
        cancel = kind > 0.9
        if cancel:
            body["prompt"] = "SLOW" if kind > 0.95 else body["prompt"]
        status, job = self.ask("POST", "/v1/jobs", body | {"task": "pose"}, **{"Idempotency-Key": key})
        if kind < 0.65 and status == 202:
            _, again = self.ask("POST", "/v1/jobs", body | {"task": "pose"}, **{"Idempotency-Key": key})
            self.outcomes["sent twice"] += 1
            if again["id"] != job["id"]:
                self.mistakes.append(("doubled", job["id"], again["id"]))
        self.outcomes[f"jobs {status}"] += 1
        if status != 202:
            return
        if cancel:
            self.ask("DELETE", f"/v1/jobs/{job['id']}")
        while job["state"] in ("queued", "running"):
            _, job = self.ask("GET", f"/v1/jobs/{job['id']}?wait=30")
        self.jobs[job["id"]] = job["state"]
        self.outcomes[f"job {job['state']}"] += 1
        if job["state"] == "done":
            self.right(job["result"], body)
        elif not cancel:
            self.mistakes.append(("not done", job))


def metrics(server):
    with server.client() as http_client:
        text = http_client.get("/metrics").text
    return {name + labels: float(value) for name, labels, value in re.findall(r"^(\w+)(\{.*\})? (\S+)$", text, re.M)}


def fire(server, count, connections, first, minutes):
    end = time.monotonic() + 60 * minutes
    clients = [Client(server, first + n, count // connections, end) for n in range(connections)]
    start = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return clients, time.perf_counter() - start


def settle(server):
    while (now := metrics(server))["chatpose_jobs_waiting"] or now["chatpose_jobs_running"]:
        time.sleep(0.1)
    return now


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--warm", type=int, default=1500, help="requests before memory is first read")
    parser.add_argument("--minutes", type=float, default=60, help="stop asking after this long, on a busy machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, process(folder, "--port", "0", step_s=STEP_S) as server:
        server.wait_ready()
        fire(server, options.warm, options.connections, 1000, options.minutes)
        before = settle(server)
        clients, seconds = fire(server, options.requests, options.connections, 0, options.minutes)
        after = settle(server)
    body = "\n".join(report(options, clients, seconds, before, after))
    print(body)
    write_section("Server under load", body)


def report(options, clients, seconds, before, after):
    outcomes = sum((c.outcomes for c in clients), Counter())
    mistakes = [m for c in clients for m in c.mistakes]
    ids = [job for c in clients for job in c.jobs]
    submitted = after["chatpose_jobs_submitted_total"] - before["chatpose_jobs_submitted_total"]
    ended = sum(after[k] - before.get(k, 0) for k in after if k.startswith("chatpose_jobs_finished_total"))
    growth = after[MEMORY] / before[MEMORY] - 1
    times = sorted(t for c in clients for t in c.times)
    assert not mistakes, mistakes[:5]
    assert submitted == ended, (submitted, ended)
    assert len(ids) == len(set(ids))
    assert growth < 0.05, growth
    total = sum(n for k, n in outcomes.items() if not k.startswith("job "))
    return [
        f"`benchmarks/server_load.py`: {total:,} requests (a job and its polls count once) over {options.connections}"
        f" connections in {seconds:.0f} s, model faked, machine shared with other work.",
        "",
        "| what | measured |",
        "|---|---|",
        *(f"| {name} | {n:,} |" for name, n in sorted(outcomes.items())),
        f"| jobs taken on / jobs ended | {submitted:,.0f} / {ended:,.0f} |",
        f"| answers that were another request's, doubled or lost | {len(mistakes)} |",
        f"| memory of the server after {options.warm:,} requests / at the end |"
        f" {before[MEMORY] / 1e6:.0f} MB / {after[MEMORY] / 1e6:.0f} MB ({growth:+.1%}) |",
        f"| `POST /v1/poses`, all connections busy, median / 95 % | {1e3 * times[len(times) // 2]:.0f} ms /"
        f" {1e3 * times[int(0.95 * len(times))]:.0f} ms |",
    ]


if __name__ == "__main__":
    main()
