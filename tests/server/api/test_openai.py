"""OpenAI's own client against our chat, over a real socket."""

from __future__ import annotations

import time

import httpx
import openai
import pytest
from chatpose_server.api import routes
from chatpose_server.pose import Pose

from ..fakes import TEXT
from .conftest import TOKEN
from .images import picture, png
from .live import live_server


@pytest.fixture(scope="module")
def live():
    with live_server() as server:
        yield server


@pytest.fixture
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=TOKEN, max_retries=0) as made:
        yield made


def ask(text="a person kneeling"):
    return [{"role": "user", "content": text}]


def test_models(client):
    assert "chatpose-small" in [model.id for model in client.models.list()]


def test_an_answer_with_a_pose(client):
    answer = client.chat.completions.create(model="fake", messages=ask(), seed=3)
    message = answer.choices[0].message
    assert message.content == TEXT and message.role == "assistant"
    assert Pose.from_json(message.poses[0]).joints["left_knee"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 7 and answer.model == "fake"


def test_plain_chat_has_no_pose(client):
    message = client.chat.completions.create(model="fake", messages=ask("CHAT please")).choices[0].message
    assert (message.content, message.poses) == ("Hello.", [])


def test_several_choices(client):
    choices = client.chat.completions.create(model="fake", messages=ask(), n=3).choices
    assert [c.index for c in choices] == [0, 1, 2]
    assert len({str(c.message.poses) for c in choices}) == 3


def test_streaming(client):
    stream = client.chat.completions.create(
        model="fake", messages=ask(), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    poses = [p for c in chunks if c.choices for p in getattr(c.choices[0].delta, "poses", None) or []]
    assert text == TEXT
    assert len(poses) == 1 and Pose.from_json(poses[0])
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.prompt_tokens == 7


def test_a_conversation_with_earlier_poses(client, live):
    first = client.chat.completions.create(model="fake", messages=ask()).choices[0].message
    turns = [*ask(), first.model_dump(), *ask("now raise the left arm")]
    client.chat.completions.create(model="fake", messages=[{"role": "system", "content": "Be brief."}, *turns])
    seen = live.model.seen[-1]
    assert seen.prompt == "now raise the left arm"
    assert [t.role for t in seen.messages] == ["system", "user", "assistant"]
    assert seen.messages[2].poses[0] == Pose.from_json(first.poses[0])


def test_pictures_and_our_own_options(client, live):
    content = [{"type": "text", "text": "this pose"}, {"type": "image_url", "image_url": {"url": png()}}]
    current = {"joints": {"neck": [1, 0, 0, 0]}}
    client.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": content}], extra_body={"chatpose": {"current": current}}
    )
    seen = live.model.seen[-1]
    assert seen.prompt == "this pose" and seen.image.size == picture().size and "neck" in seen.current.joints


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "file:///etc/passwd", "/etc/passwd", "data:text/plain;base64,AAAA"]
)
def test_no_address_is_ever_fetched(client, url):
    content = [{"type": "image_url", "image_url": {"url": url}}]
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(model="fake", messages=[{"role": "user", "content": content}])
    assert raised.value.body["code"] == "invalid_image"


@pytest.mark.parametrize("token", ["<POSE>", "<image>", "<|im_end|>", "</s>", "<pose>", "[SEG]"])
def test_a_users_words_hold_no_special_token(client, live, token):
    client.chat.completions.create(model="fake", messages=[*ask(f"a {token} b"), *ask(f"sit {token} down")])
    seen = live.model.seen[-1]
    assert token not in seen.prompt and "sit" in seen.prompt
    assert token not in seen.messages[0].content


@pytest.mark.parametrize(
    ("key", "text", "error"),
    [
        ("wrong", "kneel", openai.AuthenticationError),
        (TOKEN, "", openai.UnprocessableEntityError),
        (TOKEN, "x" * 9000, openai.UnprocessableEntityError),
        (TOKEN, "OOMALWAYS", openai.InternalServerError),
    ],
)
def test_errors_are_the_clients_own(live, key, text, error):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0) as client, pytest.raises(error) as raised:
        client.chat.completions.create(model="fake", messages=ask(text))
    assert raised.value.code and raised.value.body["message"]


def test_an_error_in_the_middle_of_a_stream(client):
    with pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(model="fake", messages=ask("CRASH"), stream=True))
    assert raised.value.code == "internal"


def test_closing_a_stream_cancels_its_job(client, live):
    stream = client.chat.completions.create(model="fake", messages=ask("SLOW"), stream=True)
    next(iter(stream))
    before = live.jobs.stats().finished.get(("chat", "cancelled"), 0)
    stream.close()
    wait_for(lambda: live.jobs.stats().finished.get(("chat", "cancelled"), 0) == before + 1)


def test_a_client_that_gives_up_waiting_cancels_its_job(live):
    before = live.jobs.stats().finished.get(("chat", "cancelled"), 0)
    client = openai.OpenAI(base_url=f"{live.url}/v1", api_key=TOKEN, max_retries=0, timeout=0.3)
    with client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="fake", messages=ask("SLOW"))
    wait_for(lambda: live.jobs.stats().finished.get(("chat", "cancelled"), 0) == before + 1)
    assert live.jobs.stats().running == 0


def test_keep_alive_while_queued(live, monkeypatch):
    monkeypatch.setattr(routes, "KEEP_ALIVE_S", 0.05)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    chat = f"{live.url}/v1/chat/completions"
    body = {"model": "fake", "messages": ask("SLOW"), "stream": True}
    with (
        httpx.stream("POST", chat, json=body, headers=headers),
        httpx.stream("POST", chat, json=body, headers=headers) as queued,
    ):
        assert any(line == ": keep-alive" for _, line in zip(range(20), queued.iter_lines(), strict=False))


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
