"""The reader reads what is there: padding and remembered prefixes change nothing, and words do."""

from __future__ import annotations

import pytest
import torch
from chatpose_server.language.base import ChatTurn, LanguageRequest
from chatpose_server.language.head import ClassHead, PoseHead
from chatpose_server.language.poselm import (
    DeepStates,
    ModelFileError,
    PoseLM,
    PoseLMConfig,
    add_pose_token,
    build,
    read_trained,
    save_trained,
)  # fmt: skip
from chatpose_server.language.reader import Reader, ReaderShape, pad_words

from . import tiny

HIDDEN = 32
SHAPE = ReaderShape((0, 1), 24, ((1, 1), (3, 1), (3, 4)))


def reader() -> Reader:
    torch.manual_seed(2)
    return Reader(HIDDEN, SHAPE).eval()


def test_padding_is_never_read():
    torch.manual_seed(0)
    turns = [torch.randn(n, 2, HIDDEN) for n in (3, 11, 7)]
    states = torch.randn(3, HIDDEN)
    made = reader()
    with torch.no_grad():
        together = made(states, *pad_words(turns))
        alone = torch.cat([made(s[None], *pad_words([t])) for s, t in zip(states, turns, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(alone[0], made(states[:1], *pad_words([turns[0].flip(0)]))[0], atol=1e-3)


def test_states_of_every_depth_ride_behind_the_last():
    model = tiny.backbone()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        every = DeepStates(model.get_decoder(), (0, 1))(input_ids=ids, use_cache=False).last_hidden_state
        plain = model.get_decoder()(input_ids=ids, use_cache=False, output_hidden_states=True)
    last, embedded, first = every.split(HIDDEN, -1)
    assert torch.equal(last, plain.last_hidden_state)
    assert torch.equal(embedded, model.get_input_embeddings()(ids))
    assert torch.equal(first, plain.hidden_states[1])
    assert not torch.allclose(first, last)


def model(tmp_path) -> PoseLM:
    """A tiny model whose pose and posecodes hang on every word, saved and read again."""
    torch.manual_seed(1)
    config = PoseLMConfig(
        base="tiny", hidden=HIDDEN, inner=32, hypotheses=2, reader=SHAPE, told=True, codes=("a", "b", "c")
    )
    backbone = tiny.backbone()
    add_pose_token(backbone, torch.randn(HIDDEN))
    head = PoseHead(HIDDEN, 32, config.joints, 2, 3)
    path = tmp_path / "trained.safetensors"
    save_trained(path, backbone, torch.randn(HIDDEN), head, ClassHead(HIDDEN, 32, 3), None, config, reader())
    header, state = read_trained(path)
    assert header == config
    return build("tiny", tiny.backbone(), tiny.tokenizer(), header, state)


def test_what_was_remembered_is_read_as_if_it_were_new(tmp_path):
    fresh, used = model(tmp_path), model(tmp_path)
    history = (ChatTurn("user", "she kneels"), ChatTurn("assistant", "So."))
    used.answer(LanguageRequest("she kneels"))
    used.answer(LanguageRequest("arms raised", history))
    again = used.answer(LanguageRequest("arms raised high", history))
    new = fresh.answer(LanguageRequest("arms raised high", history))
    assert again.debug["reused"] > 0 == new.debug["reused"]
    torch.testing.assert_close(again.poses[0].matrot(), new.poses[0].matrot(), rtol=1e-4, atol=1e-4)
    other = fresh.answer(LanguageRequest("arms raised", history))
    assert again.posecodes != pytest.approx(other.posecodes, abs=1e-4)


def test_the_pose_head_reads_what_the_posecode_head_says(tmp_path):
    made = model(tmp_path)
    before = made.answer(LanguageRequest("she kneels")).poses[0].matrot()
    assert made._codes is not None
    last = made._codes.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.add_(8.0)
    assert (made.answer(LanguageRequest("she kneels")).poses[0].matrot() - before).abs().max() > 1e-3


def test_a_reader_of_another_kind_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(
        PoseLMConfig, "to_json", lambda self: '{"base": "tiny", "hidden": 32, "inner": 32, "reader": [12, 32, 2]}'
    )
    with pytest.raises(ModelFileError, match="cannot be read as ChatPose weights"):
        model(tmp_path)


def test_a_judge_chooses_among_the_hypotheses_by_what_was_understood(tmp_path):
    made = model(tmp_path)
    plain = made.answer(LanguageRequest("she kneels", candidates=2))
    seen: list[torch.Tensor] = []

    def judge(matrot: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
        seen.append(chances)
        assert matrot.shape == (2, 22, 3, 3)
        # the second hypothesis of the head's own order
        return torch.tensor([float(torch.allclose(m, plain.poses[0].matrot(), atol=1e-4)) for m in matrot])

    made.judge = judge
    judged = made.answer(LanguageRequest("she kneels", candidates=2))
    for got, wanted in zip(judged.poses, plain.poses[::-1], strict=True):
        torch.testing.assert_close(got.matrot(), wanted.matrot(), rtol=1e-4, atol=1e-4)
    assert seen[0].tolist() == pytest.approx(list(plain.posecodes.values()), abs=1e-4)
