"""ChatPose and the people in a picture: who is meant is found and cut out, and CLIP sees her as it was trained to."""

import io

import pytest
import torch
from chatpose_server import model_host
from chatpose_server.engine import Engine
from chatpose_server.language import published
from chatpose_server.language.answering import Options
from chatpose_server.language.published import load_published
from chatpose_server.model_host import ModelHost
from chatpose_server.picture import Picture
from chatpose_server.tasks import PeopleRequest, PoseRequest
from PIL import Image

from ..vision.drawn import SIZE, side_by_side
from . import tiny_published as tiny
from .test_published import same, text_prompt

QUESTION = "Can you predict the SMPL pose of the person in this image?"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    made = tiny.make(tmp_path_factory.mktemp("weights") / "chatpose")
    return made, load_published(str(made.folder), device="cpu", dtype="float32", options=Options(wrap=False))


def sent(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return Picture.check(out.getvalue())


@pytest.fixture
def ask(loaded, monkeypatch):
    """-> (engine's result, the model's own answer, the pixels that CLIP saw or None)."""
    made, model = loaded
    monkeypatch.setattr(model_host, "_warm_up", lambda: None)
    engine = Engine(ModelHost(lambda *_: model, str(made.folder)))
    seen, answers = [], []
    pixels, answer = published.pixels, model.answer
    monkeypatch.setattr(published, "pixels", lambda *a: seen.append(pixels(*a)) or seen[-1])
    monkeypatch.setattr(model, "answer", lambda *a: answers.append(answer(*a)) or answers[-1])

    def act(picture, words=QUESTION, **more):
        seen.clear()
        result = engine.pose(PoseRequest(words, image=picture, want="auto", max_new_tokens=12, **more))
        return result, answers[-1], seen[0] if seen else None

    act.engine = engine
    return act


def test_the_person_who_is_meant_is_what_clip_sees(ask, loaded):
    made, _ = loaded
    crowd = side_by_side("standing", "left arm up", "standing")
    found = ask.engine.people(PeopleRequest(sent(crowd))).scene.people
    assert len(found) == 3
    rightmost = max(range(3), key=lambda i: found[i].box[0])
    other = next(i for i in (1, 2) if i != rightmost)
    for words, asked in (("The person on the right, SMPL pose?", {}), ("SMPL pose?", {"person": other})):
        _, answer, saw = ask(sent(crowd), words, **asked)
        person = asked.get("person", rightmost)
        x0, y0, x1, y1 = found[person].box
        side = 1.3 * max(x1 - x0, y1 - y0)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        square = crowd.crop((round(x - side / 2), round(y - side / 2), round(x + side / 2), round(y + side / 2)))
        assert torch.allclose(saw[0].double(), tiny.pixels_of(square), atol=1e-6)
        same(answer, tiny.reference_reply(made, tiny.reference_ids(made, text_prompt(words, image=True)), square, 12))


def test_somebody_at_the_edge_is_not_cut_off_and_a_second_question_costs_like_words(ask):
    wide = Image.new("RGB", (3 * SIZE[0], SIZE[1]), (200, 200, 200))
    wide.paste(side_by_side("standing"), (0, 0))  # CLIP's own middle square would hold nothing but the wall
    _, first, saw = ask(sent(wide))
    middle = tiny.pixels_of(wide)
    assert float((saw[0].double() - middle).abs().mean()) > 0.1
    _, words, _ = ask(None, "Is she standing?")
    _, second, again = ask(sent(wide), "Is she standing?")
    patches = (tiny.IMAGE // tiny.PATCH) ** 2
    assert again is None  # neither CLIP nor the patches' positions are run again
    read = [a.debug["prompt_tokens"] - a.debug["reused"] for a in (first, words, second)]
    assert read[0] > patches and read[2] <= read[1] + 2, read
    assert second.debug["prompt_tokens"] - words.debug["prompt_tokens"] >= patches


def test_a_picture_of_nobody_is_seen_whole(ask):
    wall = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    _, _, saw = ask(sent(wall))
    assert torch.allclose(saw[0].double(), tiny.pixels_of(wall), atol=1e-6)


def test_the_whole_picture_for_comparison(ask, loaded, monkeypatch):
    monkeypatch.setattr(loaded[1], "wants_one_person", False)
    image = side_by_side("standing")
    _, _, saw = ask(sent(image))
    assert torch.allclose(saw[0].double(), tiny.pixels_of(image), atol=1e-6)


def test_somebody_who_is_not_there_is_said(ask):
    with pytest.raises(Exception, match="Person 4 was asked for"):
        ask(sent(side_by_side("standing")), person=3)
