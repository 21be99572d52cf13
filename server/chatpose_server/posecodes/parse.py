"""Reads everyday words into statements, and says which words it did not understand. Rules, no model.

Only what the words plainly say becomes a statement: a phrase table made from the vocabulary (so that whatever ``say``
writes is read back), and everyday phrases on top. What is left over stands in ``Parsed.rest`` for a model to make
sense of. English only.
"""

# ruff: noqa: SIM905 (word lists read better as text)
from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from .keywords import GRADED, read_clause
from .say import both_predicate, plural
from .vocabulary import (
    CONTACTS,
    FLAGS,
    POSECODES,
    POSTURES,
    SIDES,
    Request,
    expand,
    mirror_words,
    read,
    target_words,
)


@dataclass(frozen=True)
class Parsed:
    """``statements``: in the vocabulary's notation. ``request``: the same, read. ``understood``: the words each came
    from. ``rest``: words that carry meaning and were not understood."""

    statements: tuple[str, ...]
    understood: tuple[str, ...]
    rest: str

    @property
    def request(self) -> Request:
        """The constraints of all statements."""
        return read(";".join(self.statements))


# -- normal form -------------------------------------------------------------------------------------------------------
_OWN: Final = r"(?:his|her|their|your|my|its|the|a|an|one's|this|that|some)"
_LIMBS: Final = r"(?:arm|hand|elbow|knee|leg|foot|shoulder|hip|thigh|palm|wrist|ankle|heel|forearm|shin|fist)s?"
_FOLD: Final = r"(?:bend|bends|bending|bent|fold|folds|folding|folded|bow|bows|bowing|bowed|hinge|hinged|doubled)"
_SYNONYMS: Final = tuple(
    (re.compile(rf"\b(?:{pattern})(?:\b|(?<=°))"), word)
    for pattern, word in (
        (rf"(?:l|lt)\.?(?= {_LIMBS}\b)|l\.", "left"),
        (rf"(?:r|rt)\.?(?= {_LIMBS}\b)", "right"),
        (r"left-hand|lefthand", "left hand"),
        (r"right-hand|righthand", "right hand"),
        (rf"{_OWN} (?=(?:left|right|both|other|opposite)\b)", ""),
        (rf"{_OWN} face (?=down|up|lowered|raised)", "head "),  # "face down" alone is how somebody lies
        (r"opposite|contralateral|far(?= (?:arm|hand|leg|foot|knee|shoulder|hip))", "other"),
        (r"left and right|right and left|left & right|both of", "both"),
        (r"palm(s?) (?=(?:on|against|touching|resting|placed|flat)\b)", r"hand\1 "),
        (r"(hands?) (?:placed |pressed |planted )?flat (?=on|against)", r"\1 "),
        (r"finger ?tips", "hands"),
        (rf"{_FOLD} (?:all the way|completely|fully|deeply|right|far) (?:forward|over|down)s?", "bent over"),
        (rf"{_FOLD} (?:forward|over|down)s? (?:all the way|completely|fully|deeply)", "bent over"),
        (r"chest and shoulders|torso|upper-body|trunk and head|trunk", "upper body"),
        (r"tummy|stomach|abdomen|midriff", "belly"),
        (r"bum|butt|backside|bottom|rear|glutes?", "buttock"),
        (r"noggin|skull", "head"),
        (
            r"(?:fists|guard|dukes)(?: are| held)? (?:up|raised)"
            rf"(?: (?:in front of|before|at|to) (?:{_OWN} )?(?:chin|face|mouth|cheeks?)"
            r"|(?! high| in| above| over| at| to))",
            "guard",
        ),
        (r"jaw", "chin"),
        (r"lips?", "mouth"),
        (r"brow", "forehead"),
        (r"fists|palms of (?:the|his|her|their|your) hands", "hands"),
        (r"fist|palm of (?:the|his|her|their|your) hand", "hand"),
        (r"tiptoes|tip toes?|tippy ?toes", "tiptoe"),
        (r"90°|ninety degrees?|90 degrees?|90 deg|a 90|90-degree angle", "right angle"),
        (r"bending", "bent"),
        (r"touches|touched", "touching"),
        (r"grass|sand|carpet|rug|floor|earth|mat|soil", "ground"),
        (r"stretched out|outstretched", "stretched"),
        (r"backwards", "backward"),
        (r"forwards|to the front|frontwards?", "forward"),
        (r"upwards?|skywards?", "up"),
        (r"downwards?", "down"),
        (r"(turned|pointing|pointed|turn|rotated) (?:out|outwards)", r"\1 outward"),
        (r"(turned|pointing|pointed|turn|rotated) (?:in|inwards)", r"\1 inward"),
        (r"sideways|laterally|to the sides?|out to (?:the|each|either) sides?", "out to side"),
        (r"(?:bent|bend) out to side", "bend sideways"),
        (r"towards", "toward"),
        (rf"overhead|over {_OWN} heads?|above {_OWN} heads?", "above head"),
        (rf"level with (?:{_OWN} )?(eye|head|shoulder|chest|waist|hip|knee)s?", r"at \1 level"),
        (r"kneels|knelt", "kneeling"),
        (r"sits|sat|seated", "sitting"),
        (r"stands|stood", "standing"),
        (r"lies|laying|lays|lay", "lying"),
        (r"squats|squatted", "squatting"),
        (r"crouches|crouched|crouching", "squatting"),
        (r"leans|leaned|leant", "leaning"),
        (r"raises|raised|raising|lifted|lifts|lifting", "raise"),
        (r"lowers|lowered|lowering", "lower"),
        (r"bends", "bend"),
        (r"looks", "looking"),
        (r"turns", "turned"),
        (r"tilts", "tilted"),
        (r"hand is|hand's", "hand"),
    )
)
_DROPPED: Final = frozenset(
    "the a an his her their your my its is are was be being been he she they it i you am person man woman figure"
    " someone somebody character girl boy guy lady people with while held kept keep hold make has have having there"
    " who which very please so just really own in pose posture position exercise show shows showing shown that this"
    " quite about him me them as if also then now and should can could would will want ,".split()
)
_SPLIT: Final = re.compile(r"[.;:!?\n]+|,|\b(?:while|whilst|but|then|with)\b|\band\b")
_TOKEN: Final = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")

_OFTEN_MISTYPED: Final = (
    "left right arms hand hands elbow elbows knees foot feet legs head shoulder shoulders chest ankle ankles wrist"
    " wrists thigh thighs waist palms hips straight raised stretched crossed folded clasped forward behind together"
    " kneeling sitting standing looking leaning squatting crouching lying floor ground stomach forehead upright twisted"
).split()
_REAL_WORDS: Final = frozenset("high wait writ alms pals raise hand elbow knee shoulder ankle wrist thigh fold".split())
_ALWAYS_MEANT: Final = {"lef": "left", "rite": "right", "teh": "the", "strait": "straight", "infront": "front"}


@functools.cache
def _misspellings() -> Mapping[str, str]:
    """Two neighbouring letters exchanged, one written twice or one left out: what fingers do to the words of poses."""
    table: dict[str, str] = {}
    for word in _OFTEN_MISTYPED:
        n = len(word)
        wrong = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(n - 1)}
        wrong |= {word[: i + 1] + word[i:] for i in range(n)}
        if n >= 5:  # of a shorter word too little would be left
            wrong |= {word[:i] + word[i + 1 :] for i in range(1, n)}
        table |= dict.fromkeys(wrong - {word.removesuffix("s")} - _REAL_WORDS - set(_OFTEN_MISTYPED), word)
    return table | _ALWAYS_MEANT


def _spelt(text: str) -> str:
    return _TOKEN.sub(lambda m: _misspellings().get(m[0], m[0]), text)


def normal(text: str) -> str:
    """Lower case, synonyms made one, words that carry no meaning for a pose left out."""
    text = _spelt(text.lower().replace("\u2019", "'").replace("-", " "))
    for pattern, word in _SYNONYMS:
        text = pattern.sub(word, text)
    return " ".join(t for t in _TOKEN.findall(text) if t not in _DROPPED)


# -- phrases -----------------------------------------------------------------------------------------------------------
_EVERYDAY_FILE: Final = "everyday.txt"


def _everyday() -> Iterator[tuple[str, str]]:
    """Phrase pattern and statements, line by line of the table beside this file."""
    statements = ""
    for line in (
        (resources.files(__package__ or "chatpose_server.posecodes") / _EVERYDAY_FILE)
        .read_text(encoding="utf-8")
        .splitlines()
    ):
        if line.startswith("#") or not line.strip():
            continue
        if not line[0].isspace():
            statements = line.strip()
            continue
        yield from ((pattern.strip(), statements) for pattern in line.split("|"))


_ON: Final = ("on", "touching", "against", "resting on", "placed on", "on top of", "to", "at", "over", "holding",
              "grabbing", "gripping", "touch", "pressed to", "pressed against", "rests on", "covering")  # fmt: skip
_ON_COMMANDS: Final = ("put {} on {}", "place {} on {}", "rest {} on {}", "touch {1} {0}", "bring {} to {}",
                       "hold {1} {0}", "touching {1} {0}", "holding {1} {0}", "rest {} against {}", "move {} to {}",
                       "put {} to {}", "lay {} on {}")  # fmt: skip
_MORE_TARGETS: Final = {
    "back_of_head": ("back of head",),
    "neck": ("neck", "nape", "back of neck"),
    "lower_back": ("lower back", "small of back"),
    "chest": ("chest", "heart", "breast"),
    "belly": ("belly",),
    "waist": ("waist", "side"),
    "top_of_head": ("top of head", "head"),
    "forehead": ("forehead",),
    "shoulder": ("shoulder",),
    "temple": ("temple",),
    "upper_arm": ("upper arm", "biceps", "bicep"),
}


@functools.cache
def phrases() -> Mapping[str, str]:
    """Normal-form phrase -> statements. Everyday phrases win over those made from the vocabulary."""
    table: dict[str, str] = {}
    for words, statements in (*_from_vocabulary(), *_contacts()):
        table.setdefault(normal(words), statements)
    for pattern, statements in _everyday():
        for words, meant in _sided(pattern, statements):
            table[normal(words)] = meant
    table.pop("", None)
    return table


def _sided(pattern: str, statements: str) -> Iterator[tuple[str, str]]:
    part = re.search(r"\{(arm|hand|elbow|knee|leg|foot|palm|thigh|heel)\}", pattern)
    if part is None and "{s}" not in pattern:
        yield pattern, statements
        return
    for s, o in (SIDES, SIDES[::-1]):
        for other in (o, "other"):
            words = re.sub(r"\{(\w{3,})\}", lambda m, s=s: f"{s} {m[1]}", pattern).replace("{s}", s)
            yield words.replace("{o}", other), statements.format(s=s, o=o)
    if part is not None:
        both = "; ".join(statements.format(s=s) for s in SIDES)
        for lead in ("", "both "):
            yield re.sub(r"\{(\w{3,})\}", lambda m, lead=lead: lead + plural(m[1]), pattern), both


def _from_vocabulary() -> Iterator[tuple[str, str]]:
    for name, code in POSECODES.items():
        for p in code.predicates:
            yield (p if code.subject == "person" else f"{code.subject} {p}"), name
        for c in code.commands:
            yield c, name
        if name.startswith("left_") and mirror_words(name) in POSECODES and ":" not in name:
            pair = f"{name}; {mirror_words(name)}"
            for p in code.predicates:
                said = both_predicate(p, "left")
                if not re.search(r"\b(?:left|right)\b(?! angle)", said):
                    yield f"{plural(code.subject)} {said}", pair
                    yield f"both {plural(code.subject)} {said}", pair


def _contacts() -> Iterator[tuple[str, str]]:
    for p, q in CONTACTS:
        side, _, part = p.partition("_")
        t_side, _, t_part = q.partition("_")
        sided = t_side in SIDES
        names = [target_words(q)]
        base = t_part if sided else q
        plain = list(_MORE_TARGETS.get(base, (base.replace("_", " "),)))
        if sided:
            names += [f"{t_side} {w}" for w in plain]
            if t_side == side or base in ("upper_arm", "elbow", "forearm", "wrist", "armpit"):
                names += plain
            if t_side != side:
                names += [f"other {w}" for w in plain]
        else:
            names += plain
        subject = f"{side} {part}"
        for target in dict.fromkeys(names):
            for on in _ON:
                yield f"{subject} {on} {target}", f"{p}@{q}"
            for command in _ON_COMMANDS:
                yield command.format(subject, target), f"{p}@{q}"
        own = mirror_words(q) if sided else q
        if side == "left" and (not sided or t_side == "left"):
            pair = f"{p}@{q}; {mirror_words(p)}@{own}"
            for target in dict.fromkeys([*(plural(w) if sided else w for w in plain), *plain]):
                for lead in ("", "both "):
                    for on in _ON:
                        yield f"{lead}{plural(part)} {on} {target}", pair
                    for command in _ON_COMMANDS:
                        yield command.format(lead + plural(part), target), pair


# -- reading -----------------------------------------------------------------------------------------------------------
_LONGEST: Final = 12
_SUBJECT: Final = re.compile(
    r"\b(?:(left|right|both) )?(arms?|hands?|elbows?|knees?|legs?|foot|feet|thighs?|head|palms?|upper body|back"
    r"|shoulders?|upper arms?|forearms?)\b"
)
_NOUNS: Final = frozenset({"bow", "wave", "plank", "lotus", "leap", "salute", "crouch"})  # orders only when alone
_ONLY_FIRST: Final = re.compile(  # else "hand on back", "hands on left knee"
    r"on (?:back|belly|front|(?:left|right) (?:side|leg|foot|knee))$"
)
_ONE: Final = re.compile(  # "on one leg" is how somebody stands
    r"(?<!\bon )(?<!\bonly )\bone (arm|hand|fist|elbow|forearm|(?:leg|foot|knee)(?! on (?:the )?(?:ground|floor)))\b"
)
_THE_OTHER: Final = re.compile(  # in the place of a subject: "one arm up, the other on the hip"
    r"(?:(?<=[,;.] )|(?<=and )|(?<=while )|(?<=with )|(?<=but ))(?:with )?(?:the |his |her |their )?other(?: one)?"
    r"(?= (?:is |was )?(?:on|in|at|to|up|down|behind|over|under|above|out|against|across|by|around|round|near|high|"
    r"low|raised|lowered|bent|straight|stretched|held|kept|tucked|back|forward|crossed|\w+ing|(?:hang|rest|point|"
    r"hold|reach|touch|support|cover|shield|grip|clutch|wave)e?s)\b)"
)
_NOT: Final = re.compile(r"\b(?:not|no|never|without|don't|doesn't|isn't|aren't|nor|instead of|rather than|avoid)\b")
_PROTECTED: Final = (("hands and knees", "hands knees"), ("up and out", "up out"), ("side to side", ""),
                     ("up and down", ""), ("left and right", "both"), ("right and left", "both"))  # fmt: skip
_OTHER: Final = re.compile(r"\bother (arm|hand|leg|foot|knee|elbow)\b")
_ELLIPSIS: Final = re.compile(
    r"(left|right)(?: one| other)?(?= )(?! (?:heel|toe|ankle|wrist|hip|ear|cheek|side|shin|calf|thumb|finger)s?\b)"
)  # "the left arm is up, the right hangs down"
_LOOK: Final = re.compile(r"\b(?:look|glanc|gaz|star(?=e|ing)|peer)\w*")
_WAY: Final = re.compile(r"(?:to )?(?:left|right|up|down)$")
_LEGS_CROSSED: Final = re.compile(r"\bcross\w* legs\b|\blegs crossed$")
_INSTRUMENT: Final = re.compile(  # "reaching up with the right hand" -> "right hand reaching up"
    r"(?<![\w-])(?!(?:stand|sit|kneel|ly|squat|lean|balanc|crouch|hang|end|start)\w*)"
    r"(\w+ing|(?:touche?|reache?|point|cover|grab|hold|scratche?|push|wave|lift|kick|step)s?)"
    r"((?: (?!with\b)[\w'-]+){1,6})"
    r" with (?:(?:his|her|their|your|my|the) )?((?:left|right|both) (?:forearm|arm|hand|foot|leg|elbow|knee)s?)"
    r"(?=\s*(?:[.,;!?]|$|\band\b|\bwhile\b))"
)


@dataclass(frozen=True)
class _Clause:
    """``words``: in normal form, with the part of the body filled in that was named before. ``found``: (phrase,
    statements) of the table; ``unread``: the words that belong to none. ``refused``: it says what should not be."""

    words: str
    found: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()
    refused: bool = False


def parse(text: str) -> Parsed:
    """Reads a sentence or several. Never raises for any text: what is not understood is left in ``rest``."""
    return _parsed((c, ()) for c in _read(text))


def understand(text: str) -> Parsed:
    """Like ``parse``, and clauses that the phrase table leaves words of are read by their key words as well."""
    return _parsed((c, () if c.refused or not c.unread else read_clause(c.words)) for c in _read(text))


def _parsed(clauses: Iterable[tuple[_Clause, tuple[str, ...]]]) -> Parsed:
    statements: list[str] = []
    understood: list[str] = []
    left: list[str] = []
    crossed, one_knee = False, False
    for clause, by_key_words in clauses:
        statements += by_key_words
        unread = list(clause.unread)
        for phrase, meant in clause.found:
            crossed = crossed or _LEGS_CROSSED.search(phrase) is not None
            one_knee = one_knee or "one knee" in phrase
            understood.append(phrase)
            if meant == "sitting" and "ground" in unread:
                statements.append("sitting_on_ground")
                unread.remove("ground")
            else:
                said = [s.strip() for s in meant.split(";")]
                # "a slight bend": what the phrase left over grades it, and the key words have read both.
                graded = bool(by_key_words) and GRADED.search(" ".join(clause.unread)) is not None
                clash = [s for s in said if graded and s[0] not in "?!" and any(_exclude(k, s) for k in by_key_words)]
                statements += [s for s in said if s not in clash]
        if unread:
            (understood if by_key_words else left).append(" ".join(unread))
    if one_knee and any(re.search(r"@right_(?:knee|thigh)", s) for s in statements):  # what one leans on is raised
        statements = ["kneeling_on_left" if s == "kneeling_on_right" else s for s in statements]
    statements = _together(statements, crossed)
    return Parsed(tuple(_without_contradictions(statements)), tuple(understood), "; ".join(left))


def _read(text: str) -> Iterator[_Clause]:
    table = phrases()
    subject, side = "", ""
    bare: list[str] = []  # "arms and legs straight": subjects whose predicate is still to come
    text = _INSTRUMENT.sub(r"\3 \1\2", _with_sides(text[:4000].lower()))
    for a, b in _PROTECTED:
        text = text.replace(a, b)
    for clause in _clauses(text, table):
        if _NOT.search(clause):
            refusal = normal(clause)
            if refusal in table:  # "don't bend the knees" says what should be
                yield _Clause(refusal, ((refusal, table[refusal]),))
            else:
                yield _Clause(clause, unread=(clause,), refused=True)
            continue
        words = normal(clause)
        if side:
            turned = "right" if side == "left" else "left"
            words = _OTHER.sub(lambda m, turned=turned: f"{turned} {m[1]}", words)
        if subject and not _SUBJECT.search(words) and (m := _ELLIPSIS.match(words)):
            words = f"{m[1]} {subject.rsplit(maxsplit=1)[-1]}{words[m.end() :]}"
        found, unread = _match(words.split(), table)
        if (not found or (unread and subject and not _SUBJECT.search(words))) and (
            subject != "looking" or _WAY.match(words)
        ):
            again, still = _match(f"{subject} {words}".split(), table) if subject else ([], [])
            if again and len(still) < len(unread):
                found, unread = again, still
        own = _SUBJECT.search(words)
        if found and unread and own:  # "hands together above the head": said of the same part
            more, still = _match(f"{own[0]} {' '.join(unread)}".split(), table)
            if more and not still:
                found, unread = [*found, *more], []
        if own and own[0] == words and not found:
            bare.append(words)
        elif own and own.start() == 0 and found:
            for other in bare:
                more, still = _match(f"{other}{words[own.end() :]}".split(), table)
                found += more if not still else []
            bare = []
        yield _Clause(words, tuple(found), tuple(unread))
        said = list(_SUBJECT.finditer(words))
        if said:
            subject = said[0][0]
            sides = [m[1] for m in said if m[1] in SIDES]
            side = sides[0] if sides else side
        elif _LOOK.search(words):
            subject = "looking"


def _with_sides(text: str) -> str:
    """ "One arm up, the other on the hip": which is which is left to the reader, and this reader takes the right."""
    m = _ONE.search(text)
    if m is None or re.search(r"\b(?:left|right)\b", text):
        return text
    begun, rest = text[: m.start()] + f"right {m[1]}", text[m.end() :]
    return begun + _THE_OTHER.sub(f"left {m[1]}", rest, count=1)


def _clauses(text: str, table: Mapping[str, str]) -> Iterator[str]:
    """Parts of a sentence; "and" and commas split unless the whole reads as one phrase."""
    for sentence in re.split(r"[.;!?\n]+", text):
        if normal(sentence) in table:
            yield sentence
        else:
            yield from (c for c in _SPLIT.split(sentence) if c.strip())


def _match(words: list[str], table: Mapping[str, str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Longest phrases first, from the left; what belongs to none is given back."""
    found: list[tuple[str, str]] = []
    unread: list[str] = []
    i = 0
    while i < len(words):
        for n in range(min(_LONGEST, len(words) - i), 0, -1):
            phrase = " ".join(words[i : i + n])
            alone = n == 1 and i > 0 and not phrase.endswith("ing")  # "the stand", "bow and arrow": nouns, not orders
            alone = alone or (i > 0 and _ONLY_FIRST.match(phrase) is not None)
            if phrase in table and not alone and (phrase not in _NOUNS or len(words) == 1):
                found.append((phrase, table[phrase]))
                i += n
                break
        else:
            unread.append(words[i])
            i += 1
    return found, unread


# -- statements that belong together -----------------------------------------------------------------------------------
_FACES: Final = ("chin", "cheek", "temple", "forehead", "mouth", "eye", "top_of_head")
_ELBOWS_ON_KNEES: Final = ("?left_elbow@left_thigh=..0.12", "?right_elbow@right_thigh=..0.12", "?trunk.pitch=25..55")


def _held_head(said: set[str]) -> bool:
    """Whether both hands hold the head or cover the face."""
    one, other = (
        any(x.startswith(f"{s}_hand@") and x.partition("@")[2].removeprefix(f"{s}_").startswith(_FACES) for x in said)
        for s in SIDES
    )
    return (one and other) or "hands=over_face" in said or "hands@temples" in said


def _together(statements: list[str], legs_crossed: bool) -> list[str]:
    """What several clauses mean only together: crossed legs while sitting, a lunge and which leg is in front."""
    said = set(statements)
    if legs_crossed and "feet=crossed" in said:
        if "sitting" in said:
            statements = ["legs=crossed_left_over" if s == "feet=crossed" else s for s in statements]
        elif "sitting_on_ground" in said:
            statements = [s for s in statements if s not in ("feet=crossed", "sitting_on_ground")] + ["cross_legged"]
    for s in SIDES:
        front = {f"{s}_leg=forward", f"{s}_foot=ahead"} & said
        if front and said & {"lunge_left", "lunge_right"}:
            statements = [x for x in statements if x not in front and not x.startswith("lunge_")] + [f"lunge_{s}"]
    if "sitting" in said and _held_head(said) and not any(x.startswith(("trunk", "spine", "elbows")) for x in said):
        statements = [*statements, *_ELBOWS_ON_KNEES]  # a head that lies in both hands is propped
    if {"left_foot=raised", "right_foot=raised", "on_front"} <= said:  # feet go up by bending the knees
        return [x for x in statements if not x.endswith("_foot=raised")] + ["knees=75..115", "shins.vertical=..40"]
    if {"left_foot=raised", "right_foot=raised"} <= said and not said & POSTURES and not said & FLAGS:
        statements = [x for x in statements if x not in ("left_foot=raised", "right_foot=raised")] + ["airborne"]
    return statements


def _without_contradictions(statements: list[str]) -> list[str]:
    """Each once; of two that exclude each other, the later one."""
    kept: list[str] = []
    for s in dict.fromkeys(statements):
        if not s.startswith("?"):
            kept = [k for k in kept if k.startswith("?") or not _exclude(k, s)]
        kept.append(s)
    said = {c.quantity for s in kept if not s.startswith("?") for c in read(s).constraints}
    return [s for s in kept if not (s.startswith("?") and s[1:].partition("=")[0] in said)]


@functools.cache
def _exclude(one: str, other: str) -> bool:
    """Whether two statements cannot both hold, or are different bands of one and the same thing."""
    a, b = (POSECODES.get(expand(s)[0]) for s in (one, other))
    if a and b and a.group == b.group and a.subject == b.subject and a.group not in ("posture", a.name):
        return True
    if a and b and a.group == b.group == "posture":
        return False  # "sitting on the floor, cross-legged": the one is a kind of the other
    first = {c.quantity: c for c in read(one).constraints}
    return any(
        min(first[c.quantity].hi, c.hi) < max(first[c.quantity].lo, c.lo)
        for c in read(other).constraints
        if c.quantity in first and not {first[c.quantity].source, c.source} & POSTURES
    )
