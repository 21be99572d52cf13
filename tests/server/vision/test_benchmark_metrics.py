# SPDX-License-Identifier: GPL-3.0-or-later
"""benchmarks/image_to_pose.py measures what it says it does: its errors and its cameras, on cases known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from chatpose_server.body import default_body
from chatpose_server.posecodes.starts import BODIES, body_quats
from chatpose_server.rotations import quat_to_matrot
from chatpose_server.skeleton import INDEX, MIRROR
from chatpose_server.vision import Landmarks
from chatpose_server.vision.blazepose import Reading
from chatpose_server.vision.crops import Square
from chatpose_server.vision.hands import Hand

from benchmarks.pictures import looked, scenes, sketched
from benchmarks.pictures.camera import Camera, framed, turned
from benchmarks.pictures.metrics import about_y, aligned, compare, flipped, heading, joints_in_camera, mean_distance
from benchmarks.pictures.raster import rasterise

POSES = {n: quat_to_matrot(body_quats()[list(BODIES).index(n)]).numpy() for n in ("stand", "all_fours", "side_left")}
FRONT = turned(0.0, 0.2, 0.0)


def posed(matrot: np.ndarray) -> np.ndarray:
    """(55, 3) metres."""
    full = torch.eye(3).repeat(1, 55, 1, 1)
    full[0, :22] = torch.from_numpy(matrot)
    return default_body().forward_kinematics(full).joints[0].numpy()


def swapped(matrot: np.ndarray) -> np.ndarray:
    """The pose of somebody who looks the same but for having left and right exchanged: turned round, and mirrored."""
    flip = np.diag([-1.0, 1.0, 1.0])
    out = flip @ matrot[list(MIRROR[:22])] @ flip
    out[0] = about_y(math.pi) @ out[0]
    return out.astype(np.float32)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p,
        lambda p: 3.0 * p,
        lambda p: p @ turned(1.0, 0.4, -2.0).T,
        lambda p: 0.2 * p @ about_y(2.0) + [5, 1, 0],
    ],
    ids=["the same", "scaled", "turned", "all three"],
)
def test_a_turned_scaled_and_moved_copy_is_no_error(change):
    true = posed(POSES["all_fours"])[:22]
    assert mean_distance(aligned(change(true), true), true) < 1e-5


def test_a_mirror_image_is_an_error():
    true = posed(POSES["side_left"])[:22]
    assert mean_distance(aligned(true * [-1, 1, 1], true), true) > 0.01


@pytest.mark.parametrize("name", POSES)
def test_the_truth_has_no_error(name):
    error = compare(POSES[name], FRONT, POSES[name], FRONT)
    assert (error.pa_mpjpe, error.mpjpe, error.facing_deg, error.tilt_deg) == pytest.approx((0, 0, 0, 0), abs=0.01)
    assert error.geodesic_deg.max() < 0.01
    assert not error.flipped


@pytest.mark.parametrize("name", POSES)
@pytest.mark.parametrize("degrees", [20, -75, 160])
def test_facing_is_what_the_body_is_turned_by(name, degrees):
    found = POSES[name].copy()
    found[0] = about_y(math.radians(degrees)) @ found[0]
    error = compare(found, FRONT, POSES[name], FRONT)
    assert error.facing_deg == pytest.approx(abs(degrees), abs=0.1)
    assert error.pa_mpjpe < 0.01
    assert error.mpjpe > 30


@pytest.mark.parametrize("name", POSES)
def test_which_way_a_world_is_turned_does_not_matter(name):
    """Body and camera turned about the vertical together: the same picture, the same pose."""
    turn = about_y(1.1)
    found = POSES[name].copy()
    found[0] = turn @ found[0]
    error = compare(found, turn @ FRONT, POSES[name], FRONT)
    assert (error.mpjpe, error.facing_deg, error.tilt_deg) == pytest.approx((0, 0, 0), abs=0.01)


def test_a_tilted_camera_is_a_tilt_and_no_error_of_pose():
    found = POSES["stand"].copy()
    steep = turned(0.0, 0.5, 0.0)
    found[0] = steep @ FRONT.T @ found[0]  # seen by the steeper camera, this looks the same
    error = compare(found, steep, POSES["stand"], FRONT)
    assert error.tilt_deg == pytest.approx(math.degrees(0.3), abs=0.01)
    assert error.mpjpe < 0.01


def test_joint_errors_are_local():
    found = POSES["stand"].copy()
    found[INDEX["left_elbow"]] = found[INDEX["left_elbow"]] @ about_y(math.radians(40)).astype(np.float32)
    degrees = compare(found, FRONT, POSES["stand"], FRONT).geodesic_deg
    assert degrees[INDEX["left_elbow"] - 1] == pytest.approx(40, abs=0.05)
    assert np.delete(degrees, INDEX["left_elbow"] - 1).max() < 0.01


def test_flips_are_flips():
    true = joints_in_camera(POSES["stand"], FRONT)
    noise = np.random.default_rng(0).normal(0, 60, true.shape)
    assert flipped(joints_in_camera(swapped(POSES["stand"]), FRONT), true)
    assert not flipped(true + noise, true)


@pytest.mark.parametrize(
    ("point", "pixel"),
    [((0, 0, 0), (50, 40)), ((1, 0, 0), (75, 40)), ((0, 1, 0), (50, 15)), ((0.5, -0.5, -4), (56.25, 46.25))],
)
def test_projection_by_hand(point, pixel):
    camera = Camera(100, 80, 100.0, np.array([0.0, 0.0, 4.0]), np.eye(3))
    assert camera.project(np.array(point, float)) == pytest.approx(pixel)
    assert Camera.from_json(camera.to_json()).project(np.array(point, float)) == pytest.approx(pixel)


@pytest.mark.parametrize("azimuth", [-120, 0, 70])
@pytest.mark.parametrize("pitch", [-20, 25])
def test_a_framed_body_fills_the_picture(azimuth, pitch):
    body = posed(POSES["stand"])
    turn = turned(math.radians(azimuth), math.radians(pitch), 0.05)
    camera = framed(body, turn, (300, 340), math.radians(50), 0.8)
    xy = camera.project(body)
    assert camera.inside(body).all()
    assert (np.ptp(xy, axis=0) / (300, 340)).max() == pytest.approx(0.8, abs=0.02)
    assert math.degrees(heading(camera.rotation)) == pytest.approx(azimuth, abs=0.1)
    looks_down = math.degrees(math.asin(camera.rotation[1, 2]))
    assert looks_down == pytest.approx(pitch, abs=0.1)


def test_a_box_hides_what_is_behind_it():
    camera = Camera(100, 100, 100.0, np.array([0.0, 1.0, 4.0]), np.eye(3))
    box = {"at": [0.0, 1.0, 2.0], "size": [0.4, 0.4, 0.2], "turn": 0.4}
    points = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 3.0], [1.5, 1.0, 0.0], [0.0, 1.25, 0.0], [0.0, 2.0, 0.0]])
    assert scenes._box_hit(camera, points, box).tolist() == [True, False, False, True, False]


def test_every_first_part_of_the_set_has_every_stratum_and_view():
    strata = scenes._strata(np.random.default_rng([scenes.SEED, 1]))
    assert {s: strata.count(s) for s in scenes.STRATA} == scenes.STRATA
    assert {s: strata[:40].count(s) * 20 for s in scenes.STRATA} == scenes.STRATA


def test_no_pose_of_the_lexicon_is_in_both_splits():
    dice = [np.random.default_rng(split.seed) for split in (scenes.BENCHMARK, scenes.DEVELOPMENT)]
    judged, tuned = (
        {e.name for e in scenes._picked(split, g)}
        for split, g in zip((scenes.BENCHMARK, scenes.DEVELOPMENT), dice, strict=True)
    )
    assert len(judged) == scenes.BENCHMARK.of_source("lexicon") == 110
    assert len(tuned) == scenes.DEVELOPMENT.of_source("lexicon") == 55
    assert not judged & tuned
    assert scenes.BENCHMARK.poses == scenes.POSES == 200


def test_what_was_looked_at_is_read_back_exactly(tmp_path, monkeypatch):
    g = np.random.default_rng(0)
    said = [g.normal(size=size).astype(np.float32) for size in ((33, 5), (33, 3), (1152,), (4608,))]
    person = Landmarks(
        g.normal(size=(33, 2)), g.random(33), g.normal(size=(33, 3)), 0.8, Square(1, 2, 3, 0.5),
        (Reading(*said, 0.7), Reading(*said, 0.6)),
    )  # fmt: skip
    hand = Hand("left", g.normal(size=(21, 2)), g.normal(size=(21, 3)), 0.9)
    made = looked.Looked(320, 240, [person], [(hand,)], {"find": 0.5})
    monkeypatch.setattr(looked, "_look", lambda file: made)
    looked.Looker(tmp_path).look(7)
    monkeypatch.setattr(looked, "_look", lambda file: pytest.fail("looked again"))
    again = looked.Looker(tmp_path).look(7)
    assert (again.width, again.height, again.people[0].square) == (320, 240, person.square)
    for name in ("pixels", "visibility", "world"):
        assert np.array_equal(getattr(again.people[0], name), getattr(person, name))
    assert np.array_equal(again.hands[0][0].world, hand.world)
    for name in ("points", "world", "deep", "deeper"):
        assert np.array_equal(getattr(again.people[0].readings[1], name), getattr(person.readings[1], name))


def test_a_sketch_shows_the_body_where_the_camera_sees_it(tmp_path):
    body = default_body()
    v = body.v_template.numpy() - [0, body.v_template[:, 1].min().item(), 0]
    camera = framed(v, turned(0.3, 0.1, 0.0), (200, 240), math.radians(45), 0.8)
    faces = body.faces.numpy()
    drawn = rasterise(camera.project(v), -camera.seen(v)[:, 2], faces, 200, 240)
    at = np.stack([drawn.pixel % 200, drawn.pixel // 200], 1)
    flat = camera.project(v)
    assert np.abs(at.min(0) - flat.min(0)).max() < 2
    assert np.abs(at.max(0) - flat.max(0)).max() < 2
    assert len(np.unique(drawn.pixel)) == len(drawn.pixel)
    # what is seen of a pixel lies on that pixel, and nothing of the body lies nearer on the same line
    seen = drawn.of(v, faces)
    assert np.abs(camera.project(seen) - (at + 0.5)).max() < 0.01
    assert np.abs(-camera.seen(seen)[:, 2] - drawn.depth).max() < 1e-4
    nearest = np.full(200 * 240, np.inf)
    pixel = np.floor(flat).astype(int)
    np.minimum.at(nearest, pixel[:, 1] * 200 + pixel[:, 0], -camera.seen(v)[:, 2])
    assert (drawn.depth < nearest[drawn.pixel] + 0.03).mean() > 0.98  # but for pixels on the rim of a limb


def test_sketches_hold_no_judged_pose():
    judged = scenes.names_of(scenes.BENCHMARK) | scenes.names_of(scenes.DEVELOPMENT)
    assert len(judged) == 165
    assert not judged & {e.name for e in sketched.free_entries()}
