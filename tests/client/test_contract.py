"""What is read from the wire is checked; what is written keeps the contract."""

from __future__ import annotations

import math

import pytest

from chatpose_blender.client.contract import (
    PRIORS,
    Capabilities,
    CompleteRequest,
    ContractError,
    DenoiseRequest,
    DescribeRequest,
    IkRequest,
    InterpolateRequest,
    JobStatus,
    Pose,
    PoseRequest,
    ProjectRequest,
    Result,
    SampleRequest,
    Turn,
)

REST = Pose({"pelvis": (1.0, 0.0, 0.0, 0.0)})


def test_pose_round_trip():
    pose = Pose({"head": (0.6, 0.8, 0.0, 0.0)}, (0.0, 1.0, 2.0), (0.5,), 0.25)
    assert Pose.from_json(pose.to_json()) == pose


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"joints": []},
        {"joints": {"head": [1, 0, 0]}},
        {"joints": {"head": [1, 0, 0, "0"]}},
        {"joints": {"head": [0, 0, 0, 0]}},
        {"joints": {"head": [1, 0, 0, math.nan]}},
        {"joints": {"head": [1, 0, 0, True]}},
        {"joints": {}, "transl": [1, 2]},
        {"joints": {}, "transl": [1, 2, 1e9]},
        {"joints": {}, "format": "bvh"},
    ],
)
def test_poses_that_are_none(data):
    with pytest.raises(ContractError):
        Pose.from_json(data)


def test_rounding_is_taken_for_a_unit_quaternion():
    quat = Pose.from_json({"joints": {"head": [0.71, 0.71, 0, 0]}}).joints["head"]
    assert math.isclose(sum(c * c for c in quat), 1.0)


REQUESTS = [
    (PoseRequest("sit"), {"task": "pose", "prompt": "sit", "candidates": 1, "seed": 0}),
    (
        PoseRequest("more", (Turn("user", "sit"), Turn("assistant", "ok", (REST,))), None, REST, 4, 7),
        {
            "task": "pose",
            "prompt": "more",
            "candidates": 4,
            "seed": 7,
            "messages": [
                {"role": "user", "content": "sit"},
                {"role": "assistant", "content": "ok", "poses": [REST.to_json()]},
            ],
            "current": REST.to_json(),
        },
    ),
    (DescribeRequest(REST), {"task": "describe", "pose": REST.to_json()}),
    (SampleRequest(3), {"task": "sample", "count": 3, "seed": 0}),
    (
        SampleRequest(3, 1, REST, 0.5),
        {"task": "sample", "count": 3, "seed": 1, "near": REST.to_json(), "spread": 0.5},
    ),
    (ProjectRequest((REST,), 0.5), {"task": "project", "poses": [REST.to_json()], "strength": 0.5}),
    (
        InterpolateRequest(((1, REST), (9, REST)), (1, 5, 9)),
        {
            "task": "interpolate",
            "keys": [{"frame": 1, "pose": REST.to_json()}, {"frame": 9, "pose": REST.to_json()}],
            "frames": [1, 5, 9],
        },
    ),
    (
        DenoiseRequest((REST,), 24.0, 0.3),
        {"task": "denoise", "poses": [REST.to_json()], "fps": 24.0, "strength": 0.3},
    ),
    (
        CompleteRequest(REST, ("pelvis",), 2, 1),
        {"task": "complete", "pose": REST.to_json(), "keep": ["pelvis"], "count": 2, "seed": 1},
    ),
    (
        IkRequest(REST, {"head": (0.0, 1.5, 0.25)}, ("pelvis",)),
        {"task": "ik", "pose": REST.to_json(), "targets": {"head": [0.0, 1.5, 0.25]}, "pins": ["pelvis"], "steps": 16},
    ),
    (
        IkRequest(REST, {"head": (0, 1, 0)}, (), 4, {"pelvis": (0.0, 0.9, 0.0)}, REST, "both"),
        {
            "task": "ik",
            "pose": REST.to_json(),
            "targets": {"head": [0.0, 1.0, 0.0]},
            "pins": [],
            "steps": 4,
            "prior": "both",
            "rest": {"pelvis": [0.0, 0.9, 0.0]},
            "home": REST.to_json(),
        },
    ),
    *(
        (request, request.to_json())  # each prior by its name, in every task that has one
        for prior in PRIORS
        for request in (
            SampleRequest(1, prior=prior),
            ProjectRequest((REST,), prior=prior),
            InterpolateRequest(((1, REST), (9, REST)), (5,), prior),
            DenoiseRequest((REST,), 24.0, 0.5, prior, {"pelvis": (0.0, 0.9, 0.0)}),
            CompleteRequest(REST, ("pelvis",), prior=prior),
        )
    ),
]


def test_every_prior_of_the_server_can_be_asked_for():
    tasks = pytest.importorskip("chatpose_server.tasks")
    assert set(PRIORS) == set(tasks.PRIORS)
    assert all(request.to_json()["prior"] in PRIORS for request, body in REQUESTS if "prior" in body)


@pytest.mark.parametrize(("request_", "body"), REQUESTS)
def test_requests(request_, body):
    assert request_.to_json() == body


@pytest.mark.parametrize(("request_", "body"), REQUESTS)
def test_the_server_takes_our_requests(request_, body):
    schemas = pytest.importorskip("chatpose_server.api.schemas")
    pydantic = pytest.importorskip("pydantic")
    task = pydantic.TypeAdapter(schemas.JobRequest).validate_python(request_.to_json(), strict=True)
    assert task.task == body["task"]


def test_capabilities_name_the_tasks_that_can_be_done():
    capabilities = Capabilities.from_json({"tasks": {"pose": True, "describe": False}, "model": {"name": "m"}})
    assert (capabilities.tasks, capabilities.model) == ({"pose"}, "m")


def test_job_states():
    queued = JobStatus.from_json({"id": "a", "state": "queued", "position": 3, "fraction": None})
    assert (queued.position, queued.fraction, queued.finished) == (3, 0.0, False)
    done = JobStatus.from_json({"id": "a", "state": "done", "result": {"text": "ok", "poses": [REST.to_json()]}})
    assert done.finished and done.result == Result("ok", (REST,))
    failed = JobStatus.from_json({"id": "a", "state": "failed", "error": {"code": "c", "message": "m"}})
    assert failed.finished and failed.failure is not None and failed.failure.message == "m"
    with pytest.raises(ContractError):
        JobStatus.from_json({"id": "a", "state": "done"})


def test_distances_are_pairs():
    assert Result.from_json({"distances": {"before": [1, 2], "after": [0, 1]}}).distances == ((1, 0), (2, 1))


@pytest.mark.parametrize("data", [{}, {"tasks": None, "model": 3, "limits": []}])
def test_capabilities_are_lenient(data):
    assert Capabilities.from_json(data).max_prompt == 8000
