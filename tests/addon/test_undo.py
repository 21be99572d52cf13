"""Random work with undo and redo between: every bone, key and list comes back exactly, one step for one button.

200 sequences by hypothesis, the same ones in every run; a failure is shrunk to the shortest sequence that shows it.
"""

from __future__ import annotations

import json
import random

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import session
from bl_ext.dev.chatpose.client.contract import Pose, Result
from bl_ext.dev.chatpose.operators import candidates, targets
from bl_ext.dev.chatpose.rig import apply, keyframes, library, smplx
from bl_ext.dev.chatpose.rig import rotations as rot
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

SEQUENCES = 200
STEPS = 7
SEEDS = st.integers(0, 2**32 - 1)
SETTINGS = settings(
    max_examples=SEQUENCES,
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


def _state() -> dict:
    rig = _rig()
    curves = {
        (curve.data_path, curve.array_index): [tuple(point.co) for point in curve.keyframe_points]
        for curve in keyframes.curves_of(rig)
    }
    return {
        "bones": dict(apply.snapshot(rig).channels),
        "modes": [bone.rotation_mode for bone in rig.pose.bones],
        "curves": curves,
        "messages": [(m.role, m.text, m.pose, m.before, m.seed, m.starred) for m in rig.chatpose.messages],
        "shown": rig.chatpose.active_message,
        "beats": [(b.frame, b.text) for b in bpy.context.scene.chatpose.beats],
        "prompt": bpy.context.scene.chatpose.prompt,
        "frame": bpy.context.scene.frame_current,
        "assets": sorted((a.name, library.origin_of(a).prompt) for a in library.saved_poses()),
    }


class Desk(RuleBasedStateMachine):
    """An artist who presses buttons at random. ``keys``: works with keys; what is posed over keys without one is the
    next evaluation's to overwrite, undo or not, so the two are not mixed.
    """

    @initialize(keys=st.booleans())
    def begin(self, keys):
        session.current.browser = None
        rig = _rig()
        rig.animation_data_clear()
        rig.chatpose.messages.clear()
        rig.chatpose.active_message = 0
        scene = bpy.context.scene
        scene.chatpose.beats.clear()
        scene.chatpose.prompt = ""
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
        """What a button does: nothing where it is grey, one undo step where it is not."""
        if operator.poll() and operator("EXEC_DEFAULT", True, **values) == {"FINISHED"}:
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

    @rule(
        operator=st.sampled_from(
            ["beat_add", "beat_remove", "message_delete", "message_apply", "conversation_clear", "save_asset"]
        )
    )
    def press(self, operator):
        if operator != "message_apply" or not self.keys:
            self._press(getattr(bpy.ops.chatpose, operator))

    @rule()
    @precondition(lambda self: self.at > 0)
    def undo(self):
        bpy.ops.ed.undo()
        self.at -= 1
        assert _state() == self.states[self.at]

    @rule()
    @precondition(lambda self: self.at + 1 < len(self.states))
    def redo(self):
        bpy.ops.ed.redo()
        self.at += 1
        assert _state() == self.states[self.at]

    def teardown(self):
        while self.at > 0:
            self.undo()
        while self.at + 1 < len(self.states):
            self.redo()
        channels = apply.snapshot(_rig()).channels
        assert np.isfinite([v for bone in channels.values() for channel in bone for v in channel]).all()


@pytest.fixture
def skeleton(addon):
    """A body without its skin, so that hundreds of undo steps take no time."""
    bpy.ops.chatpose.add_body()
    rig = bpy.context.object
    mesh = rig.children[0].data
    bpy.data.objects.remove(rig.children[0])
    bpy.data.meshes.remove(mesh)
    bpy.context.view_layer.objects.active = rig
    yield
    session.current.browser = None


def test_undo_and_redo_restore_everything(skeleton):
    run_state_machine_as_test(Desk, settings=SETTINGS)
