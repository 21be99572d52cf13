"""Every code of the table is answered by something real; none is answered that the table lacks."""

from __future__ import annotations

import threading

import pytest
from chatpose_server import faults
from chatpose_server.faults import CODES, ChatPoseError, explain
from chatpose_server.jobs import Limits

from ..fakes import FakeModel
from .conftest import serving


def pose(**changes):
    return {"prompt": "kneel", "current": {"joints": {"pelvis": [1, 0, 0, 0]}} | changes}


ASSISTANT_LAST = {"messages": [{"role": "assistant", "content": "x"}]}

TABLE = [
    # method, path, body, expected status, code, param
    ("POST", "/v1/poses", {}, 422, "prompt_empty", "prompt"),
    ("POST", "/v1/poses", {"prompt": "  \n"}, 422, "prompt_empty", "prompt"),
    ("POST", "/v1/poses", {"prompt": 5}, 422, "invalid_request", "prompt"),
    ("POST", "/v1/poses", {"promt": "kneel"}, 422, "invalid_request", "promt"),
    ("POST", "/v1/poses", {"prompt": "kneel", "candidates": 0}, 422, "invalid_request", "candidates"),
    ("POST", "/v1/poses", {"prompt": "kneel", "candidates": 17}, 422, "invalid_request", "candidates"),
    ("POST", "/v1/poses", {"prompt": "kneel", "candidates": "3"}, 422, "invalid_request", "candidates"),
    ("POST", "/v1/poses", {"prompt": "kneel", "candidates": True}, 422, "invalid_request", "candidates"),
    ("POST", "/v1/poses", {"prompt": "kneel", "seed": -1}, 422, "invalid_request", "seed"),
    ("POST", "/v1/poses", {"prompt": "kneel", "seed": 2**40}, 422, "invalid_request", "seed"),
    ("POST", "/v1/poses", {"prompt": "\ud800"}, 422, "invalid_request", "prompt"),
    ("POST", "/v1/poses", pose(joints={"Tail": [1, 0, 0, 0]}), 422, "invalid_pose", "current"),
    ("POST", "/v1/poses", pose(joints={"neck": [0, 0, 0, 0]}), 422, "invalid_pose", "current"),
    ("POST", "/v1/poses", pose(joints={"neck": [1, 0]}), 422, "invalid_request", "current.joints.neck"),
    ("POST", "/v1/poses", pose(format="bvh"), 422, "invalid_request", "current.format"),
    ("POST", "/v1/poses", {"image": "http://169.254.169.254/secret.png"}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": "file:///etc/passwd"}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": "/etc/passwd"}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": "C:\\Users\\me\\a.png"}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": "data:image/svg+xml;base64,AAAA"}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": "not base64!"}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": ""}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": "/9j/4AAQSkZJRgABAQAAAQABAAD"}, 422, "invalid_image", "image"),
    ("POST", "/v1/poses", {"image": "AAAA", "prior": "both"}, 422, "invalid_request", "prior"),
    ("POST", "/v1/poses", {"image": "AAAA", "prior": "smplify"}, 422, "invalid_request", "prior"),
    ("POST", "/v1/poses", {"prompt": "OOMALWAYS"}, 503, "out_of_memory", None),
    ("POST", "/v1/poses", {"prompt": "CRASH"}, 500, "internal", None),
    ("POST", "/v1/poses", {"prompt": "EXIT"}, 500, "internal", None),
    ("POST", "/v1/jobs", {"prompt": "kneel"}, 422, "invalid_request", "task"),
    ("POST", "/v1/jobs", {"task": "fly"}, 422, "invalid_request", "task"),
    ("GET", "/v1/jobs/nothing", None, 404, "job_not_found", None),
    ("DELETE", "/v1/jobs/nothing", None, 404, "job_not_found", None),
    ("GET", "/v1/jobs/nothing/events", None, 404, "job_not_found", None),
    ("GET", "/v1/jobs/nothing?wait=-1", None, 422, "invalid_request", "wait"),
    ("GET", "/v1/jobs/nothing?wait=nan", None, 422, "invalid_request", "wait"),
    ("GET", "/v1/jobs/nothing?wait=1e9", None, 422, "invalid_request", "wait"),
    ("POST", "/v1/models/load", {"model": "../../etc/passwd"}, 404, "model_not_found", "model"),
    ("POST", "/v1/models/load", {"model": "/models/evil.safetensors"}, 404, "model_not_found", "model"),
    ("POST", "/v1/models/load", {"model": "chatpose-small", "quantize": "2bit"}, 422, "invalid_request", "quantize"),
    ("POST", "/v1/clients/heartbeat", {}, 422, "invalid_request", "client"),
    ("POST", "/v1/clients/heartbeat", {"client": "x" * 65}, 422, "invalid_request", "client"),
    ("POST", "/v1/chat/completions", {"messages": []}, 422, "invalid_request", "messages"),
    ("POST", "/v1/chat/completions", ASSISTANT_LAST, 422, "invalid_request", "messages.0.role"),
    ("GET", "/nothing", None, 404, "not_found", None),
    ("GET", "/docs", None, 404, "not_found", None),
    ("PUT", "/v1/poses", {}, 405, "method_not_allowed", None),
    ("GET", "/v1/poses", None, 405, "method_not_allowed", None),
    ("DELETE", "/health", None, 405, "method_not_allowed", None),
]  # fmt: skip


def check(answer, status, code, param=None):
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "hint", "param"}
    assert (answer.status_code, error["code"]) == (status, code), error
    assert CODES[code].status == status
    assert param is None or error["param"] == param
    assert error["message"].lstrip("'")[0].isupper() and error["message"].endswith(".") and "\n" not in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "param"), TABLE)
def test_table(shared, method, path, body, status, code, param):
    import json

    kwargs = {} if body is None else {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    check(shared.http.request(method, path, **kwargs), status, code, param)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("PATCH", "/v1/jobs/x", "DELETE, GET"), ("PUT", "/v1/poses", "POST"), ("POST", "/health", "GET")],
)
def test_a_wrong_method_is_told_the_right_ones(shared, method, path, allow):
    answer = shared.http.request(method, path, json={})
    check(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_internal_tells_a_log_id_and_nothing_else(shared, caplog):
    answer = shared.http.post("/v1/poses", json={"prompt": "CRASH"})
    assert "secret" not in answer.text and "ZeroDivision" not in answer.text
    log_id = caplog.records[-1].log_id
    assert log_id in answer.json()["error"]["message"]
    assert "secret details" in str(caplog.records[-1].exc_info[1])


def test_the_model_works_on_after_every_mishap(shared):
    for prompt in ("CRASH", "OOMALWAYS", "EXIT"):
        assert shared.http.post("/v1/poses", json={"prompt": prompt}).status_code >= 500
        assert shared.http.post("/v1/poses", json={"prompt": "kneel"}).status_code == 200


def test_out_of_memory_is_answered_with_smaller_batches(shared):
    answer = shared.http.post("/v1/poses", json={"prompt": "OOM", "candidates": 5})
    assert answer.status_code == 200 and len(answer.json()["poses"]) == 5


def test_queue_full_and_retry_after():
    with serving(Limits(waiting=2, per_client=99)) as served:
        jobs = [served.job(prompt="SLOW") for _ in range(2)]
        while served.jobs.stats().running == 0:
            pass
        jobs.append(served.job(prompt="SLOW"))
        for path, body in (("/v1/jobs", {"task": "pose", "prompt": "x"}), ("/v1/poses", {"prompt": "x"})):
            answer = served.http.post(path, json=body)
            check(answer, 429, "queue_full")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        for job in jobs:
            served.http.delete(f"/v1/jobs/{job['id']}")


def test_one_clients_share():
    with serving(Limits(per_client=1)) as served:
        job = served.job(prompt="SLOW")
        check(served.http.post("/v1/poses", json={"prompt": "x"}), 429, "client_queue_full")
        other = served.http.post("/v1/jobs", json={"task": "pose", "prompt": "x"}, headers={"X-ChatPose-Client": "b"})
        assert other.status_code == 202
        served.http.delete(f"/v1/jobs/{job['id']}")


def test_time_limit():
    with serving(Limits(run_s=0.2)) as served:
        check(served.http.post("/v1/poses", json={"prompt": "SLOW"}), 504, "timeout")
        assert served.http.post("/v1/poses", json={"prompt": "kneel"}).status_code == 200


def test_cancelled_by_somebody_else():
    with serving() as served:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(served.http.post("/v1/poses", json={"prompt": "SLOW"})))
        thread.start()
        while not (running := [j.id for j in served.jobs._jobs.values() if j.state == "running"]):
            pass
        served.http.delete(f"/v1/jobs/{running[0]}")
        thread.join()
        check(answers[0], 409, "cancelled")


def test_shutting_down():
    with serving() as served:
        served.jobs.begin_closing()
        check(served.http.post("/v1/poses", json={"prompt": "kneel"}), 503, "shutting_down")


def test_a_picture_without_people():
    from .images import png

    with serving(model=FakeModel(accepts_images=False)) as served:
        check(served.http.post("/v1/poses", json={"image": png()}), 422, "no_person")


def test_a_picture_where_nothing_can_look(monkeypatch):
    from chatpose_server.vision import blazepose, networks

    from .images import as_url, encode, picture

    def missing(name):
        raise networks.VisionError("Pictures need the package 'ai-edge-litert', which is not installed.")

    monkeypatch.setattr(blazepose, "load", missing)
    with serving(model=FakeModel(accepts_images=False)) as served:
        unseen = as_url(encode(picture(9, 7)))  # who is in a picture that was looked at is remembered
        check(served.http.post("/v1/poses", json={"image": unseen}), 422, "image_not_supported")


def test_a_model_that_cannot_be_loaded():
    with serving(load=False) as served:

        def broken(name, quantize, progress):
            from chatpose_server.models.store import StoreError

            raise StoreError("The weights could not be downloaded. Check the network connection and try again.")

        served.host._loader = broken
        check(served.http.post("/v1/poses", json={"prompt": "kneel"}), 503, "model_failed")
        assert served.http.get("/health").status_code == 503
        assert served.http.get("/health").json()["status"] == "error"
        assert "downloaded" in served.http.get("/v1/capabilities").json()["model_status"]["error"]["message"]
        served.host._loader = lambda name, quantize, progress: served.model
        assert served.http.post("/v1/poses", json={"prompt": "kneel"}).status_code == 200


def test_no_model_chosen():
    with serving(load=False) as served:
        served.host._status = type(served.host._status)("empty", None)
        check(served.http.post("/v1/poses", json={"prompt": "kneel"}), 503, "no_model")


class RoomError(ValueError):
    pass


RoomError.__module__ = "chatpose_server.some.room"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ChatPoseError("queue_full", "Full."), "queue_full"),
        (RoomError("The sentence."), "invalid_request"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory."), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (ValueError("not ours"), "internal"),
        (RecursionError(), "internal"),
    ],
)
def test_explain(error, code):
    fault = explain(error)
    assert fault.code == code and fault.code in CODES
    assert code != "internal" or str(error) not in fault.message or not str(error)


def test_the_table_is_whole():
    assert all(400 <= c.status < 600 and c.meaning.endswith(".") for c in CODES.values())
    assert faults.Fault("internal", "x").to_json().keys() == {"code", "message", "hint", "param"}
