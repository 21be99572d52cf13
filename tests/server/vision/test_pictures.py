"""Pictures in, poses out, through the engine: our own body drawn in known poses."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.engine import Engine
from chatpose_server.faults import explain
from chatpose_server.model_host import ModelHost
from chatpose_server.picture import Picture
from chatpose_server.skeleton import INDEX
from chatpose_server.tasks import PeopleRequest, PoseRequest
from chatpose_server.vision.blazepose import AT, NAMES
from PIL import Image

from .drawn import BENDS, picture, side_by_side
from .test_fit import off_mm

pytest.importorskip("ai_edge_litert", reason="this computer has no build of ai-edge-litert: pictures are off here")


def sent(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return Picture.check(out.getvalue())


@pytest.fixture(scope="module")
def engine():
    return Engine(ModelHost(lambda *_: pytest.fail("a picture needs no language model"), "chatpose-small"))


def facing_deg(quat):
    x, _, z = rot.quat_to_matrot(quat)[:, 2].tolist()
    return math.degrees(math.atan2(x, z))


# a step straight towards the camera is left out: from the front, how far it reaches is guesswork
CASES = [(name, facing) for name in BENDS for facing in (0.0, 60.0) if (name, facing) != ("step", 0.0)]


@pytest.mark.parametrize(("name", "facing"), CASES)
def test_a_body_in_a_picture(engine, name, facing):
    image, true, _ = picture(name, facing)
    result = engine.pose(PoseRequest("", image=sent(image)))
    found = result.poses[0]
    assert off_mm(found.quats(), true.quats()) < 80
    assert abs((facing_deg(found.quats()[0]) - facing + 180) % 360 - 180) < 25
    body = result.to_json()
    assert set(body["keypoints"]) == set(NAMES)
    assert body["picture"] == {"width": image.width, "height": image.height}
    assert len(body["people"]) == 1
    assert body["person"] == 0
    assert body["camera"]["location"][2] > 2  # before the body
    assert found.transl is not None


def as_mode(image, mode):
    return image.convert(mode)


def sixteen_bit(image):
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def see_through(image):
    clear = image.convert("RGBA")
    clear.putalpha(
        Image.fromarray((np.abs(np.asarray(image.convert("L")).astype(int) - 158) > 8).astype(np.uint8) * 255)
    )
    return clear


def lying(image):
    """A phone's file: stored on its side, and EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return image.transpose(Image.Transpose.ROTATE_90), {"exif": exif}


@pytest.mark.parametrize(
    ("what", "make", "kind"),
    [
        ("JPEG", lambda i: (i, {"quality": 85}), "JPEG"),
        ("WebP", lambda i: (i, {}), "WEBP"),
        ("grey", lambda i: (i.convert("L"), {}), "PNG"),
        ("16-bit grey", lambda i: (sixteen_bit(i), {}), "PNG"),
        ("transparent", lambda i: (see_through(i), {}), "PNG"),
        ("palette", lambda i: (i.convert("P"), {}), "PNG"),
        ("EXIF-rotated", lying, "JPEG"),
        ("wide", lambda i: (Image.new("RGB", (2400, i.height), (150, 160, 170)).copy(), {}), "PNG"),
    ],
)
def test_pictures_of_every_kind(engine, what, make, kind):
    image, options = make(picture()[0])
    if what == "wide":
        image.paste(picture()[0], (1500, 0))
    found = engine.people(PeopleRequest(sent(image, kind, **options))).to_json()
    assert len(found["people"]) == 1, what
    left, top, right, bottom = found["people"][0]["box"]
    assert bottom - top > right - left, "upright"
    head, foot = (found["people"][0]["keypoints"][name] for name in ("nose", "left_heel"))
    assert head[1] < foot[1]
    assert found["people"][0]["keypoints"]["left_shoulder"][0] > found["people"][0]["keypoints"]["right_shoulder"][0]


def cut_off(image):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()[: len(out.getvalue()) // 3]


def animated(image):
    out = io.BytesIO()
    image.save(out, "GIF", save_all=True, append_images=[image.rotate(5)])
    return out.getvalue()


def noise():
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 400, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def plain():
    out = io.BytesIO()
    Image.new("RGB", (640, 480), (90, 120, 90)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("what", "data", "code"),
    [
        ("a truncated JPEG", lambda: cut_off(picture()[0]), "invalid_image"),
        ("an animated GIF", lambda: animated(picture()[0]), "invalid_image"),
        ("an SVG", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><circle r='9'/></svg>", "invalid_image"),
        ("nobody: one colour", plain, "no_person"),
        ("nobody: noise", noise, "no_person"),
        ("nobody: one pixel", lambda: encoded(Image.new("RGB", (1, 1))), "no_person"),
    ],
)
def test_one_clear_sentence(engine, what, data, code):
    with pytest.raises(Exception) as raised:
        engine.pose(PoseRequest("", image=Picture.check(data())))
    fault = explain(raised.value)
    assert fault.code == code, what
    assert fault.message.endswith(".")
    assert fault.status == 422


def encoded(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("words", "middle", "part_of_text"),
    [
        ("the woman on the left", 224, "person 1 of 3"),
        ("second person from the right", 672, "person 2 of 3"),
        ("the right one", 1120, "person 3 of 3"),
        ("the man", None, "cannot be told apart"),
    ],
)
def test_several_people_are_told_apart_by_place(engine, words, middle, part_of_text):
    crowd = sent(side_by_side("standing", "left arm up", "step"))
    result = engine.pose(PoseRequest(words, image=crowd)).to_json()
    assert len(result["people"]) == 3
    left, _, right, _ = result["people"][result["person"]]["box"]
    assert middle is None or abs((left + right) / 2 - middle) < 80
    assert part_of_text in result["text"]


@pytest.mark.parametrize(("person", "words"), [(3, ""), (63, ""), (0, "the fourth person from the left")])
def test_people_who_are_not_there(engine, person, words):
    with pytest.raises(Exception) as raised:
        engine.pose(PoseRequest(words, image=sent(side_by_side("standing", "left arm up", "step")), person=person))
    assert explain(raised.value).code == "person_not_found"


def test_words_change_the_pose_of_the_picture(engine):
    shown = sent(picture("left arm up")[0])
    as_seen = engine.pose(PoseRequest("", image=shown)).poses[0]
    changed = engine.pose(PoseRequest("same but the left arm down", image=shown))
    before, after = (rot.quat_to_matrot(p.quats()) for p in (as_seen, changed.poses[0]))
    moved = rot.geodesic_angle(before, after).rad2deg()
    assert moved[INDEX["left_shoulder"]] > 40
    assert moved[INDEX["right_shoulder"]] < 5
    assert "Changed" in changed.text


def test_dragged_keypoints_pull_the_fit(engine):
    shown = picture("standing")[0]
    request = PoseRequest("", image=sent(shown))
    first = engine.pose(request).to_json()
    wrist, elbow = (first["keypoints"][f"left_{part}"][:2] for part in ("wrist", "elbow"))
    shoulder = first["keypoints"]["left_shoulder"][:2]
    arm = math.dist(wrist, elbow) + math.dist(elbow, shoulder)
    corrections = {
        "left_elbow": (shoulder[0] + arm / 2, shoulder[1]),
        "left_wrist": (shoulder[0] + arm, shoulder[1]),
    }  # straight out to the side
    result = engine.pose(PoseRequest("", image=sent(shown), keypoints=corrections))
    body = result.to_json()
    assert body["keypoints"]["left_wrist"] == [*(round(v, 2) for v in corrections["left_wrist"]), 1.0]
    pose = result.poses[0]
    from chatpose_server.body.model import default_body

    joints = default_body().forward_kinematics(pose.matrot()[None]).joints[0]
    raised = joints[INDEX["left_wrist"]] - joints[INDEX["left_shoulder"]]
    assert float(raised[1]) > -0.15  # level: it hung before
    assert float(raised.norm()) > 0.35
    assert result.timings["people"] < first["timings"]["people"]  # who is there was remembered


def test_an_unknown_keypoint_is_named(engine):
    with pytest.raises(Exception, match="no keypoint 'left_tail'") as raised:
        engine.pose(PoseRequest("", image=sent(picture()[0]), keypoints={"left_tail": (1.0, 1.0)}))
    assert explain(raised.value).code == "invalid_request"


def test_a_camera_that_wrote_its_lens_into_the_file():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    assert sent(picture()[0], "JPEG", exif=exif).film_mm() == 28
    assert sent(picture()[0], "JPEG").film_mm() is None


def test_left_is_the_persons_own_left(engine):
    body = engine.pose(PoseRequest("", image=sent(picture("left arm up")[0]))).to_json()
    assert body["keypoints"]["left_wrist"][1] < body["keypoints"]["nose"][1]
    assert body["keypoints"]["right_wrist"][1] > body["keypoints"]["left_hip"][1] - 20
    assert AT["left_wrist"] == 15


@pytest.mark.parametrize("prior", ["vposer", "posendf"])
def test_both_priors_fit_a_picture(engine, prior):
    image, true, _ = picture("left arm up")
    found = engine.pose(PoseRequest("", image=sent(image), prior=prior)).poses[0]
    assert off_mm(found.quats(), true.quats()) < 80


def test_the_priors_answer_differently_and_vposer_is_the_default(engine):
    def asked(prior):
        return engine.pose(PoseRequest("", image=sent(picture("left arm up")[0]), prior=prior)).poses[0].quats()

    unsaid, vposer, posendf = (asked(prior) for prior in (None, "vposer", "posendf"))
    assert torch.equal(unsaid, vposer)
    apart = rot.geodesic_angle(rot.quat_to_matrot(vposer), rot.quat_to_matrot(posendf)).rad2deg()
    assert apart.max() > 2


def test_same_picture_same_answer(engine):
    shown = sent(picture("step")[0])
    one, two = (engine.pose(PoseRequest("", image=shown)).poses[0] for _ in range(2))
    assert torch.equal(one.quats(), two.quats())
