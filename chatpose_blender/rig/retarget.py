"""SMPL-X rotations on any rig: each limb points the way the SMPL-X body's does. Numpy only; knows no bpy.

    rigmap = recognise.plan(bones)                  # or RigMap.from_json
    rig = fit(rigmap, bones)                        # compares the rest poses, once per armature
    locals = retarget(rig, {"left_elbow": (w, x, y, z), ...})        # bone -> local quaternion
    offset = place(rig, locals, transl=None)        # bone-space location of rig.mover that puts the feet on the ground
    quats = read(rig, posed)                        # the way back: bone -> posed matrix, to joint -> local quaternion

Every rotation may carry leading dimensions, so that a whole motion is one call.

Method. With F the SMPL-X axes in armature space (``frames.measure``), G(j) the global rotation of joint j by forward
kinematics and A(j) a constant that turns the rig's rest limb onto SMPL-X's rest limb, a bone of joint j with rest
rotation M must be turned in armature space to

    R = F G(j) A(j) F^-1 M

and its local rotation follows from its parent's. A is built from root to tip by shortest arcs, each starting from its
parent's, which is what an animator does who swings an A-pose into a T-pose: no twist comes in but what the hand's and
the foot's own rest orientation say. What has no direction of its own (trunk, head, collars) keeps A = 1: it moves by
what the body moves, from its own rest. A foot's direction is that of its sole, so a rig with high ankles keeps flat
feet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import frames
from . import rotations as rot
from .families import BY_KEY
from .rest_pose import RADIUS, REST, SOLE
from .rigmap import RestBone, RigMap, RigMapError
from .rotations import Array
from .smplx import BODY_JOINTS, FINGERS, JOINTS, PARENT

Quats: TypeAlias = Mapping[str, ArrayLike]

LIMB_TIP: Final[dict[str, str]] = {
    f"{side}_{joint}": f"{side}_{tip}"
    for side in ("left", "right")
    for joint, tip in (
        ("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("shoulder", "elbow"), ("elbow", "wrist"),
        ("wrist", "middle1"), *((f"{finger}{i}", f"{finger}{i + 1}") for finger in FINGERS for i in (1, 2)),
    )
}  # fmt: skip
"""The joints whose bones have a direction, and the joint at its end."""

_SPINE = ("spine1", "spine2", "spine3")
_TRUNK_CURVE = ("pelvis", *_SPINE, "neck", "head")
_UPPER = {"shoulder": "collar", "hip": "pelvis"}  # limbs whose roll is spread from their root
_LOWER = {"elbow": "wrist", "knee": "ankle"}  # limbs whose roll is spread toward their tip
_KNUCKLES = ("index1", "ring1", "pinky1")
_SAME_REST_LIMIT = np.radians(15)  # a limb further than this from SMPL-X's rest: the rig was given another rest pose
_MAX_ROLL = np.radians(120)  # a hand's rest roll beyond this is a misread hand, not a hand


@dataclass(frozen=True)
class BoneTarget:
    """How one bone is turned: by joint ``joint``'s rotation, of whose roll about ``axis`` it takes the share ``roll``.

    ``roll`` None: the joint's rotation as it is. Otherwise the roll is measured against ``base``: from the limb's root
    (``base`` is the joint above) or toward its tip (``base`` is the joint itself, ``joint`` the one beyond).
    """

    bone: str
    joint: str
    roll: float | None = None
    base: str = ""
    axis: Array | None = None


@dataclass(frozen=True)
class Fit:
    """A rig compared with SMPL-X's rest pose; see ``fit``. Matrices are (3, 3), positions in the armature's units.

    ``basis``: SMPL-X's axes in armature space. ``correct``: joint -> A. ``targets``: what turns each mapped bone.
    ``spine``: bone -> (joint, share) of the SMPL-X rotations that it averages. ``order``: every bone that matters,
    parents first. ``mover``: the bone that carries the body. ``scale``: this rig's hip height over SMPL-X's.
    ``ground``: the height of the ground along ``basis``' second column.
    """

    rigmap: RigMap
    bones: Mapping[str, RestBone]
    basis: Array
    correct: Mapping[str, Array]
    targets: tuple[BoneTarget, ...]
    spine: Mapping[str, tuple[tuple[str, float], ...]]
    order: tuple[str, ...]
    mover: str
    scale: float
    ground: float


def fit(rigmap: RigMap, bones: Mapping[str, RestBone]) -> Fit:
    """Compares a rig's rest pose with SMPL-X's. Raises RigMapError when bones of the map are not in the armature."""
    absent = sorted(name for name in rigmap.names() if name not in bones)
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise RigMapError(
            f"The bone mapping names '{absent[0]}'{more}, which this armature does not have. Recognise the rig again."
        )
    if "pelvis" not in rigmap.bones:
        raise RigMapError("The bone mapping has no pelvis. Choose the bone that carries legs and spine.")
    heads = _heads(rigmap, bones)
    basis = frames.measure(heads)
    rest = {joint: basis.T @ head for joint, head in heads.items()}  # in SMPL-X's axes, the rig's own units
    correct = _corrections(rigmap, rest, bones, basis)
    hips = [rest[joint][1] for joint in ("left_hip", "right_hip") if joint in rest]
    hip_height = float(np.mean(hips)) if hips else float(rest["pelvis"][1])
    ground = _ground_level(rest, hip_height)
    return Fit(
        rigmap=rigmap,
        bones=bones,
        basis=basis,
        correct=correct,
        targets=tuple(_targets(rigmap, rest, bones, basis)),
        spine=_spine_shares(rigmap, rest, bones, basis),
        order=_order(rigmap, bones),
        mover=rigmap.mover or rigmap.bones["pelvis"][0],
        scale=(hip_height - ground) / float(REST["left_hip"][1] - SOLE),
        ground=ground,
    )


# -- rotations -------------------------------------------------------------------------------------------------------


def forward(quats: Quats) -> dict[str, Array]:
    """Global rotation (..., 3, 3) of each of the 55 joints by forward kinematics; a joint not spoken for is at rest."""
    given = _matrots(quats)
    eye = np.broadcast_to(np.eye(3), np.shape(next(iter(given.values()), np.eye(3))))
    turned: dict[str, Array] = {}
    for joint in JOINTS:
        local = given.get(joint, eye)
        turned[joint] = turned[PARENT[joint]] @ local if joint in PARENT else local
    return turned


def retarget(rig: Fit, quats: Quats, unmapped: Mapping[str, ArrayLike] | None = None) -> dict[str, Array]:
    """Local quaternion (..., 4) for each bone whose joint ``quats`` speaks for.

    ``quats``: SMPL-X joint -> (..., 4) local rotations, ``pelvis`` the global one. ``unmapped``: the present local
    rotations of bones that lie between mapped ones and that nobody poses; those not given are at rest.
    """
    return local_rotations(rig, posed_rotations(rig, quats, unmapped), bones_of(rig, quats))


def bones_of(rig: Fit, joints: Iterable[str]) -> tuple[str, ...]:
    """The bones that a pose of these joints turns, parents first."""
    joints = set(joints)
    rigmap = rig.rigmap
    bones = {bone for joint in joints for bone in (*rigmap.bones.get(joint, ()), *rigmap.twists.get(joint, ()))}
    bones |= set(rigmap.spine) if joints & set(_SPINE) else set()
    bones |= set(rigmap.neck) if "neck" in joints else set()
    if "pelvis" in joints and rigmap.mover:
        bones.add(rigmap.mover)
    return tuple(name for name in rig.order if name in bones)


def local_rotations(rig: Fit, posed: Mapping[str, Array], bones: Iterable[str]) -> dict[str, Array]:
    """Local quaternions (..., 4) that put ``bones`` where ``posed`` says, their parents being where it says too."""
    return _quats({name: _t(_following(rig, posed, name)) @ posed[name] for name in bones})


def posed_rotations(rig: Fit, quats: Quats, unmapped: Mapping[str, ArrayLike] | None = None) -> dict[str, Array]:
    """Rotation (..., 3, 3) in armature space of every bone that matters, were the whole rig posed by ``quats``."""
    turned = forward(quats)
    delta = {j: turned[j] @ rig.correct[j] if j in rig.correct else turned[j] for j in turned}
    wanted = {target.bone: _delta_of(target, delta) for target in rig.targets}
    wanted |= {bone: _averaged(turned, shares) for bone, shares in rig.spine.items()}
    if rig.rigmap.mover:
        wanted[rig.rigmap.mover] = turned["pelvis"]
    now = _matrots(unmapped or {})
    posed: dict[str, Array] = {}
    for name in rig.order:
        rest = rig.bones[name].matrix[:3, :3]
        if name in wanted:
            posed[name] = rig.basis @ wanted[name] @ rig.basis.T @ rest
        else:
            follow = _following(rig, posed, name)
            posed[name] = follow @ now[name] if name in now else follow
    return posed


def read(rig: Fit, posed: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The SMPL-X pose that a posed rig shows: joint -> (..., 4) local rotations, for the joints that have bones.

    ``posed``: bone -> (..., 3, 3) rotation in armature space. The inverse of ``retarget`` where each joint has one
    bone; a spine with another number of bones is read at the places of SMPL-X's.
    """

    def delta(bone: str) -> Array:
        m = np.asarray(posed[bone], np.float64)
        return rig.basis.T @ m @ rig.bones[bone].matrix[:3, :3].T @ rig.basis

    turned: dict[str, Array] = {}
    for joint, chain in rig.rigmap.bones.items():
        if joint in JOINTS:
            turned[joint] = delta(chain[-1]) @ rig.correct.get(joint, np.eye(3)).T
    for joint in _SPINE if rig.spine else ():
        weights = {bone: dict(shares).get(joint, 0.0) for bone, shares in rig.spine.items()}
        weights = weights if sum(weights.values()) > 0 else dict.fromkeys(rig.spine, 1.0)
        turned[joint] = _mean([delta(bone) for bone in weights], list(weights.values()))
    if rig.rigmap.neck:
        turned["neck"] = delta(rig.rigmap.neck[-1])
    local: dict[str, Array] = {}
    for joint in JOINTS:
        if joint in turned:
            above = PARENT.get(joint)
            while above is not None and above not in turned:
                above = PARENT.get(above)
            local[joint] = turned[joint] if above is None else _t(turned[above]) @ turned[joint]
    return _quats(local)


def _following(rig: Fit, posed: Mapping[str, Array], name: str) -> Array:
    """Where a bone's rotation is carried by its parent, before its own."""
    bone = rig.bones[name]
    rest = bone.matrix[:3, :3]
    if bone.parent is None or not bone.inherit_rotation:
        return np.broadcast_to(rest, (*np.shape(next(iter(posed.values()), rest))[:-2], 3, 3))
    return posed[bone.parent] @ rig.bones[bone.parent].matrix[:3, :3].T @ rest


def _delta_of(target: BoneTarget, delta: Mapping[str, Array]) -> Array:
    """What turns a bone from its rest, in SMPL-X's axes."""
    if target.roll is None or target.axis is None:
        return delta[target.joint]
    base = delta[target.base]
    between = rot.from_matrot(_t(base) @ delta[target.joint])
    twist = _twist(between, target.axis)
    share = rot.from_rotvec(target.roll * rot.to_rotvec(twist))
    if target.joint.partition("_")[2] not in _LOWER.values():  # from the root: the swing whole, the roll in part
        share = rot.multiply(rot.multiply(between, rot.conjugate(twist)), share)
    return base @ rot.to_matrot(share)


def _averaged(turned: Mapping[str, Array], shares: Sequence[tuple[str, float]]) -> Array:
    """The rotation of a spine bone that covers parts of several SMPL-X bones: their mean, pointing along their
    chord.
    """
    if len(shares) == 1:
        return turned[shares[0][0]]
    mean = _mean([turned[joint] for joint, _ in shares], [share for _, share in shares])
    rest = sum(share * _curve_direction(joint) for joint, share in shares)
    chord = sum(share * (turned[joint] @ _curve_direction(joint)) for joint, share in shares)
    return _arc(mean @ rest, chord) @ mean


def _mean(matrots: Sequence[Array], weights: Sequence[float]) -> Array:
    quats = [rot.from_matrot(m) for m in matrots]
    total = sum(weight * rot.same_side(q, quats[0]) for q, weight in zip(quats, weights, strict=True))
    return rot.to_matrot(rot.unit(total))


def _curve_direction(joint: str) -> Array:
    """Which way the trunk runs at rest above one of its joints."""
    line = REST[_TRUNK_CURVE[_TRUNK_CURVE.index(joint) + 1]] - REST[joint]
    return line / np.linalg.norm(line)


# -- comparing rest poses --------------------------------------------------------------------------------------------


def _heads(rigmap: RigMap, bones: Mapping[str, RestBone]) -> dict[str, Array]:
    """Where the rig's joints are: the head of the first bone of each."""
    heads = {joint: bones[chain[0]].head for joint, chain in rigmap.bones.items() if joint in REST}
    if rigmap.neck:
        heads["neck"] = bones[rigmap.neck[0]].head
    return heads


def limb_direction(rigmap: RigMap, bones: Mapping[str, RestBone], joint: str) -> Array | None:
    """(3,) unit vector in armature space along a rest limb, from its joint to the next; None where none can be told."""
    chain = rigmap.bones.get(joint)
    if chain is None or joint not in LIMB_TIP:
        return None
    tip = rigmap.bones.get(LIMB_TIP[joint])
    head = bones[chain[0]].head
    line = (bones[tip[0]].head if tip else bones[chain[-1]].tail) - head
    if tip is None and joint.endswith("wrist"):
        knuckles = [rigmap.bones[k] for f in _KNUCKLES if (k := joint.replace("wrist", f)) in rigmap.bones]
        forearm = limb_direction(rigmap, bones, joint.replace("wrist", "elbow"))
        if knuckles:
            line = np.mean([bones[k[0]].head for k in knuckles], 0) - head
        elif forearm is not None and line @ forearm < 0.5 * np.linalg.norm(line):
            line = forearm  # imported bones' tails may point anywhere
    length = np.linalg.norm(line)
    return line / length if length > 0 else None


def smplx_direction(joint: str) -> Array:
    """(3,) unit vector along a SMPL-X rest limb, in SMPL-X's axes; a foot's is that of its sole."""
    line = REST[LIMB_TIP[joint]] - REST[joint]
    if joint.endswith("ankle"):
        line = line * (1, 0, 1)
    return line / np.linalg.norm(line)


def _corrections(
    rigmap: RigMap, rest: Mapping[str, Array], bones: Mapping[str, RestBone], basis: Array
) -> dict[str, Array]:
    """A of every joint that has a direction; see the module's method."""
    correct: dict[str, Array] = {}
    largest = 0.0
    for joint in JOINTS:
        start = correct.get(PARENT.get(joint, ""), np.eye(3))
        direction = limb_direction(rigmap, bones, joint)
        if direction is None:
            if joint in rigmap.bones and joint.split("_")[-1] not in ("collar", "head", "pelvis"):
                correct[joint] = start  # toes and fingertips go on as the bone before them
            continue
        mine = basis.T @ direction
        if joint.endswith("ankle"):
            correct[joint] = _arc(mine * (1, 0, 1), smplx_direction(joint)) if _points_ahead(mine) else np.eye(3)
            continue
        correct[joint] = _arc(start @ mine, smplx_direction(joint)) @ start
        if joint.endswith("wrist"):
            _roll_hand(joint.partition("_")[0], rest, correct)
        elif joint in BODY_JOINTS:
            largest = max(largest, float(np.arccos(np.clip(mine @ smplx_direction(joint), -1, 1))))
    family = BY_KEY.get(rigmap.family)
    return {} if family is not None and family.same_rest and largest < _SAME_REST_LIMIT else correct


def _points_ahead(direction: Array) -> bool:
    """Whether a foot's direction can be believed: imported bones' tails may point anywhere."""
    return bool(direction[2] > 0.2)


def _roll_hand(side: str, rest: Mapping[str, Array], correct: dict[str, Array]) -> None:
    """Turns the hand's correction so that its knuckles lie as SMPL-X's do, and the forearm's by half of that."""
    wrist, elbow, index = f"{side}_wrist", f"{side}_elbow", f"{side}_index1"
    outer = next((f"{side}_{f}1" for f in ("pinky", "ring", "middle") if f"{side}_{f}1" in rest), None)
    if elbow not in correct or index not in rest or outer is None:
        return
    axis = smplx_direction(wrist)
    across = [correct[wrist] @ (rest[index] - rest[outer]), REST[index] - REST[outer]]
    mine, theirs = (v - axis * (v @ axis) for v in across)
    roll = float(np.arctan2(np.cross(mine, theirs) @ axis, mine @ theirs))
    if np.linalg.norm(mine) < 1e-6 * np.linalg.norm(rest[index]) or abs(roll) > _MAX_ROLL:
        return
    correct[wrist] = rot.to_matrot(rot.from_rotvec(roll * axis)) @ correct[wrist]
    correct[elbow] = rot.to_matrot(rot.from_rotvec(0.5 * roll * smplx_direction(elbow))) @ correct[elbow]


def _targets(
    rigmap: RigMap, rest: Mapping[str, Array], bones: Mapping[str, RestBone], basis: Array
) -> list[BoneTarget]:
    """One target for each bone of ``rigmap.bones``, ``neck`` and ``twists``."""
    targets = [BoneTarget(bone, "neck") for bone in rigmap.neck]
    for joint, chain in rigmap.bones.items():
        if joint not in REST:
            continue
        side, _, part = joint.partition("_")
        direction = limb_direction(rigmap, bones, joint)
        above = {"shoulder": f"{side}_collar", "elbow": f"{side}_shoulder", "hip": "pelvis", "knee": f"{side}_hip"}.get(
            part
        )
        if len(chain) == 1 or above is None or direction is None:
            targets += [BoneTarget(bone, joint) for bone in chain]
            continue
        axis = basis.T @ direction
        targets += [BoneTarget(bone, joint, i / (len(chain) - 1), above, axis) for i, bone in enumerate(chain)]
    for joint, chain in rigmap.twists.items():
        side, _, part = joint.partition("_")
        direction = limb_direction(rigmap, bones, joint)
        tip = rest.get(LIMB_TIP.get(joint, ""))
        if direction is None or tip is None:
            continue
        axis = basis.T @ direction
        length = float(np.linalg.norm(tip - rest[joint]))
        for bone in chain:
            along = float(np.clip((basis.T @ bones[bone].head - rest[joint]) @ axis / length, 0, 1))
            if part in _UPPER:
                above = "pelvis" if part == "hip" else f"{side}_{_UPPER[part]}"
                targets.append(BoneTarget(bone, joint, along, above, axis))
            elif f"{side}_{_LOWER[part]}" in rigmap.bones:
                targets.append(BoneTarget(bone, f"{side}_{_LOWER[part]}", along, joint, axis))
    return targets


def _spine_shares(
    rigmap: RigMap, rest: Mapping[str, Array], bones: Mapping[str, RestBone], basis: Array
) -> dict[str, tuple[tuple[str, float], ...]]:
    """Which SMPL-X trunk bones each spine bone of the rig stands for, by where it lies between hips and neck.

    As many bones as SMPL-X has: one each. Otherwise by height: a bone that covers parts of several gets their mean.
    """
    chain = rigmap.spine
    if not chain:
        return {}
    if len(chain) == len(_SPINE):
        return {bone: ((joint, 1.0),) for bone, joint in zip(chain, _SPINE, strict=True)}
    top = "neck" if "neck" in rest or "head" not in rest else "head"  # without a neck the spine reaches the head
    hips = [rest[joint][1] for joint in ("left_hip", "right_hip") if joint in rest] or [rest["pelvis"][1]]
    low = float(np.mean(hips))
    length = (float(rest[top][1]) - low if top in rest else 0.0) or 1.0
    body_low = REST["left_hip"][1]
    curve = _TRUNK_CURVE[: _TRUNK_CURVE.index(top) + 1]
    edges = [float((REST[joint][1] - body_low) / (REST[top][1] - body_low)) for joint in curve]
    edges[0], edges[-1] = -np.inf, np.inf
    starts = [(float((basis.T @ bones[bone].head)[1]) - low) / length for bone in chain]
    shares: dict[str, tuple[tuple[str, float], ...]] = {}
    for bone, start, above in zip(chain, starts, [*starts[1:], 1.0], strict=True):
        end = max(above, start + 1e-3)  # bones that start at one height: the joint there decides
        parts = [
            (joint, min(end, upper) - max(start, lower))
            for joint, lower, upper in zip(curve, edges, edges[1:], strict=False)
        ]
        total = sum(part for _, part in parts if part > 0)
        shares[bone] = tuple((joint, part / total) for joint, part in parts if part > 0)
    return shares


def _order(rigmap: RigMap, bones: Mapping[str, RestBone]) -> tuple[str, ...]:
    """The mapped bones and all bones above them, parents first."""
    order: list[str] = []
    seen: set[str] = set()
    for name in rigmap.names():
        path: list[str] = []
        above: str | None = name
        while above is not None and above not in seen:
            path.append(above)
            seen.add(above)
            above = bones[above].parent
        order += path[::-1]
    return tuple(_parents_first(order, bones))


def _parents_first(names: Sequence[str], bones: Mapping[str, RestBone]) -> list[str]:
    def depth(name: str) -> int:
        count, above = 0, bones[name].parent
        while above is not None:
            count, above = count + 1, bones[above].parent
        return count

    return sorted(names, key=depth)


# -- height ----------------------------------------------------------------------------------------------------------


def _ground_level(rest: Mapping[str, Array], hip_height: float) -> float:
    """Where the rig's soles are: the armature's origin if its feet stand there, else below the feet as SMPL-X's are."""
    feet = [rest[j][1] for side in ("left", "right") for j in (f"{side}_ankle", f"{side}_foot") if j in rest]
    if not feet:
        return 0.0
    low, leg = float(min(feet)), hip_height - float(min(feet))
    if -0.02 * leg <= low <= 0.15 * leg:
        return 0.0
    has_toes = "left_foot" in rest
    clearance = REST["left_foot" if has_toes else "left_ankle"][1] - SOLE
    body_leg = REST["left_hip"][1] - REST["left_foot" if has_toes else "left_ankle"][1]
    return low - leg * float(clearance / body_leg)


def place(
    rig: Fit,
    locals_: Mapping[str, ArrayLike],
    *,
    transl: ArrayLike | None = None,
    ground: bool = True,
    unmapped: Mapping[str, ArrayLike] | None = None,
) -> Array:
    """How far to move ``rig.mover`` so that the body stands where it should: (..., 3) in armature space, from its rest.

    ``locals_``: what ``retarget`` gave. ``transl``: SMPL-X's pelvis translation in metres, scaled to this rig; None
    keeps the hips above their rest place. ``ground``: the lowest point of the body is put on the ground, whatever
    ``transl`` says of height.
    """
    posed = posed_matrices(rig, locals_, unmapped)
    hips = _hips(rig, posed)
    if transl is None:
        goal = np.broadcast_to(_hips(rig, {name: rig.bones[name].matrix for name in rig.order}), hips.shape)
    else:
        pelvis = rig.rigmap.bones["pelvis"][-1]
        turn = rig.basis.T @ posed[pelvis][..., :3, :3] @ rig.bones[pelvis].matrix[:3, :3].T @ rig.basis
        body = np.asarray(transl, np.float64) + REST["pelvis"] + turn @ (_BODY_HIPS - REST["pelvis"])
        goal = rig.scale * body + (0.0, rig.ground, 0.0)
    moved = np.array(goal - hips)
    if ground:
        moved[..., 1] = rig.ground - lowest(rig, posed)
    return moved @ rig.basis.T


_BODY_HIPS: Final = 0.5 * (REST["left_hip"] + REST["right_hip"])
_HEEL = 0.05  # metres that a heel stands behind the ankle
_TOE_TIP = 0.06  # metres that toes reach beyond their joint


def lowest(rig: Fit, posed: Mapping[str, Array]) -> Array:
    """Height (...) along the body's up axis of its lowest point: soles, and the flesh around every other joint.

    ``posed``: bone -> (..., 4, 4) in armature space, see ``posed_matrices``.
    """
    heights: list[Array] = []
    rigmap, bones = rig.rigmap, rig.bones

    def carried(bone: str, point: Array) -> Array:
        """Height of a rest point (SMPL-X's axes) that moves with a bone."""
        local = np.linalg.inv(bones[bone].matrix) @ np.append(rig.basis @ point, 1.0)
        return (posed[bone] @ local)[..., :3] @ rig.basis[:, 1]

    for side in ("left", "right"):
        ankle, toes = rigmap.bones.get(f"{side}_ankle"), rigmap.bones.get(f"{side}_foot")
        if ankle is None:
            continue
        at = rig.basis.T @ bones[ankle[0]].head
        along = _toward_toes(rig, side)
        heights.append(carried(ankle[0], np.array([at[0], rig.ground, at[2]]) - _HEEL * rig.scale * along))
        ball = rig.basis.T @ bones[toes[0]].head if toes else at + 0.12 * rig.scale * along
        ball = np.array([ball[0], rig.ground, ball[2]])
        heights.append(carried(ankle[0], ball))
        heights.append(carried(toes[0] if toes else ankle[0], ball + _TOE_TIP * rig.scale * along))
    for joint, radius in RADIUS.items():
        if joint in rigmap.bones:
            head = posed[rigmap.bones[joint][0]][..., :3, 3] @ rig.basis[:, 1]
            heights.append(head - radius * rig.scale)
    if rigmap.spine:
        chest = posed[rigmap.spine[-1]][..., :3, 3] @ rig.basis[:, 1]
        heights.append(chest - RADIUS["spine3"] * rig.scale)
    return np.min(heights, 0)


def posed_matrices(
    rig: Fit, locals_: Mapping[str, ArrayLike], unmapped: Mapping[str, ArrayLike] | None = None
) -> dict[str, Array]:
    """(..., 4, 4) in armature space of every bone that matters, by forward kinematics, no bone moved from its place."""
    now = _matrots({**(unmapped or {}), **locals_})
    posed: dict[str, Array] = {}
    for name in rig.order:
        bone = rig.bones[name]
        own = now.get(name, np.eye(3))
        follow = _following(rig, {k: m[..., :3, :3] for k, m in posed.items() if k == bone.parent}, name)
        turned = follow @ own
        matrix = np.zeros((*turned.shape[:-2], 4, 4))
        matrix[..., :3, :3] = turned
        matrix[..., 3, 3] = 1.0
        if bone.parent is None:
            matrix[..., :3, 3] = bone.head
        else:
            above = rig.bones[bone.parent].matrix
            offset = np.linalg.inv(above) @ np.append(bone.head, 1.0)
            matrix[..., :3, 3] = (posed[bone.parent] @ offset)[..., :3]
        posed[name] = matrix
    return posed


def _hips(rig: Fit, posed: Mapping[str, Array]) -> Array:
    """(..., 3) the middle between the hip joints, in SMPL-X's axes."""
    bones = rig.rigmap.bones
    chains = [bones[joint] for joint in ("left_hip", "right_hip") if joint in bones] or [bones["pelvis"]]
    return np.mean([posed[chain[0]][..., :3, 3] for chain in chains], 0) @ rig.basis


def _toward_toes(rig: Fit, side: str) -> Array:
    """(3,) unit vector along a rest foot on the ground, in SMPL-X's axes."""
    direction = limb_direction(rig.rigmap, rig.bones, f"{side}_ankle")
    flat = np.array([0.0, 0.0, 1.0]) if direction is None else (rig.basis.T @ direction) * (1, 0, 1)
    length = float(np.linalg.norm(flat))
    return flat / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])


# -- small geometry --------------------------------------------------------------------------------------------------


def _matrots(quats: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """All of them in one call: numpy's price is by the call."""
    return dict(zip(quats, rot.to_matrot(np.stack(np.broadcast_arrays(*quats.values()))), strict=True)) if quats else {}


def _quats(matrots: Mapping[str, Array]) -> dict[str, Array]:
    if not matrots:
        return {}
    return dict(zip(matrots, rot.from_matrot(np.stack(np.broadcast_arrays(*matrots.values()))), strict=True))


def _t(matrix: Array) -> Array:
    return np.swapaxes(matrix, -1, -2)


def _arc(start: ArrayLike, end: ArrayLike) -> Array:
    """(..., 3, 3): the shortest rotation that takes one direction to another; lengths do not matter."""
    a, b = np.broadcast_arrays(np.asarray(start, np.float64), np.asarray(end, np.float64))
    a = a / np.maximum(np.sqrt((a * a).sum(-1, keepdims=True)), 1e-12)
    b = b / np.maximum(np.sqrt((b * b).sum(-1, keepdims=True)), 1e-12)
    dot = (a * b).sum(-1)[..., None, None]
    opposite = dot < -1 + 1e-9
    # R = c + [v] + v v' / (1 + c), with v = a x b and c = a . b. numpy's own cross product costs ten times as much, and
    # this is called for every limb of a rig that a mouse drags.
    outer = b[..., :, None] * a[..., None, :]
    skew = outer - _t(outer)
    v = np.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    turn = dot * np.eye(3) + skew + v[..., :, None] * v[..., None, :] / np.where(opposite, 1.0, 1 + dot)
    if not opposite.any():
        return turn
    side = np.cross(a, np.eye(3)[np.argmin(np.abs(a), -1)])  # any half turn will do between opposite directions
    side = side / np.maximum(np.sqrt((side * side).sum(-1, keepdims=True)), 1e-12)
    return np.where(opposite, 2 * side[..., :, None] * side[..., None, :] - np.eye(3), turn)


def _twist(quat: Array, axis: Array) -> Array:
    """The part of a rotation that turns about ``axis``, with its angle in -pi..pi."""
    along = (quat[..., 1:] @ axis)[..., None] * axis
    twist = rot.unit(np.concatenate([quat[..., :1], along], -1))
    return np.where(twist[..., :1] < 0, -twist, twist)
