"""Which bones of an armature play which part of a body: by their names, else by how the bones hang together.

    rigmap = plan(bones)       # bones: RestBone by name
    rigmap.title, rigmap.confidence, rigmap.missing

Works on bone tables only; knows no bpy and no rotations.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .families import FAMILIES, Family
from .rigmap import CORE_JOINTS, RestBone, RigMap, RigMapError

Name = tuple[str, str]  # side ("l", "r" or "") and the word that is left

_TOKEN = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
_SIDE: Final = {"l": "l", "left": "l", "lft": "l", "r": "r", "right": "r", "rgt": "r", "左": "l", "右": "r"}
_PREFIX_SHARE = 0.7  # a first word that this share of all bones has is the character's name, not the bone's
_SURE = 0.85  # share of core joints found at which names are believed without asking the geometry
_NEEDED = 8  # core joints; with fewer than these nothing recognisable would be posed
_LIMBS: Final = (
    ("collar", "shoulder"),
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("hip", "knee"),
    ("knee", "ankle"),
    ("ankle", "foot"),
)
_ROLL_WORDS: Final = ("twist", "roll")


def plan(bones: Mapping[str, RestBone]) -> RigMap:
    """The best reading of an armature. Raises RigMapError when it is no person's."""
    if not bones:
        raise RigMapError("This armature has no bones.")
    tree = _Tree(bones)
    named = _by_names(tree)
    if named is not None and named.confidence >= _SURE:
        return named
    built = _by_structure(tree)
    best = max(
        (m for m in (named, built) if m is not None), key=lambda m: (m.confidence, m.by == "names"), default=None
    )
    if best is None or len(CORE_JOINTS) - len(best.missing) < _NEEDED:
        raise RigMapError(
            "The bones of this armature are not recognised as a person's. Choose them by hand in the bone mapping."
        )
    return best


# -- names -----------------------------------------------------------------------------------------------------------


def canonical(name: str) -> Name:
    """A bone's name without namespace, case, separators, leading zeros, and with its side apart.

    ``mixamorig:LeftUpLeg`` and ``UpLeg.L`` -> ("l", "upleg"); ``spine_01`` and ``spine.001`` -> ("", "spine1").
    """
    return _canonical(_tokens(name))


def _tokens(name: str) -> list[str]:
    name = unicodedata.normalize("NFKC", name)
    name = re.split(r"[:|]", name)[-1]
    return [t.lstrip("0") or "0" if t.isdigit() else t.lower() for t in _TOKEN.findall(name)]


def _canonical(tokens: Sequence[str]) -> Name:
    side, words = "", []
    for token in tokens:
        if not side and token in _SIDE:
            side = _SIDE[token]
        else:
            words.append(token)
    return side, "".join(words)


class _Names:
    """Finds bones by canonical name: whole names first, then without the prefix that most bones share."""

    def __init__(self, tree: _Tree) -> None:
        tokens = {name: _tokens(name) for name in tree.order}
        self._index: dict[Name, str] = {}
        for _ in range(4):  # m_avg_L_Hip: two words of prefix; more than four no tool writes
            for name, words in tokens.items():
                self._index.setdefault(_canonical(words), name)
            first = Counter(words[0] for words in tokens.values() if len(words) > 1 and words[0] not in _SIDE)
            word, count = first.most_common(1)[0] if first else ("", 0)
            if count < _PREFIX_SHARE * len(tokens):
                break
            tokens = {
                name: words[1:] if len(words) > 1 and words[0] == word else words for name, words in tokens.items()
            }

    def find(self, names: Iterable[str]) -> str | None:
        """The first of these names that some bone bears."""
        return next((self._index[key] for key in map(canonical, names) if key in self._index), None)


def _by_names(tree: _Tree) -> RigMap | None:
    names = _Names(tree)
    best: tuple[float, RigMap] | None = None
    for family in FAMILIES:
        if any(names.find([mark]) is None for mark in family.marks):
            continue
        rigmap = _of_family(family, names, tree)
        score = len(CORE_JOINTS) - len(rigmap.missing) + 0.01 * len(rigmap.bones)
        if best is None or score > best[0]:
            best = (score, rigmap)
    return best[1] if best and best[0] >= 1 else None


def _of_family(family: Family, names: _Names, tree: _Tree) -> RigMap:
    joints: dict[str, str] = {}
    taken: set[str] = set()
    for joint, candidates in family.joints().items():
        bone = names.find(candidates)
        if bone is not None and bone not in taken:
            joints[joint] = bone
            taken.add(bone)
    if "pelvis" in joints and not family.mover:
        joints["pelvis"] = _above_legs(joints, tree)
    written = [
        [b for b in (names.find([n]) for n in chain) if b and b not in taken] for chain in (family.spine, family.neck)
    ]
    rigmap = _complete(family.key, joints, written[0], written[1], tree)
    return replace(rigmap, mover=names.find(family.mover), confidence=_confidence(rigmap, tree), by="names")


def _above_legs(joints: Mapping[str, str], tree: _Tree) -> str:
    """The pelvis must carry legs and trunk; a bone called pelvis may carry the legs only (Daz, Character Creator)."""
    pelvis = joints["pelvis"]
    carried = [joints[j] for j in ("left_hip", "right_hip", "head") if j in joints]
    while any(pelvis not in tree.path_up(bone) for bone in carried):
        above = tree.bones[pelvis].parent
        if above is None or tree.size_below(above) > tree.size_below(joints["pelvis"]) * 20 + 40:
            return joints["pelvis"]
        pelvis = above
    return pelvis


def _complete(family: str, joints: Mapping[str, str], spine: list[str], neck: list[str], tree: _Tree) -> RigMap:
    """Adds what the hierarchy tells: trunk chains, bones that split a limb in line, twist bones beside it."""
    taken = set(joints.values())
    found = tree.trunk(joints)
    if found is not None:
        spine, neck = found
    taken |= {*spine, *neck}
    chains: dict[str, tuple[str, ...]] = {joint: (bone,) for joint, bone in joints.items()}
    twists: dict[str, tuple[str, ...]] = {}
    for side in ("left", "right"):
        for start, end in _LIMBS:
            a, b = joints.get(f"{side}_{start}"), joints.get(f"{side}_{end}")
            if a is None or b is None:
                continue
            between = tree.in_line(a, b, taken)
            chains[f"{side}_{start}"] = (a, *between)
            taken |= set(between)
            if start in ("shoulder", "elbow", "hip", "knee"):
                rollers = tree.rollers((a, *between), a, b, taken)
                taken |= set(rollers)
                if rollers:
                    twists[f"{side}_{start}"] = rollers
    return RigMap(family, chains, tuple(spine), tuple(neck), twists)


def _confidence(rigmap: RigMap, tree: _Tree) -> float:
    """Share of the core joints found, halved when the limbs do not hang together as a body's do."""
    found = 1 - len(rigmap.missing) / len(CORE_JOINTS)
    heads = {joint: tree.bones[chain[0]].head for joint, chain in rigmap.bones.items()}
    limbs = [
        [f"{side}_{joint}" for joint in limb]
        for side in ("left", "right")
        for limb in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
    ]
    for limb in limbs:
        if all(joint in heads for joint in limb):
            upper, lower = (float(np.linalg.norm(heads[b] - heads[a])) for a, b in itertools.pairwise(limb))
            reach = float(np.linalg.norm(heads[limb[2]] - heads[limb[0]]))
            uneven = min(upper, lower) < 0.2 * max(upper, lower)  # an upper arm is no fifth of a forearm
            folded = reach < 0.6 * (upper + lower)  # and at rest nobody folds it back on itself
            if uneven or folded or reach == 0:
                return found / 2
    return found


# -- hierarchy -------------------------------------------------------------------------------------------------------


class _Tree:
    """A bone table with its hierarchy: parents always before their children in ``order``."""

    def __init__(self, bones: Mapping[str, RestBone]) -> None:
        self.bones = bones
        self.children: dict[str, list[str]] = {name: [] for name in bones}
        roots: list[str] = []
        for name, bone in bones.items():
            (self.children[bone.parent] if bone.parent in bones else roots).append(name)
        self.order: list[str] = []
        stack = roots[::-1]
        while stack:
            name = stack.pop()
            self.order.append(name)
            stack += self.children[name][::-1]
        self._below: dict[str, int] = {}
        for name in reversed(self.order):
            self._below[name] = sum(self._below[child] + 1 for child in self.children[name])
        heads = np.array([bones[name].head for name in bones])
        self.extent = float(np.ptp(heads, axis=0).max()) or 1.0

    def size_below(self, name: str) -> int:
        return self._below[name]

    def path_up(self, name: str) -> list[str]:
        """From a bone to its root, the bone itself first."""
        path = [name]
        while (parent := self.bones[path[-1]].parent) in self.bones:
            path.append(parent)
        return path

    def between(self, top: str, bottom: str) -> list[str] | None:
        """The bones strictly between an ancestor and its descendant, from the ancestor down; None if they are
        not that.
        """
        path = self.path_up(bottom)
        return path[1 : path.index(top)][::-1] if top in path else None

    def trunk(self, joints: Mapping[str, str]) -> tuple[list[str], list[str]] | None:
        """(spine, neck) along the way from pelvis to head, parted where the arms branch off."""
        if "pelvis" not in joints or "head" not in joints:
            return None
        path = self.between(joints["pelvis"], joints["head"])
        if path is None:
            return None
        arms = [joints.get(f"{side}_collar", joints.get(f"{side}_shoulder")) for side in ("left", "right")]
        carry = [path.index(b) for arm in arms if arm for b in self.path_up(arm) if b in path][:1]
        last = carry[0] + 1 if carry else max(1, len(path) - 1)
        # 3ds Max's Biped hangs the arms on the neck
        last = min([last, *(i for i, name in enumerate(path) if "neck" in canonical(name)[1])])
        least = 1e-4 * self.extent
        ends = [self.bones[name].head for name in (*path, joints["head"])]
        long = [i for i in range(len(path)) if np.linalg.norm(ends[i + 1] - ends[i]) > least]
        return [path[i] for i in long if i < last], [path[i] for i in long if i >= last]

    def in_line(self, a: str, b: str, taken: set[str]) -> tuple[str, ...]:
        """Bones between two joints that lie on the line from one to the other: parts of one limb."""
        start, end = self.bones[a].head, self.bones[b].head
        return tuple(
            name
            for name in self.between(a, b) or ()
            if name not in taken and 0.05 < _along(self.bones[name].head, start, end) < 0.95
        )

    def rollers(self, chain: Sequence[str], a: str, b: str, taken: set[str]) -> tuple[str, ...]:
        """Bones called twist or roll that hang beside a limb."""
        start, end = self.bones[a].head, self.bones[b].head
        found: list[str] = []
        stack = [child for name in chain for child in self.children[name]]
        while stack:
            name = stack.pop()
            word = canonical(name)[1]
            if name in taken or not any(roll in word for roll in _ROLL_WORDS):
                continue
            if -0.05 <= _along(self.bones[name].head, start, end) <= 1.05:
                found.append(name)
                stack += self.children[name]
        return tuple(sorted(found, key=self.order.index))


def _along(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Where a point lies from ``start`` (0) to ``end`` (1); -1 when it lies well off the line."""
    line = end - start
    length = float(np.linalg.norm(line))
    if length == 0:
        return -1.0
    t = float((point - start) @ line) / length**2
    return t if np.linalg.norm(point - start - t * line) < 0.25 * length else -1.0


# -- structure -------------------------------------------------------------------------------------------------------

_MIRROR_TOLERANCE = 0.03  # of the figure's extent: how far from its mirror image a bone may lie
_CROWN = 0.27  # of the hips' height above the shoulders: there the skull ends, its joint is at half of that
_FOOT_ZONE = 0.2  # of the hips' height: below it lies the ankle
_STRUCTURE_TRUST = 0.8  # a body read from its build alone is never quite sure


@dataclass(frozen=True)
class _Frame:
    """One guess at which way a figure stands: unit vectors in armature space."""

    up: np.ndarray
    side: np.ndarray


def _by_structure(tree: _Tree) -> RigMap | None:
    x, y, z = np.eye(3)
    guesses = (_Frame(z, x), _Frame(y, x), _Frame(z, y), _Frame(y, z))
    found = [m for m in (_stand(tree, frame) for frame in guesses) if m is not None]
    return max(found, key=lambda m: m.confidence, default=None)


def _stand(tree: _Tree, frame: _Frame) -> RigMap | None:
    """The figure read as standing along ``frame.up``: two mirrored legs, two mirrored arms, a head between them."""
    heads = {name: bone.head for name, bone in tree.bones.items()}
    height = {name: float(head @ frame.up) for name, head in heads.items()}
    across = {name: float(head @ frame.side) for name, head in heads.items()}
    low, high = min(height.values()), max(height.values())
    ends = [name for name in tree.order if not tree.children[name]]
    pairs = list(_mirrored(tree, ends, frame, across))
    feet = [(a, b) for a, b in pairs if height[a] < low + 0.15 * (high - low)]
    hands = [(a, b) for a, b in pairs if height[a] > low + 0.3 * (high - low)]
    if not feet or not hands:
        return None
    foot = max(feet, key=lambda pair: len(tree.path_up(pair[0])) - 100 * (height[pair[0]] - low))
    hand = max(hands, key=lambda pair: abs(across[pair[0]] - across[pair[1]]))
    legs, arms = _chains_to(tree, foot), _chains_to(tree, hand)
    if legs is None or arms is None:
        return None
    chest = arms[0]
    # the bone that carries both: the legs may part further down (Daz's pelvis)
    pelvis = next((name for name in tree.path_up(legs[0]) if name in tree.path_up(chest)), None)
    if pelvis is None:
        return None
    joints: dict[str, str] = {"pelvis": pelvis}
    toward_toes = np.zeros(3)
    sides: list[tuple[float, dict[str, str]]] = []
    for leg, arm in zip(legs[1], arms[1], strict=True):
        limb = _leg(leg, heads, height, low) | _arm(arm, tree, heads)
        if "ankle" not in limb or "wrist" not in limb:
            return None
        toe = heads[limb["foot"]] if "foot" in limb else tree.bones[limb["ankle"]].tail
        toward_toes += toe - heads[limb["ankle"]]
        sides.append((across[limb["shoulder"]], limb))
    forward = toward_toes - (toward_toes @ frame.up) * frame.up
    known = bool(np.linalg.norm(forward) > 0.02 * tree.extent)
    left = float(np.cross(frame.up, forward if known else np.cross(frame.side, frame.up)) @ frame.side)
    sides.sort(key=lambda item: -item[0] * np.sign(left))
    for side, (_, limb) in zip(("left", "right"), sides, strict=True):
        joints |= {f"{side}_{joint}": bone for joint, bone in limb.items()}
    middle = 0.5 * (sides[0][0] + sides[1][0])
    tops = [n for n in ends if chest in tree.path_up(n) and abs(across[n] - middle) < _MIRROR_TOLERANCE * tree.extent]
    top = max(tops, key=height.__getitem__, default=None)
    if top is None or height[top] <= height[chest]:
        return None
    above_shoulders = height[top] - height[sides[0][1]["shoulder"]]
    crown = above_shoulders > _CROWN * (height[sides[0][1]["hip"]] - low)
    joints["head"] = _head(tree, chest, top, crown)
    rigmap = _complete("structure", joints, [], [], tree)
    return replace(
        rigmap, confidence=_STRUCTURE_TRUST * (1.0 if known else 0.75) * _confidence(rigmap, tree), by="structure"
    )


def _mirrored(
    tree: _Tree, ends: Sequence[str], frame: _Frame, across: Mapping[str, float]
) -> Iterable[tuple[str, str]]:
    """Pairs of chain ends that are each other's mirror image in the figure's middle plane."""
    middle = 0.5 * (max(across.values()) + min(across.values()))
    near = _MIRROR_TOLERANCE * tree.extent
    right = [name for name in ends if across[name] - middle > near]
    left = [name for name in ends if across[name] - middle < -near]
    for a in right:
        image = tree.bones[a].head - 2 * (across[a] - middle) * frame.side
        b = min(left, key=lambda name: float(np.linalg.norm(tree.bones[name].head - image)), default=None)
        if b is not None and np.linalg.norm(tree.bones[b].head - image) < near:
            yield a, b


def _chains_to(tree: _Tree, ends: tuple[str, str]) -> tuple[str, list[list[str]]] | None:
    """(the bone where both chains part, the two chains from there to their ends)."""
    first, second = tree.path_up(ends[0]), tree.path_up(ends[1])
    fork = next((name for name in first if name in second), None)
    if fork is None or fork in ends:
        return None
    return fork, [path[: path.index(fork)][::-1] for path in (first, second)]


def _two_segments(chain: Sequence[str], end: int, heads: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
    """Where the upper and lower part of a limb begin: the two long pieces, about as long as each other, before
    ``end``.
    """

    def score(i: int, j: int) -> float:
        upper = float(np.linalg.norm(heads[chain[j]] - heads[chain[i]]))
        lower = float(np.linalg.norm(heads[chain[end]] - heads[chain[j]]))
        return upper + lower - 2 * abs(upper - lower)

    pairs = [(i, j) for j in range(1, end) for i in range(j)]
    return max(pairs, key=lambda pair: score(*pair), default=None)


def _leg(
    chain: Sequence[str], heads: Mapping[str, np.ndarray], height: Mapping[str, float], ground: float
) -> dict[str, str]:
    zone = ground + _FOOT_ZONE * (height[chain[0]] - ground)
    ankle = next((i for i, name in enumerate(chain) if height[name] < zone), None)
    parts = _two_segments(chain, ankle, heads) if ankle else None
    if parts is None or ankle is None:
        return {}
    limb = {"hip": chain[parts[0]], "knee": chain[parts[1]], "ankle": chain[ankle]}
    shin = float(np.linalg.norm(heads[limb["ankle"]] - heads[limb["knee"]]))
    toe = next((n for n in chain[ankle + 1 :] if np.linalg.norm(heads[n] - heads[limb["ankle"]]) > 0.1 * shin), None)
    return {**limb, "foot": toe} if toe else limb


def _arm(chain: Sequence[str], tree: _Tree, heads: Mapping[str, np.ndarray]) -> dict[str, str]:
    forks = [i for i, name in enumerate(chain) if len(tree.children[name]) >= 3]
    wrist = forks[-1] if forks and forks[-1] >= 2 else len(chain) - 1  # the last: twist bones may hang beside the arm
    parts = _two_segments(chain, wrist, heads)
    if parts is None:
        return {}
    limb = {"shoulder": chain[parts[0]], "elbow": chain[parts[1]], "wrist": chain[wrist]}
    return {**limb, "collar": chain[0]} if parts[0] > 0 else limb


def _head(tree: _Tree, chest: str, top: str, crown: bool) -> str:
    """The bone that turns the head on the way from chest to the topmost end.

    The last that bears more than one chain (eyes, jaw); else the end itself, unless it only marks the crown.
    """
    path = [*(tree.between(chest, top) or []), top]
    many = [name for name in path if len(tree.children[name]) > 1]
    if many:
        return many[-1]
    return path[-2] if crown and len(path) > 1 else path[-1]
