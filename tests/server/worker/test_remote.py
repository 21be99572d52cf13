"""The worker's life: it answers as this process would, and its death is one job's failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from chatpose_server.engine import Engine
from chatpose_server.faults import ChatPoseError
from chatpose_server.model_host import ModelHost
from chatpose_server.progress import Cancelled
from chatpose_server.tasks import PoseRequest
from chatpose_server.worker.answers import InProcess
from chatpose_server.worker.remote import Remote

from ..fakes import TEXT, FakeModel
from .conftest import until

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to die by")


def timeless(answer):
    data = json.loads(answer.body)
    del data["timings"]
    return data, dict(answer.usage)


def fault(raised):
    return raised.value.fault


# -- alive -------------------------------------------------------------------------------------------------------------
def test_the_same_answer_as_in_process(shared):
    request = PoseRequest("kneel", candidates=3, seed=5, refine=False)
    model = FakeModel(name="fake", stands=True)
    here = InProcess(Engine(ModelHost(model.load, "fake"))).answer(request)
    assert timeless(shared.answer(request)) == timeless(here)


def test_progress_and_words_cross(shared):
    stages, texts = [], []
    shared.answer(PoseRequest("kneel", refine=False), lambda stage, _: stages.append(stage), texts.append)
    assert {"Reading the words", "Thinking"} <= set(stages)
    assert texts and all(TEXT.startswith(text) for text in texts) and texts == sorted(texts, key=len)


def test_cancel_crosses_and_the_worker_lives(shared):
    pid = shared.vitals().pid

    def stop(stage, fraction):
        if stage == "Thinking":
            raise Cancelled

    with pytest.raises(Cancelled):
        shared.answer(PoseRequest("SLOW", refine=False), stop)
    assert shared.answer(PoseRequest("kneel", refine=False)).body and shared.vitals().pid == pid


@pytest.mark.parametrize(
    ("words", "code"),
    [("OOMALWAYS", "out_of_memory"), ("CRASH", "internal"), ("EXIT", "internal"), (" ", "prompt_empty")],
)
def test_errors_cross_with_their_code(shared, words, code):
    with pytest.raises(ChatPoseError) as raised:
        shared.answer(PoseRequest(words, refine=False))
    assert fault(raised).code == code and "secret" not in fault(raised).message
    assert shared.answer(PoseRequest("kneel", refine=False)).body


def test_what_memory_was_too_small_for_is_done_in_halves(shared):
    assert len(json.loads(shared.answer(PoseRequest("OOM", candidates=4, refine=False)).body)["poses"]) == 4


def test_what_is_loaded_is_known_here(shared):
    shared.answer(PoseRequest("kneel", refine=False))
    assert shared.models.status.state == "ready" and shared.models.model.name == "fake"
    assert shared.models.model.accepts_images is True


# -- dying -------------------------------------------------------------------------------------------------------------
@posix_only
@pytest.mark.parametrize(("words", "says"), [("SEGFAULT", "SIGSEGV"), ("KILLED", "ran out of memory")])
def test_a_death_fails_its_own_job_in_one_sentence_and_the_next_one_works(remote, words, says, caplog):
    remote.answer(PoseRequest("kneel", refine=False))
    first = remote.vitals().pid
    with pytest.raises(ChatPoseError) as raised:
        remote.answer(PoseRequest(words, refine=False))
    assert fault(raised).code == "worker_crashed" and says in fault(raised).message
    assert fault(raised).message.count(".") == 1 and "Send it again" in fault(raised).hint
    assert json.loads(remote.answer(PoseRequest("kneel", refine=False)).body)["poses"]
    assert remote.vitals().pid != first and remote.vitals().crashes == 1
    (line,) = [record for record in caplog.records if record.message == "worker died"]
    assert line.jobs == 1 and (words != "SEGFAULT" or any("Segmentation" in said for said in line.last_words))


class Asked(threading.Thread):
    """A request made in a thread of its own."""

    def __init__(self, remote, words):
        super().__init__(daemon=True)
        self.remote, self.request = remote, PoseRequest(words, refine=False)
        self.stages, self.answer, self.error, self.stop = [], None, None, False
        self.start()

    def run(self):
        try:
            self.answer = self.remote.answer(self.request, self.progress)
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def progress(self, stage, fraction):
        self.stages.append(stage)
        if self.stop:
            raise Cancelled


@posix_only
def test_of_two_jobs_under_which_a_worker_dies_only_the_guilty_one_fails(remote, tmp_path):
    gate = tmp_path / "gate"
    innocent = Asked(remote, f"UNTIL {gate}")
    until(lambda: "Thinking" in innocent.stages)
    guilty = Asked(remote, "SEGFAULT")
    until(lambda: "Waiting for the model" in guilty.stages)
    os.kill(remote.vitals().pid, signal.SIGKILL)  # nobody can tell yet which of them it died of
    gate.touch()
    innocent.join(120)
    guilty.join(120)
    assert innocent.answer is not None and innocent.error is None
    assert guilty.error.fault.code == "worker_crashed" and "SIGSEGV" in guilty.error.fault.message
    assert remote.answer(PoseRequest("kneel", refine=False)).body


@posix_only
def test_an_idle_worker_that_is_killed_is_back_with_its_model_before_anybody_asks(remote):
    remote.answer(PoseRequest("kneel", refine=False))
    first = remote.vitals().pid
    os.kill(first, signal.SIGKILL)
    until(lambda: remote.vitals().crashes == 1 and remote.models.status.state == "ready")
    assert remote.vitals().pid not in (None, first)


@posix_only
def test_one_that_dies_again_and_again_is_not_started_for_ever(remote):
    for crashes in range(1, 6):
        with pytest.raises(ChatPoseError):
            remote.answer(PoseRequest("KILLED", refine=False))
        assert remote.vitals().crashes == crashes
    assert remote.vitals().pid is None  # nobody starts it but the next request
    assert remote.answer(PoseRequest("kneel", refine=False)).body


def test_work_that_is_deaf_to_being_cancelled_is_killed_at_its_limit(script):
    remote = Remote("fake", command=(sys.executable, str(script)), limit_s=600)
    asked = Asked(remote, "DEAF")
    until(lambda: "Reading the words" in asked.stages)
    asked.stop = True
    remote._limit_s = 0.0
    deaf = Asked(remote, "kneel")  # its own limit is over at once: the worker is killed, and both end
    deaf.join(120)
    asked.join(120)
    assert isinstance(asked.error, Cancelled) and isinstance(deaf.error, Cancelled)
    remote._limit_s = 600
    assert remote.answer(PoseRequest("kneel", refine=False)).body
    remote.close()


# -- loading, unloading, ending ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "code"), [("dies while loading", "worker_crashed"), ("cannot be read", "internal")])
def test_a_model_that_cannot_be_loaded_is_an_error_with_a_reason(remote, name, code):
    remote.models.load(name)
    until(lambda: remote.models.status.state == "error")
    assert remote.models.status.fault.code == code and remote.models.status.fault.message.endswith(".")
    remote.models.load("fake")
    assert remote.answer(PoseRequest("kneel", refine=False)).body
    assert remote.models.status.name == "fake"


def test_a_load_is_given_up_for_another_one(remote):
    remote.models.load("takes for ever")
    until(lambda: remote.models.status.stage == "Loading weights")
    remote.models.load("fake")
    until(lambda: remote.models.status.state == "ready")
    assert remote.models.model.name == "fake"


def test_unloading_ends_the_process_and_the_next_request_brings_it_back(remote):
    remote.answer(PoseRequest("kneel", refine=False))
    pid = remote.vitals().pid
    remote.models.unload()
    assert (remote.models.status.state, remote.models.model, remote.vitals().pid) == ("empty", None, None)
    assert ended(pid) and remote.vitals().crashes == 0
    assert remote.answer(PoseRequest("kneel", refine=False)).body


def test_closing_ends_work_and_process(script):
    remote = Remote("fake", command=(sys.executable, str(script)))
    asked = Asked(remote, "SLOW")
    until(lambda: "Thinking" in asked.stages)
    pid = remote.vitals().pid
    remote.close()
    asked.join(60)
    assert ended(pid) and asked.error.fault.code == "shutting_down"
    with pytest.raises(ChatPoseError) as raised:
        remote.answer(PoseRequest("kneel", refine=False))
    assert fault(raised).code == "shutting_down"


def ended(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    "command",
    [
        ("/nothing/here",),
        (sys.executable, "-c", "raise SystemExit(3)"),
        (sys.executable, "-c", "print('Traceback (most recent call last):')"),
        (sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(8) + b'x' * 100_000)"),
    ],
)
def test_a_worker_that_cannot_be_had_is_one_sentence(command):
    remote = Remote("fake", command=command)
    with pytest.raises(ChatPoseError) as raised:
        remote.answer(PoseRequest("kneel", refine=False))
    assert fault(raised).code == "worker_crashed" and fault(raised).hint
    assert remote.models.status.state != "ready"
    remote.close()


def test_a_worker_whose_server_is_gone_ends(script):
    with subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdin.close()
        assert worker.wait(120) == 0


def test_what_answers_http_has_no_torch():
    """It stays small and opens at once, whatever happens to the model."""
    code = "import sys, chatpose_server.api.serve, chatpose_server.worker.remote; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
