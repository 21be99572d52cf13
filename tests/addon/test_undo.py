"""Random work with undo and redo between: every bone, key and list comes back exactly, one step for one button.

200 sequences by hypothesis on SMPL-X's own bones and 50 on a Mixamo rig, the same ones in every run; a failure is
shrunk to the shortest sequence that shows it. Every operator that makes an undo step is pressed, or in ELSEWHERE.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import history, preferences, registration, seen, session
from bl_ext.dev.chatpose.client.contract import Camera, Person, Pose, Result, Sight
from bl_ext.dev.chatpose.client.picture import Picture, png
from bl_ext.dev.chatpose.operators import candidates, targets
from bl_ext.dev.chatpose.rig import apply, body, keyframes, library, smplx
from bl_ext.dev.chatpose.rig import rotations as rot
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests import figures
from tests.addon.rigs import build

SEQUENCES = {"SMPL-X": 200, "Mixamo": 50}
STEPS = 7
ELSEWHERE = {
    "drag": "a mouse's; tests/gui/test_real_window.py",
    "picture_drop": "asks a server; tests/addon/test_image.py and tests/gui/test_scripted_window.py",
    "picture_from_clipboard": "makes its picture the reference as picture_open does, once Blender has read it",
    "picture_from_render": "the same",
}
"""Operators that make an undo step and are not pressed here, and why."""
SEEDS = st.integers(0, 2**32 - 1)
SETTINGS = settings(
    stateful_step_count=STEPS,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def _joints(seed: int) -> dict[str, list[float]]:
    dice = random.Random(seed)
    names = dice.sample(smplx.JOINTS, dice.randint(1, 55))
    return {n: rot.unit([dice.gauss(0, 1) for _ in range(4)]).tolist() for n in [*names, "head"]}


def _rig():
    return targets.target(bpy.context)


def _of_rig(rig) -> dict:
    curves = {
        (curve.data_path, curve.array_index): [tuple(point.co) for point in curve.keyframe_points]
        for curve in keyframes.curves_of(rig)
    }
    return {
        "bones": dict(apply.snapshot(rig).channels),
        "modes": [bone.rotation_mode for bone in rig.pose.bones],
        "rest": [tuple(bone.head_local) for bone in rig.data.bones],
        "curves": curves,
        "messages": [(m.role, m.text, m.pose, m.before, m.seed, m.starred) for m in rig.chatpose.messages],
        "shown": rig.chatpose.active_message,
        "mapping": ([(line.name, line.bones) for line in rig.chatpose.mapping], rig.chatpose.rigmap),
        "betas": tuple(rig.chatpose.betas),
    }


def _state() -> dict:
    scene = bpy.context.scene
    picture = scene.chatpose.picture
    return {
        "rigs": {rig.name: _of_rig(rig) for rig in scene.objects if rig.type == "ARMATURE"},
        "objects": sorted((ob.name, tuple(map(tuple, ob.matrix_world))) for ob in scene.objects),
        "active": _rig().name,
        "beats": [(b.frame, b.text) for b in scene.chatpose.beats],
        "prompt": scene.chatpose.prompt,
        "frame": scene.frame_current,
        "assets": sorted((a.name, library.origin_of(a).prompt) for a in library.saved_poses()),
        "picture": (picture.image and picture.image.name, picture.person, picture.camera and picture.camera.name),
    }


def _differs(meant: dict) -> dict:
    """What is not as it was meant to be: (as it is, as it was meant)."""
    now = _state()
    found = {name: (now[name], meant[name]) for name in meant if now[name] != meant[name]}
    if "rigs" in found:
        here, there = found.pop("rigs")
        found |= {
            (name, part): (here.get(name, {}).get(part), there.get(name, {}).get(part))
            for name in here.keys() | there.keys()
            for part in _of_rig(_rig())
            if here.get(name, {}).get(part) != there.get(name, {}).get(part)
        }
    return found


def _see(image) -> None:
    """What a server would have said of the picture: two people, and the camera that took it."""
    middle = {name: (300.0 + 40 * i, 200.0 + 30 * i, 0.9) for i, name in enumerate(("left_wrist", "right_wrist"))}
    for i, side in enumerate(("left", "right")):
        for j, part in enumerate(("shoulder", "hip", "ankle")):
            middle[f"{side}_{part}"] = (300.0 + 20 * i, 300.0 + 50 * j, 0.9)
    people = (Person((10, 10, 200, 700), 0.9), Person((300, 10, 590, 700), 0.8))
    camera = Camera(600, 800, 900.0, (0.0, 1.0, 4.0), (1.0, 0.0, 0.0, 0.0))
    sight = Sight(600, 800, people, 0, middle, camera)
    seen.looked(image, Picture("data:image/png;base64,"), sight, Pose({"pelvis": (1.0, 0.0, 0.0, 0.0)}))


pressed: set[str] = set()
"""The operators that were pressed and did something."""


BUTTONS = (
    "beat_add", "beat_remove", "message_delete", "message_apply", "conversation_clear", "save_asset",
)  # fmt: skip
FIRST = {"beat_remove": "beat_add", "message_delete": "add_message", "conversation_clear": "add_message"}
"""What gives a button something to work on."""
STANDING = {"joints": {"pelvis": [1, 0, 0, 0]}}


class Desk(RuleBasedStateMachine):
    """An artist who presses buttons at random. ``keys``: works with keys; what is posed over keys without one is the
    next evaluation's to overwrite, undo or not, so the two are not mixed.
    """

    @initialize(keys=st.booleans())
    def begin(self, keys):
        session.current.browser = None
        rig = bpy.data.objects[self.name]
        for ob in list(bpy.data.objects):
            if ob is not rig and ob.parent is not rig:
                bpy.data.objects.remove(ob)
        bpy.context.view_layer.objects.active = rig
        rig.animation_data_clear()
        rig.chatpose.messages.clear()
        rig.chatpose.active_message = 0
        rig.chatpose.mapping.clear()
        rig.chatpose.rigmap = ""
        scene = bpy.context.scene
        scene.chatpose.beats.clear()
        scene.chatpose.prompt = ""
        scene.chatpose.picture.image, scene.chatpose.picture.person, scene.chatpose.picture.camera = None, 0, None
        scene.frame_set(1)
        for action in list(bpy.data.actions):
            bpy.data.actions.remove(action)
        for bone in rig.pose.bones:
            bone.matrix_basis.identity()
        bpy.ops.ed.undo_push(message="Begin")
        self.keys = keys
        self.states, self.at = [_state()], 0

    def _did(self):
        del self.states[self.at + 1 :]
        self.states.append(_state())
        self.at += 1

    def _press(self, operator, **values):
        """What a button does: nothing where it is grey or refuses, one undo step where it does not."""
        try:
            done = operator.poll() and operator("EXEC_DEFAULT", True, **values) == {"FINISHED"}
        except RuntimeError as error:
            assert "Traceback" not in str(error), error
            assert _differs(self.states[self.at]) == {}, "what refuses changes nothing"
            return
        if done:
            pressed.add(operator.idname_py().partition(".")[2])
            self._did()

    @rule(
        seed=SEEDS,
        part=st.sampled_from(["ALL", "UPPER", "LEFT_ARM", "LEGS", "HANDS"]),
        strength=st.sampled_from([0.0, 0.5, 1.0]),
        mirror=st.booleans(),
        height=st.sampled_from(["GROUND", "KEEP"]),
        hands=st.sampled_from(["KEEP", "RELAXED", "FLAT"]),
        prompt=st.sampled_from(["", "sit", "stand"]),
    )
    def apply(self, seed, part, strength, mirror, height, hands, prompt):
        self._press(
            bpy.ops.chatpose.apply_pose,
            pose=json.dumps({"joints": {**_joints(seed), "left_knee": [1, 0, 0, 0], "left_wrist": [1, 0, 0, 0]}}),
            part=part,
            strength=strength,
            mirror=mirror,
            height=height,
            hands=hands,
            insert_key=self.keys,
            prompt=prompt,
            text="answer",
        )

    @rule(seed=SEEDS, step=st.integers(-1, 2), keep=st.booleans())
    @precondition(lambda self: not self.keys)
    def candidates(self, seed, step, keep):
        poses = tuple(Pose(_joints(seed + i)) for i in range(3))
        before = _state()
        candidates.begin(_rig(), Result("three", poses, "fake", 1), "three ways")
        bpy.ops.chatpose.candidate_step(step=step)
        if keep:
            self._press(bpy.ops.chatpose.candidate_keep)
        else:
            bpy.ops.chatpose.candidate_discard()
            assert _state() == before, "Esc restores exactly"

    @rule()
    @precondition(lambda self: self.keys)
    def key(self):
        self._press(bpy.ops.chatpose.key_pose)

    @rule(seed=SEEDS, frames=st.sets(st.integers(1, 30), min_size=1, max_size=3))
    @precondition(lambda self: self.keys)
    def key_many(self, seed, frames):
        poses = [{"frame": frame, "pose": {"joints": _joints(seed + i)}} for i, frame in enumerate(sorted(frames))]
        self._press(bpy.ops.chatpose.key_poses, target=_rig().name, poses=json.dumps(poses))

    @rule(frame=st.integers(1, 30))
    @precondition(lambda self: self.keys)
    def go(self, frame):
        bpy.context.scene.frame_set(frame)
        bpy.ops.ed.undo_push(message="Frame")
        self._did()

    @rule(text=st.sampled_from(["runs", "1: a, 5: b"]))
    def write(self, text):
        bpy.context.scene.chatpose.prompt = text
        bpy.ops.ed.undo_push(message="Prompt")
        self._did()

    @rule(operator=st.sampled_from(BUTTONS))
    def press(self, operator):
        if operator in FIRST and not getattr(bpy.ops.chatpose, operator).poll():
            self.tell() if FIRST[operator] == "add_message" else self._press(bpy.ops.chatpose.beat_add)
        if operator != "message_apply" or not self.keys:
            self._press(getattr(bpy.ops.chatpose, operator))

    @rule()
    def tell(self):
        self._press(bpy.ops.chatpose.add_message, target=_rig().name, prompt="what is she doing?", text="She stands.")

    @rule(seed=SEEDS, how=st.sampled_from(["library", "file"]))
    @precondition(lambda self: not self.keys)
    def take_from(self, seed, how):
        """A pose from the library or a file; the operator that these call makes the step."""
        pose = {"joints": _joints(seed)}
        if how == "library":
            history.remember(prompt="sits", text="", seed=1, model="fake", pose=json.dumps(pose))
            self._press(bpy.ops.chatpose.library_apply, entry=history.current.matching()[0].id)
        else:
            path = self.folder / "pose.json"
            path.write_text(json.dumps(pose))
            self._press(bpy.ops.chatpose.load_pose, filepath=str(path))

    @rule()
    def words_from_the_library(self):
        history.remember(prompt=f"sits {time.monotonic()}", text="", seed=1, model="fake", pose=json.dumps(STANDING))
        self._press(bpy.ops.chatpose.library_words, entry=history.current.matching()[0].id)

    @rule()
    @precondition(lambda self: not self.keys)
    def second_body(self):
        if len(bpy.context.scene.objects) < 8:
            self._press(bpy.ops.chatpose.add_body)

    @rule(beta=st.floats(-2, 2))
    @precondition(lambda self: not self.keys)
    def shape(self, beta):
        if body.body_mesh(_rig(), body.load_body(preferences.body_file(bpy.context))):
            self._press(bpy.ops.chatpose.shape_body, betas=(beta, *[0.0] * (body.MAX_SHAPES - 1)))

    @rule(seed=SEEDS)
    @precondition(lambda self: not self.keys)
    def several(self, seed):
        rigs = [rig.name for rig in bpy.context.scene.objects if rig.type == "ARMATURE"]
        poses = [{"target": name, "pose": {"joints": _joints(seed + i)}} for i, name in enumerate(rigs)]
        self._press(bpy.ops.chatpose.apply_poses, poses=json.dumps(poses))

    @rule(do=st.sampled_from(["picture_open", "picture_clear", "choose_person", "match_camera", "picture_from_camera"]))
    def picture(self, do):
        scene = bpy.context.scene
        if do == "picture_open" or scene.chatpose.picture.image is None:
            self._press(bpy.ops.chatpose.picture_open, filepath=str(self.folder / "photo.png"))
            _see(scene.chatpose.picture.image)
        if do == "picture_from_camera" and scene.camera is None:
            self._press(bpy.ops.chatpose.match_camera)
        if do != "picture_open":
            self._press(getattr(bpy.ops.chatpose, do), **({"person": 2} if do == "choose_person" else {}))

    @rule(do=st.sampled_from(["mapping_apply", "mapping_reset", "mapping_load"]))
    def map_bones(self, do):
        self._press(bpy.ops.chatpose.mapping_edit)
        values = {}
        if do == "mapping_load" and bpy.ops.chatpose.mapping_save.poll():
            values = {"filepath": str(self.folder / "bones.json")}
            bpy.ops.chatpose.mapping_save(**values)
        self._press(getattr(bpy.ops.chatpose, do), **values)

    @rule()
    @precondition(lambda self: self.at > 0)
    def undo(self):
        bpy.ops.ed.undo()
        self.at -= 1
        assert _differs(self.states[self.at]) == {}

    @rule()
    @precondition(lambda self: self.at + 1 < len(self.states))
    def redo(self):
        bpy.ops.ed.redo()
        self.at += 1
        assert _differs(self.states[self.at]) == {}

    def teardown(self):
        while self.at > 0:
            self.undo()
        while self.at + 1 < len(self.states):
            self.redo()
        channels = apply.snapshot(_rig()).channels
        assert np.isfinite([v for bone in channels.values() for channel in bone for v in channel]).all()


def _without_a_skin(file: body.BodyFile) -> body.BodyFile:
    """A body of one vertex for each joint, so that hundreds of undo steps take no time."""
    count = len(smplx.JOINTS)
    corner = np.arange(count)
    shapes = file.joint_shapes.astype(np.float32)
    return dataclasses.replace(
        file,
        vertices=file.joints,
        faces=np.stack([corner, (corner + 1) % count, (corner + 2) % count], 1).astype(np.int32),
        weights=np.eye(count, dtype=np.float32),
        shapes=shapes,
        uv=None,
        eyes=None,
    )


@pytest.fixture
def desk(addon, monkeypatch, tmp_path):
    """A desk without a server: what asks one is grey, and so are the questions that other buttons would ask."""
    small = _without_a_skin(body.load_body(str(body.STANDIN_FILE)))
    monkeypatch.setattr(body, "load_body", lambda path: small)
    monkeypatch.setattr(Desk, "folder", tmp_path, raising=False)
    (tmp_path / "photo.png").write_bytes(png(np.full((8, 6, 3), 128, np.uint8)))
    preferences.get(bpy.context).address = "http://192.0.2.1:1"  # another computer, and no online access
    yield
    preferences.get(bpy.context).property_unset("address")
    session.current.browser = None
    seen.forget()


@pytest.mark.parametrize("kind", SEQUENCES)
def test_undo_and_redo_restore_everything(desk, monkeypatch, kind):
    if kind == "SMPL-X":
        bpy.ops.chatpose.add_body()
    else:
        build(figures.figure("mixamo"))
    monkeypatch.setattr(Desk, "name", bpy.context.object.name, raising=False)
    run_state_machine_as_test(Desk, settings=settings(SETTINGS, max_examples=SEQUENCES[kind]))


def test_every_operator_that_makes_an_undo_step_was_pressed():
    """Runs after the other two: it looks at what they did."""
    making = {
        cls.bl_idname.partition(".")[2]
        for cls in registration.CLASSES
        if issubclass(cls, bpy.types.Operator) and "UNDO" in cls.bl_options
    }
    assert making <= pressed | ELSEWHERE.keys(), making - pressed - ELSEWHERE.keys()
