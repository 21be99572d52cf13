"""Which joints a quantity is about: those that a person would move to change it. Data and names only."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final

from .vocabulary import QUANTITIES, SIDES

ARM: Final = ("collar", "shoulder", "elbow", "wrist")
LEG: Final = ("hip", "knee", "ankle", "foot")
SPINE: Final = frozenset({"spine1", "spine2", "spine3"})
HEAD: Final = frozenset({"neck", "head"})


def limb(side: str, joints: Iterable[str]) -> frozenset[str]:
    """The names of joints of one side."""
    return frozenset(f"{side}_{j}" for j in joints)


LEGS: Final = limb("left", LEG) | limb("right", LEG)
BALANCE: Final = LEGS | {"pelvis"}


@functools.cache
def joints_of(quantity: str) -> frozenset[str]:
    """The joints that a statement about a quantity gives leave to move."""
    family = QUANTITIES[quantity].family
    if m := re.match(r"(left|right)_(?:upper_)?arm\.", quantity):
        return limb(m[1], ("collar", "shoulder"))
    head, _, other = quantity.partition("@" if "@" in quantity else ":")
    if family in ("gaze",) or quantity.startswith(("head.", "gaze.")):
        return HEAD
    if quantity.startswith(("trunk.", "chest.", "spine.")):
        return SPINE | ({"pelvis"} | LEGS if quantity.startswith("trunk.") and quantity != "trunk.twist" else set())
    if quantity.startswith(("pelvis", "weight", "balance", "feet", "symmetry.legs")) or family == "natural":
        return BALANCE
    out: frozenset[str] = frozenset()
    for name in (head, other) if family in ("pair", "contact") else (head,):
        for s in SIDES:
            if name.startswith(f"{s}_") and name.partition(".")[0].removeprefix(f"{s}_") not in ("shoulder", "hip"):
                arm = any(w in name for w in ("hand", "arm", "elbow", "palm", "wrist"))
                out |= limb(s, ARM if arm else LEG)
    if family == "contact" and any(w in head for w in ("hand", "elbow")):
        out = frozenset(j for j in out if j.split("_")[-1] in ARM)  # a hand goes to the knee, not the knee to the hand
    if quantity.startswith("wrists"):
        out = limb("left", ARM) | limb("right", ARM)
    if quantity.startswith("knees"):
        out = LEGS
    if ".raise" in quantity:
        out = frozenset({quantity.partition(".")[0].replace("shoulder", "collar")})
    if family == "collar":
        out = frozenset({quantity.partition("_")[0] + "_collar"})
    return out or BALANCE | SPINE
