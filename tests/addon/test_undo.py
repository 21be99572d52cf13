"""Random work with undo and redo between: every bone, key and list comes back exactly, and nothing crashes."""

from __future__ import annotations

import json
import random

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose.operators import targets
from bl_ext.dev.chatpose.rig import apply, keyframes, smplx
from bl_ext.dev.chatpose.rig import rotations as rot

SEQUENCES = 200
STEPS = 4


def _pose(dice: random.Random) -> str:
    names = dice.sample(smplx.JOINTS, dice.randint(1, 55))
    return json.dumps({"joints": {n: rot.unit([dice.gauss(0, 1) for _ in range(4)]).tolist() for n in names}})


def _apply(dice, keyed=False):
    bpy.ops.chatpose.apply_pose(
        "EXEC_DEFAULT",
        True,
        pose=_pose(dice),
        part=dice.choice(["ALL", "UPPER", "LEFT_ARM", "LEGS"]),
        strength=dice.choice([0.0, 0.5, 1.0]),
        mirror=dice.random() < 0.5,
        height=dice.choice(["GROUND", "KEEP"]),
        hands=dice.choice(["KEEP", "RELAXED"]),
        insert_key=keyed,
        prompt=dice.choice(["", "sit", "stand"]),
        text="answer",
    )


def _apply_and_key(dice):
    _apply(dice, keyed=True)


def _key(dice):
    bpy.ops.chatpose.key_pose("EXEC_DEFAULT", True)


def _go(dice):
    bpy.context.scene.frame_set(dice.randint(1, 40))


def _key_many(dice):
    frames = sorted(dice.sample(range(1, 30), 3))
    keys = [{"frame": f, "pose": json.loads(_pose(dice)) | {"format": "smplx-quat-wxyz"}} for f in frames]
    for key in keys:
        key["pose"]["joints"]["head"] = [1, 0, 0, 0]
    rig = targets.target(bpy.context)
    bpy.ops.chatpose.key_poses("EXEC_DEFAULT", True, target=rig.name, poses=json.dumps(keys))


def _beat(dice):
    bpy.context.scene.chatpose.prompt = dice.choice(["runs", "1: a, 5: b"])
    bpy.ops.chatpose.beat_add("EXEC_DEFAULT", True)


def _if_possible(operator):
    def run(dice):
        if operator.poll():
            operator("EXEC_DEFAULT", True)

    return run


LISTS = [
    _beat,
    _if_possible(bpy.ops.chatpose.beat_remove),
    _if_possible(bpy.ops.chatpose.message_delete),
    _if_possible(bpy.ops.chatpose.conversation_clear),
]
POSING = [_apply, _apply, _if_possible(bpy.ops.chatpose.message_apply), *LISTS]
KEYING = [_apply_and_key, _key, _key_many, _go, *LISTS]
"""Not mixed: what is posed over keys without a key is the next evaluation's to overwrite, undo or not."""


def _state() -> dict:
    rig = targets.target(bpy.context)
    curves = {
        (curve.data_path, curve.array_index): [tuple(point.co) for point in curve.keyframe_points]
        for curve in keyframes.curves_of(rig)
    }
    return {
        "bones": dict(apply.snapshot(rig).channels),
        "modes": [bone.rotation_mode for bone in rig.pose.bones],
        "curves": curves,
        "messages": [(m.role, m.text, m.pose) for m in rig.chatpose.messages],
        "beats": [(b.frame, b.text) for b in bpy.context.scene.chatpose.beats],
    }


@pytest.fixture
def skeleton(addon):
    """A body without its skin, so that hundreds of undo steps take no time."""
    bpy.ops.chatpose.add_body()
    rig = bpy.context.object
    bpy.data.objects.remove(rig.children[0])
    bpy.context.view_layer.objects.active = rig
    bpy.ops.ed.undo_push(message="Start")
    return rig


def _clean_start(rig) -> None:
    rig.animation_data_clear()
    rig.chatpose.messages.clear()
    bpy.context.scene.chatpose.beats.clear()
    for bone in rig.pose.bones:
        bone.matrix_basis.identity()
    bpy.ops.ed.undo_push(message="Clean")


@pytest.mark.parametrize("actions", [POSING, KEYING], ids=["posing", "keying"])
@pytest.mark.parametrize("block", range(5))
def test_undo_and_redo_restore_everything(skeleton, actions, block):
    for i in range(SEQUENCES // 10):
        dice = random.Random(1000 * block + i)
        _clean_start(targets.target(bpy.context))
        states = [_state()]
        for _ in range(STEPS):
            dice.choice(actions)(dice)
            bpy.ops.ed.undo_push(message="Step")  # what the test itself changed (frame, prompt) is a step as well
            states.append(_state())
        for back in reversed(states[:-1]):
            _until(back, bpy.ops.ed.undo)
        for forth in states[1:]:
            _until(forth, bpy.ops.ed.redo)
        assert np.isfinite([v for channels in states[-1]["bones"].values() for c in channels for v in c]).all()


def _until(state, step) -> None:
    """Goes on until the state is there. An action is two steps, its own and the test's, and some change nothing."""
    for _ in range(2 * STEPS):
        if _state() == state:
            return
        step()
    assert _state() == state
