"""Reads everyday words into statements, and says which words it did not understand. Rules, no model.

Only what the words plainly say becomes a statement: a phrase table made from the vocabulary (so that whatever ``say``
writes is read back), and everyday phrases on top. What is left over stands in ``Parsed.rest`` for a model to make
sense of. English only.
"""

# ruff: noqa: E501, SIM905, RUF001 (tables of phrases: one entry a line, typographic quotes are input)
from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .say import both_predicate, plural
from .vocabulary import CONTACTS, POSECODES, SIDES, Request, expand, mirror_words, read, target_words


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
_SYNONYMS: Final = tuple((re.compile(rf"\b(?:{a})\b"), b) for a, b in (
    (r"left-hand|lefthand", "left hand"), (r"right-hand|righthand", "right hand"), (r"lt|l\.", "left"),
    (r"(?:his|her|their|your|my|its|the|a|an|one's|this|that|some) (?=(?:left|right|both|other|opposite)\b)", ""),
    (r"opposite|contralateral|far", "other"), (r"left and right|right and left|left & right|both of", "both"),
    (r"chest and shoulders|torso|upper-body|trunk and head", "upper body"), (r"tummy|stomach|abdomen|midriff", "belly"),
    (r"bum|butt|backside|bottom|rear|glutes?", "buttock"), (r"noggin|skull", "head"), (r"jaw", "chin"),
    (r"lips?", "mouth"), (r"brow", "forehead"), (r"fists?|palms? of (?:the|his|her|their|your) hands?", "hand"),
    (r"tiptoes|tip toes?|tippy ?toes", "tiptoe"), (r"90°|ninety degrees?|90 degrees?|90 deg|a 90|90-degree angle",
                                                   "right angle"),
    (r"bending", "bent"), (r"touches|touched", "touching"), (r"grass|sand|carpet|rug", "ground"), (r"floor|earth|mat|soil", "ground"), (r"stretched out|outstretched", "stretched"),
    (r"backwards", "backward"), (r"forwards|to the front|frontwards?", "forward"), (r"upwards?|skywards?", "up"),
    (r"downwards?", "down"), (r"sideways|laterally|to the sides?|out to (?:the|each|either) sides?", "out to side"),
    (r"towards", "toward"), (r"overhead|over (?:the|his|her|their|your|my) heads?|above (?:the|his|her|their|your|my) heads?",
                             "above head"),
    (r"kneels|knelt", "kneeling"), (r"sits|sat|seated", "sitting"), (r"stands|stood", "standing"),
    (r"lies|laying|lays|lay", "lying"), (r"squats|squatted", "squatting"), (r"crouches|crouched|crouching", "squatting"),
    (r"leans|leaned|leant", "leaning"), (r"raises|raised|raising|lifted|lifts|lifting", "raise"),
    (r"lowers|lowered|lowering", "lower"), (r"bends", "bend"), (r"looks", "looking"), (r"turns", "turned"),
    (r"tilts", "tilted"), (r"hand is|hand's", "hand"),
))  # fmt: skip
_DROPPED: Final = frozenset(
    "the a an his her their your my its is are was be being been he she they it i you am person man woman figure someone"
    " somebody character girl boy guy lady people with while held kept keep hold make has have having there who which"
    " very please so just really own in pose posture position shows showing shown that this quite about him me them"
    " as if also then now and ,".split()
)
_SPLIT: Final = re.compile(r"[.;:!?\n]+|,|\b(?:while|whilst|but|then|with)\b|\band\b")
_TOKEN: Final = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def normal(text: str) -> str:
    """Lower case, synonyms made one, words that carry no meaning for a pose left out."""
    text = text.lower().replace("’", "'").replace("-", " ")
    for pattern, word in _SYNONYMS:
        text = pattern.sub(word, text)
    return " ".join(t for t in _TOKEN.findall(text) if t not in _DROPPED)


# -- phrases -----------------------------------------------------------------------------------------------------------
# ``{s}``: left or right; ``{o}``: the other one; without a side in the words, the plural speaks of both.
_EVERYDAY: Final[Mapping[str, str]] = {
    # whole postures
    "standing up|stand up|stand": "standing", "standing straight|stand straight|stand tall|standing tall|standing upright|standing to attention":
        "standing_straight; feet=close", "sitting down|sit down|sit|sitting|take seat|sitting on chair|sitting on bench|sitting on stool": "sitting",
    "sitting on ground|sit on ground|sitting down on ground": "sitting_on_ground",
    "sitting cross legged|sit cross legged|cross legged|sitting with legs crossed on ground|lotus": "cross_legged",
    "kneeling|kneel|kneel down|kneeling down|on knees|on both knees|get on knees|kneeling on both knees": "kneeling",
    "kneeling on {s} knee|kneel on {s} knee|down on {s} knee|go down on {s} knee|{s} knee on ground|on {s} knee":
        "kneeling_on_{s}",
    "kneeling on one knee|down on one knee|on one knee|kneel on one knee|get down on one knee|go down on one knee": "kneeling_on_right",
    "squatting|squat|squat down|squatting down|crouch|crouch down|deep squat": "squatting",
    "half squat|knees slightly bent standing|bend knees": "half_squat",
    "lunging forward {s} leg|lunge forward {s} leg|lunge {s} leg forward|{s} leg forward lunge|lunging {s} leg forward|lunge on {s} leg|{s} lunge|lunging {s} leg front":
        "lunge_{s}",
    "lunging to {s}|side lunge to {s}|side lunge {s}|lunge to {s} side": "side_lunge_{s}",
    "standing on {s} leg|stand on {s} leg|balancing on {s} leg|balance on {s} leg|standing on {s} foot|balancing on {s} foot|balance on {s} foot|stand on {s} foot|standing only on {s} leg":
        "standing_on_{s}",
    "standing on one leg|stand on one leg|balancing on one leg|balance on one leg|standing on one foot": "standing_on_right",
    "on tiptoe|standing on tiptoe|stand on tiptoe|rise on toes|on toes": "tiptoe",
    "on all fours|all fours|on hands knees|hands knees on ground": "on_all_fours",
    "lying on back|lying face up|lie on back|lying down on back|supine|lying down": "on_back",
    "lying on front|lying on belly|lying face down|lie face down|lie on belly|lie on front|prone|lying down on belly": "on_front",
    "lying on {s} side|lie on {s} side|lying down on {s} side": "on_{s}_side",
    "upside down|inverted": "upside_down", "handstand|doing handstand": "upside_down; hands@ground; elbows=straight; arms=overhead",
    "jumping|jump|in air|mid air|leaping|airborne|jumping in air|jumping up": "airborne",
    "plank|push up|pushup|press up|in plank": "plank",
    # trunk
    "leaning forward|lean forward|upper body leaning forward|bent forward|bend forward|hunched forward": "trunk=forward",
    "leaning slightly forward|lean slightly forward|leaning forward slightly|leaning forward little|lean forward little":
        "trunk=slightly_forward",
    "leaning backward|leaning back|lean back|lean backward": "trunk=back",
    "leaning to {s}|lean to {s}|leaning {s}|lean {s}|leaning to {s} side": "trunk={s}",
    "bent over|bend over|bend down|bent at waist|bending over|bow|bowing|bowing deeply": "trunk=bent_over",
    "upper body turned {s}|upper body turned to {s}|twist to {s}|twisted to {s}|twisting to {s}|upper body twisted {s}|twist upper body to {s}|twist {s}|upper body rotated to {s}|turn upper body to {s}|turn upper body {s}":
        "trunk=twisted_{s}",
    "back arched|arch back|arched back|arching back|arching": "spine=arched",
    "hunched|slouching|slouched|back rounded|round back|hunched over|rounded back|back hunched|slumped": "spine=curled",
    "back straight|straight back": "spine=straight", "bend to {s}|side bend to {s}|bent to {s}|bend sideways to {s}": "spine=side_{s}",
    # head and gaze
    "head down|looking down|look down|looking at ground|looking at feet|head bowed|bow head|bowed head|lower head|head lower|head lowered|gaze down|looking to ground": "head=down",
    "head up|looking up|look up|raise head|head raise|head tilted back|head back|looking at sky|looking at ceiling|chin up|tilt head back": "head=up",
    "head turned {s}|head turned to {s}|turn head {s}|turn head to {s}|looking {s}|looking to {s}|look {s}|look to {s}|head facing {s}|head to {s}|face turned {s}|face turned to {s}|head looking {s}|head looking to {s}":
        "head={s}",
    "head tilted {s}|head tilted to {s}|tilt head {s}|tilt head to {s}|head cocked to {s}|head tilted toward {s} shoulder|tilt head toward {s} shoulder|head leaning {s}":
        "head=tilted_{s}",
    "looking over {s} shoulder|look over {s} shoulder|looking back over {s} shoulder|glancing over {s} shoulder|look back over {s} shoulder":
        "looking_over_{s}_shoulder",
    "looking over shoulder|look over shoulder|looking back|looking back over shoulder|looking behind|glancing over shoulder": "looking_over_left_shoulder",
    "looking straight ahead|look straight ahead|looking forward|look forward|facing forward|head straight|looking ahead|look ahead": "head=straight; head=level",
    "looking at {s} hand|look at {s} hand": "gaze@{s}_hand",
    # shoulders
    "shrugging|shrug|shoulders shrugged|shrug shoulders|raise shoulders|shoulders raise|shrugging shoulders|hunched shoulders": "shoulders=shrugged",
    # both hands
    "hands on hips|arms akimbo|akimbo|hand on each hip": "hands@hips",
    "arms crossed|arms crossed over chest|arms folded|folded arms|crossed arms|cross arms|fold arms|arms crossed on chest|arms crossed in front of chest|arms folded across chest|crossing arms": "arms=crossed",
    "hands behind head|hands clasped behind head|put hands behind head": "hands=behind_head",
    "hands behind back|hands clasped behind back|arms behind back|put hands behind back": "hands=behind_back",
    "hands clasped|hands together|hands folded|clasp hands|hands joined|clasped hands|hands clasped together|hands clasped in front": "hands=clasped",
    "palms together|praying hands|hands in prayer|prayer hands|praying|palms pressed together|hands pressed together|namaste": "hands=prayer",
    "covering face|hands over face|hands covering face|cover face|face in hands|hands on face|covering face hands": "hands=over_face",
    "hands over ears|hands on ears|covering ears|cover ears": "hands@ears",
    "hands over eyes|covering eyes|cover eyes": "hands@eyes",
    "hands on knees": "hands@knees", "hands on thighs|hands on lap|hands resting on thighs": "hands@thighs",
    "hands on ground|palms on ground|touch ground hands|hands touching ground": "hands@ground",
    "touch toes|touching toes|hands touching feet|touch feet": "hands@feet; trunk=bent_over",
    "hugging knees|hug knees": "hands@shins", "hands above head|hands up|put hands up|hands raise|raise hands": "hands=above_head",
    # one arm or both
    "{arm} up|raise {arm}|{arm} raise|{arm} raise up|raise {arm} up|{arm} above head|{arm} raise above head|raise {arm} above head|{arm} high|{arm} in air|{arm} straight up|{arm} up high|put {arm} up|{arm} pointing up|{arm} stretched up|reach up {arm}|{arm} reaching up|{arm} raise high|{arm} raise in air|lift {arm}|lift {arm} up|{arm} stretched above head|raise {arm} straight up|stretch {arm} up|raise {arm} high":
        "{s}_arm.up=0..50; {s}_hand=above_head; ?{s}_elbow=135..",
    "{arm} down|lower {arm}|{arm} lower|{arm} by side|{arm} at side|{arm} hanging down|{arm} relaxed at side|{arm} at sides|{arm} by sides|{arm} hanging|{arm} relaxed|put {arm} down|{arm} hanging at side|{arm} hanging by side|{arm} hanging loose": "{s}_arm=down; ?{s}_elbow=135..",
    "{arm} forward|{arm} stretched forward|{arm} extended forward|stretch {arm} forward|extend {arm} forward|{arm} out in front|{arm} straight out in front|{arm} in front|{arm} straight forward|{arm} pointing forward|point {arm} forward|{arm} reaching forward|reach {arm} forward|raise {arm} forward|{arm} raise forward|hold {arm} out in front|{arm} stretched in front|{arm} extended in front|reach forward {arm}|{arm} stretched out in front|{arm} straight ahead|pointing forward {arm}|point forward {arm}":
        "{s}_arm=forward; ?{s}_elbow=135..",
    "{arm} out|{arm} out to side|{arm} stretched out to side|{arm} stretched|{arm} extended out to side|{arm} spread|spread {arm}|{arm} spread wide|{arm} wide|{arm} extended to side|{arm} straight out to side|{arm} raise out to side|raise {arm} out to side|stretch {arm} out to side|extend {arm} out to side|{arm} out to sides|{arm} spread out|{arm} open wide|hold {arm} out to side|{arm} stretched out|t pose {arm}|{arm} out wide|extend {arm} out|spread {arm} wide|{arm} held out to side": "{s}_arm=out; ?{s}_elbow=135..",
    "{arm} back|{arm} backward|{arm} stretched backward|{arm} stretched back|{arm} extended back|{arm} extended backward|{arm} swung back|{arm} behind|stretch {arm} back|stretch {arm} backward|{arm} behind body|{arm} pulled back|{arm} reaching back|{arm} reaching behind": "{s}_arm=back; ?{s}_elbow=135..",
    "{arm} raise to shoulder height|raise {arm} to shoulder height|{arm} at shoulder height|{arm} horizontal|{arm} level|{arm} shoulder height|{arm} parallel to ground": "{s}_arm.vertical=75..91; ?{s}_elbow=135..",
    "{arm} raise diagonally|{arm} up out|{arm} raise out|{arm} in v": "{s}_arm=out_up; ?{s}_elbow=135..",
    "{hand} above head|{hand} raise|raise {hand}|{hand} up|{hand} in air|{hand} raise above head|raise {hand} above head|put {hand} up|{hand} high|lift {hand}|{hand} raise high": "{s}_hand=above_head",
    "{hand} in front of chest|{hand} at chest height|{hand} at chest|{hand} chest height|{hand} at chest level": "{s}_hand=chest_height; {s}_hand:{s}_shoulder.forward=0.08..",
    "{hand} at shoulder height|{hand} at shoulder level|{hand} shoulder height|{hand} raise to shoulder height|raise {hand} to shoulder height": "{s}_hand=shoulder_height",
    "{hand} at head height|{hand} at head level|{hand} at face level": "{s}_hand=head_height",
    "{hand} at waist height|{hand} at waist level|{hand} at waist": "{s}_hand=waist_height",
    "{hand} behind back|put {hand} behind back": "{s}_hand@lower_back=..0.10",
    "{hand} behind head|put {hand} behind head": "{s}_hand@back_of_head=..0.08",
    "{hand} on ground|{hand} touching ground|touch ground {hand}|put {hand} on ground|{hand} touch ground|{hand} planted on ground": "{s}_hand@ground",
    "{palm} up|{palm} facing up|{palm} turned up": "{s}_palm=up", "{palm} down|{palm} facing down": "{s}_palm=down",
    "{palm} facing forward|{palm} forward": "{s}_palm=forward",
    # elbows, knees
    "bend {elbow}|{elbow} bent|bent {elbow}|bend {arm}|{arm} bent|bent {arm}": "{s}_elbow=bent",
    "{elbow} bent at right angle|{elbow} at right angle|bend {elbow} to right angle|{arm} bent at right angle|{elbow} bent right angle|{elbow} bent to right angle|bend {arm} to right angle|bend {elbow} at right angle|{elbow} right angle": "{s}_elbow=right_angle",
    "straighten {arm}|{arm} straight|straight {arm}|{arm} extended|extend {arm}|{arm} fully extended|{elbow} straight|straighten {elbow}|{arm} straightened|{arm} locked": "{s}_elbow=straight",
    "{elbow} slightly bent|{arm} slightly bent|slightly bent {elbow}|bend {elbow} slightly|bend {arm} slightly|{elbow} bent slightly|{arm} bent slightly": "{s}_elbow=slightly_bent",
    "{elbow} completely bent|{elbow} fully bent|{arm} fully bent|{arm} bent completely|bend {elbow} completely|{elbow} sharply bent|{arm} sharply bent": "{s}_elbow=..75",
    "bend {knee}|{knee} bent|bent {knee}|bend {leg}|{leg} bent|bent {leg}": "{s}_knee=bent",
    "{knee} bent at right angle|{knee} at right angle|bend {knee} to right angle|{leg} bent at right angle|{knee} bent right angle|bend {leg} to right angle|{knee} bent to right angle|bend {knee} at right angle": "{s}_knee=right_angle",
    "straighten {leg}|{leg} straight|straight {leg}|{leg} fully extended|{knee} straight|straighten {knee}|{leg} straightened|{leg} extended|extend {leg}": "{s}_knee=straight",
    "{knee} slightly bent|{leg} slightly bent|slightly bent {knee}|bend {knee} slightly|bend {leg} slightly|{knee} bent slightly|{leg} bent slightly": "{s}_knee=slightly_bent",
    "{knee} completely bent|{knee} fully bent|{leg} fully bent|{leg} bent completely|bend {knee} completely|{knee} sharply bent|{leg} sharply bent": "{s}_knee=..75",
    # legs
    "raise {leg}|{leg} raise|lift {leg}|{leg} lifted|{leg} raise up|lift {leg} up|{leg} in air|lift {foot}|raise {foot}|{foot} raise|{foot} off ground|lift {foot} off ground|{leg} off ground|{foot} raise off ground|{foot} in air|lift {leg} off ground|{foot} lifted off ground": "{s}_foot=raised",
    "{leg} forward|{leg} stretched forward|{leg} raise forward|{leg} extended forward|{leg} out in front|raise {leg} forward|{leg} kicked forward|kick {leg} forward|kicking forward {leg}|kick forward {leg}|lift {leg} forward|{leg} stretched out in front|{leg} straight out in front|extend {leg} forward|stretch {leg} forward": "{s}_leg=forward",
    "{leg} back|{leg} backward|{leg} stretched backward|{leg} stretched back|{leg} extended back|{leg} extended behind|raise {leg} back|raise {leg} backward|{leg} stretched behind|kick {leg} back|{leg} raise behind|{leg} extended backward|stretch {leg} back": "{s}_leg=back",
    "{leg} out to side|{leg} raise out to side|raise {leg} out to side|{leg} stretched out to side|{leg} extended out to side|lift {leg} out to side|kick {leg} out to side|{leg} kicked out to side|extend {leg} out to side": "{s}_leg.out=0..62; {s}_foot=raised",
    "raise {knee}|{knee} raise|lift {knee}|{knee} up|{knee} raise high|{knee} lifted|lift {knee} up|raise {knee} up|{knee} raise to hip height|{thigh} raise|raise {thigh}": "{s}_thigh=forward; {s}_foot=raised",
    "{knee} to chest|{knee} pulled to chest|pull {knee} to chest|bring {knee} to chest|{knee} drawn up to chest|hug {knee}|{knee} up to chest": "{s}_knee@chest=..0.14",
    "{foot} forward|{foot} in front|step forward {foot}|step forward {leg}|{foot} ahead|{leg} in front|{foot} forward step|step {foot} forward|put {foot} forward|put {foot} in front|{leg} in front of other": "{s}_foot=ahead",
    "{foot} pointed|point {foot}|{foot} toes pointed": "{s}_ankle=pointed",
    "toes pointed|pointed toes|point toes": "ankles=pointed",
    "feet together|feet close together|put feet together|legs together|heels together": "feet=close; feet=side_by_side",
    "feet apart|legs apart|feet spread|legs spread|spread legs|feet wide apart|legs wide apart|legs spread wide|feet wide|wide stance|spread feet|legs wide|feet spread wide|feet spread apart|legs spread apart": "left_foot:right_foot.distance=0.42..",
    "feet shoulder width apart|feet hip width apart|legs shoulder width apart|feet shoulder width": "feet=shoulder_width",
    "ankles crossed|cross ankles|feet crossed|legs crossed at ankles|crossed ankles|legs crossed at ankle": "feet=crossed",
    "knees together": "knees=close", "knees apart|knees spread|knees wide|knees wide apart": "left_knee:right_knee.distance=0.42..",
    "weight on {s} leg|weight on {s} foot|weight on {s}|put weight on {s} leg|put weight on {s} foot|weight shifted to {s} leg|weight shifted to {s}|leaning on {s} leg|shift weight to {s} leg|shift weight to {s}|weight over {s} leg|weight over {s} foot|weight on {s} side": "weight={s}",
    "{s} leg crossed over {o}|cross {s} leg over {o}|{s} leg over {o}|{s} leg crossed over {o} leg|{s} leg over {o} leg|cross {s} leg over {o} leg|{s} knee over {o}|{s} knee crossed over {o}": "legs=crossed_{s}_over",
    "{s} ankle on {o} knee|{s} foot on {o} knee|{s} ankle resting on {o} knee|{s} ankle on {o} thigh": "legs=figure_four_{s}",
    "{s} hand holding {o} elbow|{s} hand on {o} elbow": "{s}_hand@{o}_elbow",
    "t pose": "arms=out; standing_straight", "a pose": "standing_straight; arms=out_down",
    "saluting|salute": "right_hand@right_temple; right_upper_arm.vertical=60..91", "waving|wave": "right_hand=head_height; right_elbow=..110",
    "symmetric|symmetrical": "symmetric",
}  # fmt: skip
_PARTS: Final = {"arm": "arm", "hand": "hand", "elbow": "elbow", "knee": "knee", "leg": "leg", "foot": "foot",
                 "palm": "palm", "thigh": "thigh"}  # fmt: skip
_ON: Final = ("on", "touching", "against", "resting on", "placed on", "on top of", "to", "at", "over", "holding",
              "grabbing", "gripping", "touch", "pressed to", "pressed against", "rests on", "covering")  # fmt: skip
_ON_COMMANDS: Final = ("put {} on {}", "place {} on {}", "rest {} on {}", "touch {1} {0}", "bring {} to {}",
                       "hold {1} {0}", "touching {1} {0}", "holding {1} {0}", "rest {} against {}", "move {} to {}",
                       "put {} to {}", "lay {} on {}")  # fmt: skip
_MORE_TARGETS: Final = {
    "back_of_head": ("back of head",), "neck": ("neck", "nape", "back of neck"), "lower_back": ("lower back", "small of back"),
    "chest": ("chest", "heart", "breast"), "belly": ("belly",), "waist": ("waist", "side"), "top_of_head": ("top of head", "head"),
    "forehead": ("forehead",), "shoulder": ("shoulder",), "temple": ("temple",), "upper_arm": ("upper arm", "biceps", "bicep"),
}  # fmt: skip


@functools.cache
def phrases() -> Mapping[str, str]:
    """Normal-form phrase -> statements. Everyday phrases win over those made from the vocabulary."""
    table: dict[str, str] = {}
    for words, statements in (*_from_vocabulary(), *_contacts()):
        table.setdefault(normal(words), statements)
    for alternatives, statements in _EVERYDAY.items():
        for pattern in alternatives.split("|"):
            for words, meant in _sided(pattern, statements):
                table[normal(words)] = meant
    table.pop("", None)
    return table


def _sided(pattern: str, statements: str) -> Iterator[tuple[str, str]]:
    part = re.search(r"\{(arm|hand|elbow|knee|leg|foot|palm|thigh)\}", pattern)
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
    r"\b(?:(left|right|both) )?(arms?|hands?|elbows?|knees?|legs?|foot|feet|thighs?|head|palms?|upper body|back|shoulders?"
    r"|upper arms?|forearms?)\b"
)
_NOUNS: Final = frozenset({"bow", "wave", "plank", "lotus", "leap", "salute", "crouch"})  # orders only when alone
_NOT: Final = re.compile(r"\b(?:not|no|never|without|don't|doesn't|isn't|aren't|nor|instead of|rather than|avoid)\b")
_PROTECTED: Final = (("hands and knees", "hands knees"), ("up and out", "up out"), ("side to side", ""),
                     ("up and down", ""))  # fmt: skip
_OTHER: Final = re.compile(r"\bother (arm|hand|leg|foot|knee|elbow)\b")


def parse(text: str) -> Parsed:
    """Reads a sentence or several. Never raises for any text: what is not understood is left in ``rest``."""
    table = phrases()
    statements: list[str] = []
    understood: list[str] = []
    left: list[str] = []
    subject, side = "", ""
    text = text[:4000].lower()
    for a, b in _PROTECTED:
        text = text.replace(a, b)
    for clause in _clauses(text, table):
        if _NOT.search(clause):
            left.append(clause)
            continue
        words = normal(clause)
        if side:
            turned = "right" if side == "left" else "left"
            words = _OTHER.sub(lambda m, turned=turned: f"{turned} {m[1]}", words)
        found, unread = _match(words.split(), table)
        if not found or (unread and subject and not _SUBJECT.search(words)):
            again, still = _match(f"{subject} {words}".split(), table) if subject else ([], [])
            if again and len(still) < len(unread):
                found, unread = again, still
        if found and unread and (own := _SUBJECT.search(words)):  # "hands together above the head": said of the same part
            more, still = _match(f"{own[0]} {' '.join(unread)}".split(), table)
            if more and not still:
                found, unread = [*found, *more], []
        for phrase, meant in found:
            if meant == "sitting" and "ground" in unread:
                statements.append("sitting_on_ground")
                understood.append(f"{phrase} ... ground")
                unread = [w for w in unread if w != "ground"]
                continue
            understood.append(phrase)
            statements += [s.strip() for s in meant.split(";")]
        if unread:
            left.append(" ".join(unread))
        said = list(_SUBJECT.finditer(words))
        if said:
            subject = said[0][0]
            sides = [m[1] for m in said if m[1] in SIDES]
            side = sides[0] if sides else side
    return Parsed(tuple(_without_contradictions(statements)), tuple(understood), "; ".join(left))


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
            if phrase in table and not alone and (phrase not in _NOUNS or len(words) == 1):
                found.append((phrase, table[phrase]))
                i += n
                break
        else:
            unread.append(words[i])
            i += 1
    return found, unread


def _without_contradictions(statements: list[str]) -> list[str]:
    """Each once; of two that exclude each other, the later one."""
    kept: dict[str, str] = {}
    for s in dict.fromkeys(statements):
        name = expand(s.lstrip("?"))[0]
        code = POSECODES.get(name)
        group = s if code is None or code.group in ("posture", code.name) else f"{code.group}|{code.subject}"
        kept[group if "=" in s and code is not None and code.terms else s] = s
    said = {c.quantity for s in kept.values() if not s.startswith("?") for c in read(s).constraints}
    return [s for s in kept.values() if not (s.startswith("?") and s[1:].partition("=")[0] in said)]
