"""From what a model guessed and what the words plainly say to poses that do it. Knows posecodes and poses, no model.

Three sources say what must be true, the surer one winning where two speak of the same: the model's posecode head, a
named pose (found in the words, or meant by them as the model's third head says), and the literal parser. The model's
pose hypotheses, the named pose's own solution and a plain start are refined; the best of them are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from ..pose import Pose
from .lexicon import Entry, entries, mirrored
from .lexicon.lookup import find
from .measure import measure
from .parse import Parsed, parse
from .refine import Refined, refine, solve
from .say import describe
from .vocabulary import POSECODES, Request, read

CODE_THRESHOLD: Final = 0.6  # the posecode head's probability from which a statement is taken to be asked
NAME_THRESHOLD: Final = 0.35  # the name head's, when the words say little else
NAME_THRESHOLD_BESIDE: Final = 0.7  # and when the parser already understood most of them
_UNDERSTOOD: Final = 0.6  # share of the words that the parser must have used for that
_TRIES: Final = 3
_SAME_DEG: Final = 6.0  # candidates closer than this (mean over joints) count as one


@dataclass(frozen=True)
class Composed:
    """``matrot`` (N, 22, 3, 3), best first; ``text``: one sentence on what was made and what could not be;
    ``unmet``: statements that the first pose does not meet; ``named``: the lexicon entry that was used, or "".
    """

    matrot: Tensor
    text: str
    unmet: tuple[str, ...]
    named: str
    request: Request


def compose(
    words: str,
    hypotheses: Tensor,  # (K, 22, 3, 3)
    *,
    asked: Mapping[str, float] | None = None,  # posecode -> probability
    named: Mapping[str, float] | None = None,  # lexicon name -> probability
    count: int = 1,
    seed: int = 0,
) -> Composed:
    """Makes ``count`` poses for the words."""
    entry, request, understood = _meaning(words, asked or {}, named or {})
    if not request.constraints:
        return Composed(hypotheses[:count], _sentence(hypotheses[0], (), ""), (), "", request)
    refined = _candidates(hypotheses, entry, request, understood, count, seed)
    matrot, unmet = _pick(refined, count)
    name = entry.name if entry else ""
    return Composed(matrot, _sentence(matrot[0], unmet, name), unmet, name, request)


def _meaning(words: str, asked: Mapping[str, float], named: Mapping[str, float]) -> tuple[Entry | None, Request, float]:
    """The named pose, everything that is asked for, and the share of the words that the parser understood."""
    found = find(words)
    literal = parse(words if found is None else found.rest)
    understood = _share(literal)
    entry = found.entry if found else None
    if entry is None and named:
        best = max(named, key=lambda n: named[n])
        if named[best] >= (NAME_THRESHOLD_BESIDE if understood >= _UNDERSTOOD else NAME_THRESHOLD):
            entry = _by_name(best)
    guess = [c for c, p in asked.items() if p >= CODE_THRESHOLD and c in POSECODES]
    by_model = Request() if understood >= _UNDERSTOOD else _wish(read(";".join(guess)))
    by_name = entry.versions[0] if entry else Request()
    return entry, by_model + by_name + literal.request, understood


def _share(parsed: Parsed) -> float:
    """How much of the words that mean something the parser used, 0..1."""
    used = sum(len(u.split()) for u in parsed.understood)
    return used / max(1, used + len(parsed.rest.split()))


def _sentence(matrot: Tensor, unmet: Sequence[str], name: str) -> str:
    """What was made, and honestly what could not be."""
    made = describe(Pose.from_matrot(matrot), length="short", seed=0)
    if name:
        made = f"{name[:1].upper()}{name[1:]}. {made}"
    if not unmet:
        return made
    missing = [_in_words(u) for u in unmet[:3]]
    return f"{made} I could not bring about that {' or that '.join(missing)} at the same time."


def _in_words(statement: str) -> str:
    code = POSECODES.get(statement.lstrip("!"))
    if code is None:
        return statement.partition("=")[0].replace("_", " ").replace(".", " ").replace("@", " touches the ") + " fits"
    subject = "the person" if code.subject == "person" else f"the {code.subject}"
    verb = "are" if code.subject.endswith("s") or code.subject in ("hands", "feet") else "is"
    return f"{subject} {verb} {'not ' if statement.startswith('!') else ''}{code.predicates[0]}"


def _wish(request: Request) -> Request:
    """What the model only believes to be asked gives way to what was plainly said, and is not complained about."""
    return replace(
        request, constraints=tuple(replace(c, weight=0.6 * c.weight, asked=False) for c in request.constraints)
    )


def _by_name(name: str) -> Entry | None:
    plain = name.removesuffix(" (mirrored)")
    for entry in entries():
        if entry.name == plain:
            return mirrored(entry) if plain != name else entry
    return None


def _candidates(
    hypotheses: Tensor, entry: Entry | None, request: Request, understood: float, count: int, seed: int
) -> Refined:
    made = [refine(hypotheses[: max(2, min(count, len(hypotheses)))], request)]
    seeds: list[int | None] = [None] if count == 1 else [None, *range(seed + 1, seed + count)]
    if entry is not None or understood >= _UNDERSTOOD:
        made = [solve([request], tries=_TRIES, seed=s) for s in seeds] + (made if count > 1 else [])
    elif count > len(hypotheses):
        made += [solve([request], tries=_TRIES, seed=s) for s in seeds[: count - len(hypotheses)]]
    return Refined(
        torch.cat([m.matrot for m in made]),
        tuple(x for m in made for x in m.met),
        tuple(x for m in made for x in m.unmet),
        torch.cat([m.moved for m in made]),
    )


def _pick(refined: Refined, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """The best first: fewest unmet statements, least unnatural; then the next best that differ from those taken."""
    values = dict(
        zip(
            ("limits.violation", "penetration.depth"),
            measure(refined.matrot, ("limits.violation", "penetration.depth")).unbind(1),
            strict=True,
        )
    )
    odd = values["limits.violation"] / 5.0 + values["penetration.depth"] / 0.02
    cost = [len(u) * 3 + float(o) + 0.001 * i for i, (u, o) in enumerate(zip(refined.unmet, odd, strict=True))]
    order = sorted(range(len(cost)), key=lambda i: cost[i])
    taken: list[int] = []
    for i in order:
        if all(_apart(refined.matrot[i], refined.matrot[j]) > _SAME_DEG for j in taken):
            taken.append(i)
    taken += [i for i in order if i not in taken]
    return refined.matrot[taken[:count]], refined.unmet[taken[0]]


def _apart(a: Tensor, b: Tensor) -> float:
    return float(torch.rad2deg(rot.geodesic_angle(a, b)).mean())
