"""Decoder against the plain loop, with a tiny random Llama: same tokens, same states, whatever is drafted or cached."""

import pytest
import torch
from chatpose_server.language.decoding import Decoder, Prompt, TemplateDraft, text_prompt
from chatpose_server.progress import Cancelled
from transformers import LlamaConfig, LlamaForCausalLM

from .yardstick import generate_plainly

VOCABULARY = 97
STOP = (2,)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.4,
    )  # fmt: skip
    return LlamaForCausalLM(config).double().eval()  # doubles: what differs is a mistake, not rounding


def parts(model):
    return model.model, model.lm_head, model.get_input_embeddings()


def ids_of(seed, length):
    return torch.randint(3, VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def plain(model, prompt, n=12):
    return generate_plainly(*parts(model), prompt, stop_ids=STOP, max_new_tokens=n)


def same(got, want):
    ids, states = want
    assert list(got.ids) == ids
    assert torch.allclose(got.states, states, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("guess", ["nothing", "right", "half right", "wrong", "too long"])
def test_drafts_change_no_token_and_no_state(model, seed, guess):
    prompt = text_prompt(ids_of(seed, 7), model.get_input_embeddings(), "cpu")
    want = plain(model, prompt)
    right = want[0]
    answers = {
        "nothing": [], "right": [right], "half right": [[*right[:5], 1, 1, 1]], "wrong": [[1] * 9, [*right[:3], 1]],
        "too long": [[*right, *[1] * 50]],
    }[guess]  # fmt: skip
    draft = TemplateDraft(answers)
    got = Decoder(*parts(model)).generate(prompt, stop_ids=STOP, max_new_tokens=12, draft=draft)
    same(got, want)
    if guess == "right":
        assert got.forwards == 1 and got.accepted == len(right) - 1
    if guess == "nothing":
        assert got.forwards == len(right)


def test_a_prefix_read_before_is_not_read_again(model):
    decoder = Decoder(*parts(model))
    first, second = ids_of(1, 20), ids_of(2, 4)
    shared = text_prompt(first, model.get_input_embeddings(), "cpu")
    decoder.generate(shared, stop_ids=STOP, max_new_tokens=6)
    longer = text_prompt(first[:15] + second, model.get_input_embeddings(), "cpu")
    got = decoder.generate(longer, stop_ids=STOP, max_new_tokens=6)
    assert got.reused == 15
    same(got, plain(model, longer, 6))
    again = decoder.generate(shared, stop_ids=STOP, max_new_tokens=6)
    assert again.reused == 19  # the first conversation was not spoilt by the second
    same(again, plain(model, shared, 6))


def test_embeddings_already_read_are_not_asked_for(model):
    embed, ids = model.get_input_embeddings(), ids_of(3, 12)
    starts = []

    def watched(start):
        starts.append(start)
        return embed(torch.tensor([ids[start:]]))

    decoder = Decoder(*parts(model))
    prompt = Prompt((("picture", 0), ("picture", 1), *ids[2:]), watched)
    decoder.generate(prompt, stop_ids=STOP, max_new_tokens=3)
    decoder.generate(prompt, stop_ids=STOP, max_new_tokens=3)
    assert starts == [0, 11]


def test_an_answer_can_be_read_without_being_given(model):
    prompt = text_prompt(ids_of(4, 9), model.get_input_embeddings(), "cpu")
    given = ids_of(5, 4)
    got = Decoder(*parts(model)).read(prompt, given)
    with torch.inference_mode():
        out = model(torch.tensor([[*prompt.keys, *given]]), output_hidden_states=True)
    rows = slice(len(prompt.keys) - 1, -1)
    assert torch.allclose(got.states, out.hidden_states[-1][0, rows], atol=1e-9)
    want = out.logits[0, rows].softmax(-1).gather(-1, torch.tensor(given)[:, None])[:, 0]
    assert torch.allclose(torch.tensor(got.probabilities, dtype=want.dtype), want, atol=1e-5)


def test_stop_token_inside_a_draft_ends_the_answer(model):
    prompt = text_prompt(ids_of(0, 7), model.get_input_embeddings(), "cpu")
    ids, _ = plain(model, prompt)
    stop = ids[4]
    got = Decoder(*parts(model)).generate(
        prompt, stop_ids=(stop,), max_new_tokens=12, draft=TemplateDraft([[*ids, 1, 1]])
    )
    assert list(got.ids) == ids[: ids.index(stop) + 1] and got.stopped


def test_the_favourite_template_is_learnt():
    draft = TemplateDraft([(5, 6, 2), (5, 7, 2), (8, 2)])
    assert draft(()) == (5, 6, 2) and draft((5, 7)) == (2,) and draft((9,)) == () and draft((8, 2)) == ()
    draft.learn((8, 2))
    assert draft(()) == (8, 2) and draft((5,)) == (6, 2)


def test_cancel_between_tokens_leaves_the_decoder_whole(model):
    decoder = Decoder(*parts(model))
    prompt = text_prompt(ids_of(6, 7), model.get_input_embeddings(), "cpu")

    def stop_at_three(count):
        if count == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        decoder.generate(prompt, stop_ids=STOP, max_new_tokens=9, check=stop_at_three)
    same(decoder.generate(prompt, stop_ids=STOP, max_new_tokens=9), plain(model, prompt, 9))
