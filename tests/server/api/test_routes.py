"""Every route, in process: what the contract says it takes and gives."""

from __future__ import annotations

import json

import pytest
from chatpose_server.pose import Pose
from chatpose_server.skeleton import JOINTS

from ..fakes import TEXT
from .conftest import serving


def test_health_needs_no_token_and_tells_nothing(served):
    answer = served.http.get("/health", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert set(answer.json()) == {"service", "status", "api", "version"}
    assert answer.json()["service"] == "chatpose"
    assert answer.json()["status"] == "ready"


def test_poses_answers_when_done(served):
    answer = served.http.post("/v1/poses", json={"prompt": "a person kneeling", "candidates": 3, "seed": 5})
    body = answer.json()
    assert answer.status_code == 200
    assert body["text"] == TEXT and body["model"] == "fake" and body["seed"] == 5
    assert len(body["poses"]) == 3
    pose = Pose.from_json(body["poses"][0])
    assert set(pose.joints) == {"pelvis", "left_knee"}
    assert pose.transl is not None and pose.transl[1] == pytest.approx(1.3, abs=0.4)  # stands on the ground
    assert body["timings"]["total"] > 0


def test_a_pose_is_a_pure_function_of_the_request(served):
    body = {"prompt": "sit", "candidates": 2, "seed": 9}
    first, second = (served.http.post("/v1/poses", json=body).json() for _ in range(2))
    assert first["poses"] == second["poses"]


def test_job_goes_from_queued_to_done(served):
    job = served.job(candidates=2)
    assert (job["state"], job["position"]) == ("queued", 1)
    over = served.over(job["id"])
    assert (over["state"], over["fraction"], over["error"]) == ("done", 1.0, None)
    assert len(over["result"]["poses"]) == 2
    assert served.http.get(f"/v1/jobs/{job['id']}").json() == over


def test_job_reports_progress_and_position(served):
    first, second = served.job(prompt="SLOW"), served.job(prompt="SLOW too")
    while served.jobs.stats().running == 0:
        pass
    waiting = served.http.get(f"/v1/jobs/{second['id']}").json()
    assert (waiting["state"], waiting["position"]) == ("queued", 1)
    seen = served.http.get(f"/v1/jobs/{first['id']}", params={"wait": 0.2}).json()
    assert seen["state"] == "running" and 0 < seen["fraction"] < 1 and seen["stage"] == "Thinking"
    for job in (first, second):
        served.http.delete(f"/v1/jobs/{job['id']}")
    assert [served.over(j["id"])["state"] for j in (first, second)] == ["cancelled", "cancelled"]


def test_events_tell_the_text_as_it_grows_and_end_with_the_result(served):
    job = served.job()
    with served.http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    fractions = [e["fraction"] for e in events]
    assert fractions == sorted(fractions)
    assert events[-1]["state"] == "done" and events[-1]["result"]["poses"]


def test_idempotency_key_gives_the_same_job(served):
    def post(body, key):
        return served.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})

    body = {"task": "pose", "prompt": "kneel"}
    first, again, other_key = post(body, "a"), post(body, "a"), post(body, "b")
    assert first.json()["id"] == again.json()["id"] != other_key.json()["id"]
    clash = post(body | {"seed": 1}, "a")
    assert (clash.status_code, clash.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_capabilities(served):
    body = served.http.get("/v1/capabilities").json()
    assert body["skeleton"]["joints"] == list(JOINTS)
    assert body["tasks"]["pose"] is True
    assert body["model"]["name"] == "fake" and body["model"]["licence"]
    assert body["limits"]["prompt_chars"] == 8000
    assert body["picture_priors"] == ["vposer", "posendf"]


def test_models_in_openai_shape(served):
    body = served.http.get("/v1/models").json()
    assert body["object"] == "list"
    assert {"id", "object", "created", "owned_by", "loaded", "device", "dtype"} <= set(body["data"][0])
    assert [m["id"] for m in body["data"] if m["loaded"]] == ["fake"]


def test_unload_then_a_request_loads_again(served):
    assert served.http.post("/v1/models/unload", json={}).json()["status"] == "unloaded"
    assert served.model.unloaded
    assert served.host.status.state == "empty"
    assert served.http.post("/v1/poses", json={"prompt": "kneel"}).status_code == 200


def test_load_answers_with_events(served):
    with served.http.stream("POST", "/v1/models/load", json={"model": "chatpose-small"}) as stream:
        events = [line[7:] for line in stream.iter_lines() if line.startswith("event: ")]
    assert events[-1] == "ready"


def test_heartbeat_counts_clients():
    with serving(alone_s=60) as served:

        def beat(**body):
            return served.http.post("/v1/clients/heartbeat", json=body).json()

        assert beat(client="a") == {"clients": 1, "alone_s": 60}
        assert beat(client="b")["clients"] == 2
        assert beat(client="a", leaving=True)["clients"] == 1


def test_metrics(served):
    served.http.post("/v1/poses", json={"prompt": "kneel"})
    served.http.get("/nothing")
    text = served.http.get("/metrics").text
    assert 'chatpose_jobs_finished_total{task="pose",state="done"} 1' in text
    assert 'chatpose_http_answers_total{status="404"} 1' in text
    assert "chatpose_model_ready 1" in text
    assert served.http.get("/metrics", headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize("asked", [False, True])
def test_prompts_are_in_the_log_only_when_asked_for(served, caplog, asked):
    caplog.set_level("INFO")
    served.service.log_prompts = asked
    served.http.post("/v1/poses", json={"prompt": "a secret pose"})
    chat = {"messages": [{"role": "user", "content": "a secret chat"}]}
    served.http.post("/v1/chat/completions", json=chat)
    logged = [getattr(record, "prompt", "") for record in caplog.records if record.name.startswith("chatpose")]
    assert ("a secret pose" in logged) is asked and ("a secret chat" in logged) is asked
    assert [record for record in caplog.records if getattr(record, "state", "") == "done"]
