"""From what a model guessed and what the words plainly say to poses that do it. Knows posecodes and poses, no model.

Three sources say what must be true, the surer one winning where two speak of the same: the model's posecode head, a
named pose (found in the words, or meant by them as the model's third head says), and the literal parser. The model's
pose hypotheses, the named pose's own solution and a plain start are refined; the best of them are kept.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from ..pose import Pose
from ..skeleton import BODY_JOINTS
from .chains import BALANCE, SPINE, joints_of
from .edit import edit
from .lexicon import Entry, entries, mirrored
from .lexicon.lookup import Found, beside_name, covered, feelings, find, near, normal
from .measure import measure
from .parse import Parsed, parse, understand
from .refine import Refined, refine, solve, unmet_sources
from .say import describe
from .vocabulary import POSECODES, POSTURES, QUANTITIES, Request, read, target_words

CODE_THRESHOLD: Final = 0.6  # the posecode head's probability from which a statement is taken to be asked
NAME_THRESHOLD: Final = 0.4  # a named pose's score (below), when the words say little else
NAME_THRESHOLD_BESIDE: Final = 1.0  # and when the parser already understood most of them
_LIKENESS_WEIGHT: Final = 1.0  # of words in common with a wording, against the name head's probability
_SOME_WORDS: Final = 0.3  # likeness under which a name is believed in without its words
_OTHER_WORDS: Final = 0.42  # likeness from which another name's words stand against that
_WITHOUT_WORDS: Final = 0.4  # times, for such a name where the words are another one's, or speak of its feeling
_COVERED: Final = 0.15  # of score: between names as like as each other, the one whose wordings have more of the words
_ON_GROUND: Final = 0.1  # metres of the seat over the ground under which somebody sits on it
_BOTH_ARMS: Final = 0.12  # of score: words of both arms mean names that use both alike, and not one
_SAME_WORDS: Final = 0.85  # likeness from which a wording is simply what was written, whatever the model believes
_UNDERSTOOD: Final = 0.6  # share of the words that the parser must have used for that
_TRIES: Final = 3
_ARM: Final = "elbow|wrist|upper_arm|forearm|arm|hand|palm|shoulder"
_LEG: Final = "knee|hip|ankle|thigh|shin|leg|foot|toes|heel"
_PARTS: Final = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (rf"(left_({_ARM})|hands|elbows|wrists|lowest_hand)", "left_arm"),
        (
            r"(right_(elbow|wrist|upper_arm|forearm|arm|hand|palm|shoulder)|hands|elbows|wrists|lowest_hand)",
            "right_arm",
        ),
        (rf"(left|right)_({_LEG})|feet|knees|weight|balance|pelvis.height|seat", "legs"),
        (r"head|gaze", "head"),
        (r"symmetry.arms", "left_arm"),
        (r"symmetry.legs", "legs"),
    )
)
_SAME_POSE_DEG: Final = 0.5  # what float32 and the wire's rounding may do to one and the same pose
_NATURAL_DEG: Final = 6.0  # out of a joint's range, and the overlap of two limbs, beyond which a variation is dropped
_NATURAL_M: Final = 0.03
_SAME_DEG: Final = 6.0  # candidates closer than this (mean over joints) count as one


_LEANING: Final = 65.0  # degrees off the vertical that somebody who stands may lean
_POSTURE: Final = re.compile(  # quantities that tell standing from everything else
    r"pelvis\.height|seat@|trunk\.up|pelvis\.(up|face_up)|chest\.|(left|right)_(knee|hand|shin|elbow|forearm)@ground"
    r"|(upper_back|lower_back|belly|head|chest)@ground"
)


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
    current: Tensor | None = None,  # (22, 3, 3), the pose that the words may want changed
    before: Sequence[Tensor] = (),  # earlier poses of the conversation, oldest first, for "undo"
    said: Sequence[str] = (),  # the words that led to each of ``before``, for "again" and "even higher"
    count: int = 1,
    seed: int = 0,
) -> Composed:
    """Makes up to ``count`` poses for the words, or as many changes of the current pose, best first."""
    if current is not None:
        last = bool(before) and _apart(before[-1], current) < _SAME_POSE_DEG
        changed = edit(words, before if last else [*before, current], [*said[: len(before)], *([] if last else [""])])
        if changed.kind != "nothing":
            matrot = changed.matrot[None]
            if count > 1 and changed.request.constraints:
                matrot = _varied(matrot, changed.request, changed.touched, count, seed)
            text = _sentence(changed.matrot, changed.unmet, changed.request, "")
            return Composed(matrot, text, changed.unmet, "", changed.request)
    entry, request, understood = _meaning(words, asked or {}, named or {})
    if not request.constraints:
        return Composed(hypotheses[:count], _sentence(hypotheses[0], (), request, ""), (), "", request)
    refined = _candidates(hypotheses, entry, request, understood, count, seed)
    matrot, alike, unmet = _pick(refined, count)
    if len(matrot) < count:
        matrot = torch.cat([_varied(matrot, request, _free(request), count, seed), alike])[:count]
    name = entry.name if entry else ""
    return Composed(matrot, _sentence(matrot[0], unmet, request, name), unmet, name, request)


def _meaning(words: str, asked: Mapping[str, float], named: Mapping[str, float]) -> tuple[Entry | None, Request, float]:
    """The named pose, everything that is asked for, and the share of the words that the parser understood.

    Of words that were understood to the last one nothing is guessed: "eyes on the floor" lays nobody down.
    """
    literal = understand(words)
    found = find(words)
    if found is not None and _adds(found, _plainly(words, found, literal)) and not _better_meant(words, found, named):
        entry, literal = found.entry, understand(_crossed(found.entry, found.rest) + _rest(words, found))
        understood = 1.0 if not found.rest else _share(literal)
    else:
        understood = _share(literal)
        entry = _meant(
            words,
            named if understood < 1 else {},
            NAME_THRESHOLD_BESIDE if understood >= _UNDERSTOOD else NAME_THRESHOLD,
        )
        if entry is not None and _on_ground(entry.versions[0]) and _on_seat(words):
            entry = None  # crossed legs on a bench are not those of somebody on the floor
        if entry is not None:  # what the name says, it says better than the phrases made of the same words
            beside = beside_name(words, entry)
            literal = understand(_crossed(entry, beside) + beside)
    if entry is not None:
        entry = _turned_to(entry, words)
    seat = _seat(literal, words, entry)
    guess = [c for c, p in asked.items() if understood < 1 and p >= CODE_THRESHOLD and c in POSECODES]
    request = seat + literal.request
    if entry is not None:
        request = _beside(entry.versions[0], request) + request
    request = _beside(_wish(read(";".join(guess))), request) + request
    if not _says_posture(request):
        request = (_wish(_seated()) if _props_on_knees(request) else _standing(request)) + request
    return entry, request, understood


def _plainly(words: str, found: Found, literal: Parsed) -> Parsed:
    """What the parser reads; its key words, which know no names, only where they understand the name by itself."""
    return literal if understand(found.wording).statements else parse(words)


def _rest(words: str, found: Found) -> str:
    """The words around the name as they were written, commas and all."""
    name = r"[\W_]+".join(re.escape(w) for w in found.wording.split())
    around = re.sub(rf"(?<![a-z0-9']){name}(?![a-z0-9'])", " ", words.lower().replace("\u2019", "'"), count=1)
    return around if found.rest and normal(around) == found.rest else found.rest


def _crossed(entry: Entry, rest: str) -> str:
    """What the parser must know of a named pose to read the rest: who sits crosses the legs and not the ankles."""
    return "sitting, " if "cross" in rest.lower() and "sitting" in entry.versions[0].codes else ""


_SEAT: Final = re.compile(
    r"\b(?<!hand )(?<!hands )(?<!foot )(?<!feet )(?<!leg )(?<!knee )(?<!elbow )(?<!elbows )(?<!arm )(?<!arms )"
    r"(?:on|in) (?:the |a |an |his |her |their |my |your )?(?:edge of (?:the |a |an |his |her |their )?)?(?:\w+ ){0,2}?"
    r"(?:sofa|couch|settee|bench|pew|chair|armchair|stool|throne|(?<=edge of the )bed)\b"
)
_NOT_SEATED: Final = re.compile(
    r"\b(?:stand|ly|lie|lay|kneel|knelt|jump|climb|sleep|asleep|nap|sprawl|step|squat|crouch|lean(?:s|ing)? on)\w*"
)


def _seat(literal: Parsed, words: str, entry: Entry | None) -> Request:
    """Sitting, for who is on a piece of furniture that one sits on, unless words or the named pose say otherwise.

    Of the legs it asks what the words leave open: stretched out from a sofa they are no less seated.
    """
    if not _on_seat(words) or _says_posture(literal.request):
        return Request()
    if entry is not None and not _stands(entry.versions[0]):
        return Request()
    spoken = {c.quantity for c in literal.request.constraints}
    knees = any("knee" in q or "shin" in q or "foot" in q for q in spoken)
    seat = _wish(_seated())
    loose = tuple(
        c
        for c in seat.constraints
        if c.quantity not in spoken
        and not (knees and re.search(r"knee|shin|foot|feet|leg", c.quantity))
        and not (c.quantity.startswith(("trunk", "spine")) and any(q.startswith(("trunk", "spine")) for q in spoken))
    )
    return replace(seat, constraints=loose)


@functools.cache
def _seated() -> Request:
    """The legs and the trunk of who sits on a chair."""
    plain = next(e for e in entries() if e.name == "sitting upright on a chair").versions[0]
    kept = tuple(c for c in plain.constraints if parts_of(c.quantity) & {"legs", "trunk"})
    return replace(plain, constraints=kept, codes=tuple(c for c in plain.codes if c in {k.source for k in kept}))


def _on_seat(words: str) -> bool:
    return _SEAT.search(words.lower()) is not None and _NOT_SEATED.search(words.lower()) is None


def _on_ground(request: Request) -> bool:
    return any(c.quantity == "seat@ground" and c.hi < _ON_GROUND for c in request.constraints)


def _stands(request: Request) -> bool:
    return not _says_posture(request) or "standing" in request.codes or "standing_straight" in request.codes


def _better_meant(words: str, found: Found, named: Mapping[str, float]) -> bool:
    """Whether all the words together are more like another name than the part of them that is one."""
    likeness = near(words)
    own, best = likeness.get(found.entry.name, 0.0), max(likeness, key=lambda n: likeness[n], default="")
    return bool(found.rest) and likeness.get(best, 0.0) > own + 0.05 and named.get(best, 0.0) > 0.5


def _meant(words: str, named: Mapping[str, float], sure: float) -> Entry | None:
    """The named pose that the words mean, as the model says and as words in common say, if that is sure enough."""
    score = dict(named)
    likeness = near(words)
    for name, alike in likeness.items():
        score[name] = score.get(name, 0.0) + _LIKENESS_WEIGHT * alike
    if not score:
        return None
    felt = feelings(words)
    if felt or max(likeness.values(), default=0.0) >= _OTHER_WORDS:
        # Words that other names are made of, or that name a state, say more than a belief that shares none of them.
        score = {
            n: p if n in felt or likeness.get(n, 0.0) > _SOME_WORDS else _WITHOUT_WORDS * p for n, p in score.items()
        }
    if _BOTH.search(words.lower()):
        two = _two_armed()
        score = {n: p + (_BOTH_ARMS if n.removesuffix(_MIRRORED) in two else -_BOTH_ARMS) for n, p in score.items()}
    best = max(
        score,
        key=lambda n: (
            score[n] + (likeness.get(n, 0.0) >= _SAME_WORDS) + (_COVERED * covered(words, n) if n in likeness else 0.0)
        ),
    )
    return _by_name(best) if score[best] >= sure else None


_MIRRORED: Final = " (mirrored)"
_BOTH: Final = re.compile(r"\bboth (?:\w+ )?(?:arms|hands|fists|palms|elbows)\b")


@functools.cache
def _two_armed() -> frozenset[str]:
    """The names of the entries that speak of both arms, and of both alike."""
    return frozenset(
        e.name for e in entries() if _arm_words(e.versions[0], "left") == _arm_words(e.versions[0], "right")
    )


def _arm_words(request: Request, side: str) -> frozenset[str]:
    """What is asked of one arm, its side left out; of a quantity between both arms, each has its part."""
    own = re.compile(rf"{side}_(?:{_ARM})")
    return frozenset(
        c.quantity.replace("left_", "").replace("right_", "")
        for c in request.constraints
        if c.asked and own.search(c.quantity)
    )


def _says_posture(request: Request) -> bool:
    """Whether anything is said of what the body stands, sits or lies on."""
    but = (c for c in request.constraints if not (c.quantity == "trunk.up" and c.hi <= _LEANING))
    return bool(request.flags) or any(_POSTURE.match(c.quantity) for c in but if not c.source.startswith("trunk="))


def _standing(request: Request) -> Request:
    """People of whom nothing else is said stand, as far as what is said lets them: who bows does."""
    said = {c.quantity for c in request.constraints}
    wished = _plain_standing()
    return replace(wished, constraints=tuple(c for c in wished.constraints if c.quantity not in said))


def _props_on_knees(request: Request) -> bool:
    """Whether an elbow is asked to rest on a knee or a thigh: who stands does not reach it."""
    return any(re.match(r"(left|right)_elbow@(left|right)_(knee|thigh)", c.quantity) for c in request.constraints)


@functools.cache
def _plain_standing() -> Request:
    return read("?pelvis.height=0.78..1.2; ?feet@ground=..0.035; ?trunk.up=0..70; ?pelvis.up=0..50")


_ARM_LIMBS: Final = ("arm", "hand", "fist", "elbow", "palm", "finger", "shoulder")
_LEG_LIMBS: Final = ("leg", "foot", "knee", "thigh", "shin")


def _turned_to(entry: Entry, words: str) -> Entry:
    """The named pose or its mirror image, whichever has more to say of the limb on the side that the words name."""
    m = re.search(rf"\b(left|right) (?:\w+ )?({'|'.join((*_ARM_LIMBS, *_LEG_LIMBS))})", words.lower())
    if m is None or re.search(rf"\b{'right' if m[1] == 'left' else 'left'}\b", words.lower()):
        return entry
    limb = _ARM if m[2] in _ARM_LIMBS else _LEG

    def weight(request: Request) -> int:
        return sum(bool(re.match(rf"{m[1]}_({limb})", c.quantity)) for c in request.constraints if c.asked)

    other = mirrored(entry)
    return other if weight(other.versions[0]) > weight(entry.versions[0]) else entry


def _adds(found: Found, literal: Parsed) -> bool:
    """Whether the name says something that the parser did not understand, or is all that was written."""
    if not found.rest or not literal.statements:
        return True
    name = set(normal(found.wording).split())
    return bool(name & set(literal.rest.split()))


def _beside(weaker: Request, stronger: Request) -> Request:
    """What a weaker source says of those parts of the body of which the stronger one says nothing."""
    spoken = frozenset(p for c in stronger.constraints for p in parts_of(c.quantity))
    moved = _only_leg(stronger)
    kept = tuple(
        c
        for c in weaker.constraints
        if not (hit := parts_of(c.quantity) & spoken)
        or (moved and hit <= {"legs"} and _of_other_leg(c.quantity, moved))
    )
    return replace(weaker, constraints=kept, codes=tuple(c for c in weaker.codes if c in {k.source for k in kept}))


def _only_leg(request: Request) -> str:
    """The side of the one leg that is spoken of where nothing is said of the other or of what the body stands on."""
    legs = {c.quantity for c in request.constraints if "legs" in parts_of(c.quantity)}
    sides = {"left" if "left_" in q else "right" if "right_" in q else "" for q in legs}
    both = any("left_" in q and "right_" in q for q in legs)
    return "" if both or len(sides) != 1 else sides.pop()


def _of_other_leg(quantity: str, moved: str) -> bool:
    """Whether a quantity of the legs is settled without the moved one: the other leg, or how high the pelvis is."""
    return f"{moved}_" not in quantity and (
        "left_" in quantity or "right_" in quantity or quantity.startswith(("pelvis.", "balance"))
    )


def parts_of(quantity: str) -> frozenset[str]:
    """The parts of the body that a quantity measures: left_arm, right_arm, legs, trunk, head."""
    first, _, second = quantity.partition(":")
    named = [first.partition("@")[0]] + ([second.partition(".")[0]] if second else [])
    parts = {part for name in named for pattern, part in _PARTS if pattern.match(name)}
    return frozenset(parts or {"trunk"})


def _share(parsed: Parsed) -> float:
    """How much of the words that mean something the parser used, 0..1."""
    used = sum(len(u.split()) for u in parsed.understood)
    return used / max(1, used + len(parsed.rest.split()))


def _sentence(matrot: Tensor, unmet: Sequence[str], request: Request, name: str) -> str:
    """What was made, and honestly what could not be."""
    made = describe(Pose.from_matrot(matrot), length="short", seed=0)
    if name:
        made = f"{name[:1].upper()}{name[1:]}. {made}"
    return " ".join([made, *(_impossible(u, unmet, request) for u in unmet[:2])])


def _impossible(statement: str, unmet: Sequence[str], request: Request) -> str:
    """ "The left hand cannot reach the right ankle while the person is standing straight." """
    at_once = [s for s in dict.fromkeys(c.source for c in request.constraints if c.asked) if s in POSECODES]
    met = [s for s in at_once if s not in unmet]
    mine = _joints(statement)
    reason = next((s for s in met if s in POSTURES), None) or next(
        (s for s in met if _joints(s) & (mine | SPINE | BALANCE)), None
    )
    said = _cannot(statement.lstrip("!"), statement.startswith("!"))
    return f"{said[:1].upper()}{said[1:]}{f' while {_in_words(reason)}' if reason else ''}."


def _joints(statement: str) -> frozenset[str]:
    code = POSECODES.get(statement.lstrip("!"))
    return frozenset[str]().union(*(joints_of(t.quantity) for t in code.terms)) if code else frozenset()


def _cannot(statement: str, negated: bool) -> str:
    part, touches, target = statement.partition("@")
    change = re.match(r"([\w@:.]+) [+-]$", statement)
    if statement in POSECODES and touches and not negated:
        reached = "the ground" if target == "ground" else f"the {target_words(target)}"
        return f"the {part.replace('_', ' ')} cannot reach {reached}"
    if statement in POSECODES:
        code = POSECODES[statement]
        subject = "the person" if code.subject == "person" else f"the {code.subject}"
        return f"{subject} cannot {'help being' if negated else 'be'} {code.predicates[0]}"
    if change and change[1] in QUANTITIES:
        return f"this goes no further: {QUANTITIES[change[1]].text}"
    quantity = re.split(r"=", statement)[0]
    return f"this could not be brought about: {QUANTITIES[quantity].text if quantity in QUANTITIES else statement}"


def _in_words(statement: str) -> str:
    code = POSECODES[statement]
    subject = "the person" if code.subject == "person" else f"the {code.subject}"
    return f"{subject} {'are' if code.subject.endswith(('s', 'feet')) else 'is'} {code.predicates[0]}"


# -- different poses for the same words --------------------------------------------------------------------------------
_VARY_DEG: Final = {
    "shoulder": 30.0, "elbow": 32.0, "wrist": 14.0, "collar": 5.0, "hip": 14.0, "knee": 16.0, "ankle": 6.0,
    "spine1": 6.0, "spine2": 4.0, "spine3": 4.0, "neck": 9.0, "head": 12.0,
}  # fmt: skip
_VARY_APART_DEG: Final = 14.0  # variations of which no joint differs by this much are one
_VARY_TRIES: Final = 3


def _free(request: Request) -> frozenset[str]:
    """The joints that nothing asked is about: they may be different from candidate to candidate."""
    asked = frozenset[str]().union(*(joints_of(c.quantity) for c in request.constraints if c.asked))
    return frozenset(BODY_JOINTS) - asked - {"pelvis"}


def _varied(matrot: Tensor, request: Request, free: frozenset[str], count: int, seed: int) -> Tensor:
    """(n, 22, 3, 3) -> up to ``count`` poses: those given, and more in which only ``free`` joints are otherwise.

    The free joints are thrown about, then the words are made true again by moving nothing but them.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = list(matrot)
    spread = torch.tensor([_VARY_DEG.get(n.removeprefix("left_").removeprefix("right_"), 0.0) for n in BODY_JOINTS])
    spread = spread * torch.tensor([float(n in free) for n in BODY_JOINTS])
    if not spread.any():
        return matrot
    worst = len(unmet_sources(matrot[:1], request))
    for _ in range(_VARY_TRIES):
        wanted = count - len(kept)
        if wanted <= 0:
            break
        base = torch.stack([kept[i % len(matrot)] for i in range(2 * wanted)])
        thrown = torch.randn(len(base), len(BODY_JOINTS), 3, generator=generator) * torch.deg2rad(spread)[:, None]
        done = refine(base @ rot.rotvec_to_matrot(thrown), request, free=free, nearness=2.0, keep_ground=False)
        odd = measure(done.matrot, ("limits.violation", "penetration.depth")).tolist()
        for pose, unmet, (limit, depth) in zip(done.matrot, done.unmet, odd, strict=True):
            natural = limit < _NATURAL_DEG and depth < _NATURAL_M
            if len(kept) < count and len(unmet) <= worst and natural and _differs(pose, kept):
                kept.append(pose)
    return torch.stack(kept)


def _differs(pose: Tensor, others: Sequence[Tensor]) -> bool:
    angles = rot.geodesic_angle(pose[None], torch.stack(list(others)))
    return float(torch.rad2deg(angles).amax(-1).amin()) > _VARY_APART_DEG


def _wish(request: Request) -> Request:
    """What the model only believes to be asked gives way to what was plainly said, and is not complained about."""
    return replace(
        request, constraints=tuple(replace(c, weight=0.6 * c.weight, asked=False) for c in request.constraints)
    )


def _by_name(name: str) -> Entry | None:
    plain = name.removesuffix(_MIRRORED)
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


def _pick(refined: Refined, count: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Up to ``count`` that differ and do what the best one does, best first; the others; what the best one misses.

    The best has the fewest unmet statements and is least unnatural.
    """
    limit, depth = measure(refined.matrot, ("limits.violation", "penetration.depth")).unbind(1)
    missing = torch.tensor([float(len(u)) for u in refined.unmet])
    order: list[int] = (missing * 3 + limit / 5.0 + depth / 0.02).argsort(stable=True).tolist()
    taken: list[int] = []
    for i in order:
        as_good = len(refined.unmet[i]) <= len(refined.unmet[order[0]])
        if as_good and all(_apart(refined.matrot[i], refined.matrot[j]) > _SAME_DEG for j in taken):
            taken.append(i)
    others = [i for i in order if i not in taken[:count]]
    return refined.matrot[taken[:count]], refined.matrot[others], refined.unmet[order[0]]


def _apart(a: Tensor, b: Tensor) -> float:
    return float(torch.rad2deg(rot.geodesic_angle(a, b)).mean())
