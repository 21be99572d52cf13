"""Greedy decoding of any causal language model of transformers, with drafts that are verified in one forward.

Three things make it quick, none changes an answer: what was read before is not read again (the longest common prefix
of earlier prompts stays in the key-value cache), whole answers are guessed from templates and checked in the same
forward that reads the prompt, and only the rows that predict an answer token meet the vocabulary matrix.

Knows no tokeniser, no pose and no particular model: a prompt is what stands at each position and how to embed it.
Reduced precision rounds differently for different shapes, so "the same answer" there means up to kernel rounding.
Do not speculate with dynamically quantised activations: their rounding depends on which tokens share a forward.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

PREFIXES_KEPT: Final = 4  # a 13 B model's cache of 700 positions is 0.6 GB, so a handful of conversations is enough

Pick: TypeAlias = Callable[[Tensor], list[int]]
"""``pick(logits (K, V) float32) -> K token ids``."""
Draft: TypeAlias = Callable[[Sequence[int]], Sequence[int]]
"""``draft(ids so far) -> ids that may well come next``; an empty guess is plain decoding."""


@dataclass(frozen=True)
class Prompt:
    """What a model reads before it answers.

    ``keys``: one hashable for each position (a token id; for a patch of a picture, the picture's hash and the patch's
    number), equal exactly where the embedding is equal. ``embed(start)``: embeddings (1, N - start, H) from there on;
    a picture whose positions were all read before is never embedded again. ``positions`` (D, N): where the rotary
    embedding sees each, for models that place a picture's patches in D dimensions; None: in a row.
    """

    keys: tuple[Hashable, ...]
    embed: Callable[[int], Tensor]
    positions: Tensor | None = None


def text_prompt(ids: Sequence[int], embed_tokens: Callable[[Tensor], Tensor], device: torch.device | str) -> Prompt:
    """A prompt of token ids alone."""
    return Prompt(tuple(ids), lambda start: embed_tokens(torch.tensor([list(ids[start:])], device=device)))


@dataclass(frozen=True)
class Generated:
    """An answer. ``ids``: its tokens, the stop token included. ``states`` (n, H): row i is the state, after the final
    norm, that predicts ``ids[i]``. ``prompt_states`` (N, H): the state at each position of the prompt.
    ``probabilities``: of each token at its place. ``stopped``: ended by a stop token,
    not by the length limit. The rest are for debugging: positions taken from the cache, forwards run, draft tokens
    offered and accepted.
    """

    ids: tuple[int, ...]
    states: Tensor
    prompt_states: Tensor
    probabilities: tuple[float, ...]
    stopped: bool
    reused: int
    forwards: int
    drafted: int
    accepted: int


def greedy(logits: Tensor) -> list[int]:
    """The most probable token of each row; the lowest id among equals."""
    return logits.argmax(-1).tolist()


def no_draft(so_far: Sequence[int]) -> Sequence[int]:
    """Plain decoding, a token at a time."""
    return ()


class TemplateDraft:
    """Guesses the answers a model was trained to give. The one that was right most often is guessed first, so that a
    model with a favourite answers in one forward; after a wrong guess the others that fit what was said are tried.
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self._answers = [tuple(a) for a in answers]
        self._hits = [0] * len(self._answers)

    def __call__(self, so_far: Sequence[int]) -> Sequence[int]:
        """The rest of the likeliest template that begins with ``so_far``."""
        said = tuple(so_far)
        fitting = [i for i, a in enumerate(self._answers) if len(a) > len(said) and a[: len(said)] == said]
        if not fitting:
            return ()
        return self._answers[max(fitting, key=lambda i: (self._hits[i], -i))][len(said) :]

    def learn(self, ids: Sequence[int]) -> None:
        """Counts an answer that the model gave; answers that are no template are ignored."""
        for i, answer in enumerate(self._answers):
            if answer == tuple(ids):
                self._hits[i] += 1


@dataclass
class _Prefix:
    keys: tuple[Hashable, ...]
    cache: Any  # transformers' DynamicCache; its layers are never written in place, so prefixes may share memory
    states: Tensor  # (N, H) after the final norm, one for each key


class Decoder:
    """One model's decoding, and what it remembers of earlier prompts. One thread at a time.

    ``backbone``: called with ``inputs_embeds``, ``past_key_values`` and ``use_cache``; its ``last_hidden_state`` is
    the state after the final norm (``LlamaModel`` and the like). ``lm_head``: states (K, H) -> logits (K, V).
    ``embed_tokens``: ids (1, N) -> (1, N, H). ``device``: where ids are made.
    """

    def __init__(
        self,
        backbone: Callable[..., Any],
        lm_head: Callable[[Tensor], Tensor],
        embed_tokens: Callable[[Tensor], Tensor],
        device: torch.device | str = "cpu",
    ) -> None:
        self._backbone = backbone
        self._lm_head = lm_head
        self._embed_tokens = embed_tokens
        self._device = device
        self._prefixes: list[_Prefix] = []  # the most recently used last

    @torch.inference_mode()
    def generate(
        self,
        prompt: Prompt,
        *,
        stop_ids: Collection[int],
        max_new_tokens: int,
        draft: Draft = no_draft,
        pick: Pick = greedy,
        on_ids: Callable[[Sequence[int]], None] | None = None,
        check: Callable[[int], None] | None = None,
    ) -> Generated:
        """Decodes until a stop token or the limit. ``check(tokens so far)`` is called before every forward and may
        raise to stop; ``on_ids`` gets all tokens so far after every forward.
        """
        if not prompt.keys or max_new_tokens < 1:
            raise ValueError("A prompt needs at least one position and an answer at least one token.")
        cache, reused, known = self._resume(prompt.keys)
        pending = prompt.embed(reused)  # (1, M, H)
        ids: list[int] = []
        states: list[Tensor] = []
        probabilities: list[float] = []
        forwards = drafted = accepted = 0
        stopped = False
        while not stopped and len(ids) < max_new_tokens:
            if check is not None:
                check(len(ids))
            guess = list(draft(ids))[: max_new_tokens - len(ids) - 1]
            more = torch.cat([pending, self._embed(guess)], 1) if guess else pending
            every = self._forward(cache, more, prompt.positions)  # (M, H)
            rows = every[-len(guess) - 1 :]  # (K, H)
            logits = self._lm_head(rows).float()  # (K, V)
            picked = pick(logits)
            confirmed = 0
            while confirmed < len(guess) and picked[confirmed] == guess[confirmed]:
                if picked[confirmed] in stop_ids:
                    break
                confirmed += 1
            new = picked[: confirmed + 1]
            ids += new
            states.append(rows[: len(new)])
            known.append(every[: len(every) - len(guess) + confirmed])
            probabilities += _chances(logits[: len(new)], new)
            _crop(cache, len(guess) - confirmed)  # the cache holds the prompt and every token but the last
            pending = self._embed(new[-1:])
            forwards, drafted, accepted = forwards + 1, drafted + len(guess), accepted + confirmed
            stopped = new[-1] in stop_ids
            if on_ids is not None:
                on_ids(ids)
        read = torch.cat(known)  # (N + n - 1, H)
        self._remember(prompt.keys + tuple(ids[:-1]), cache, read)
        return Generated(
            tuple(ids), torch.cat(states), read[: len(prompt.keys)], tuple(probabilities), stopped, reused, forwards,
            drafted, accepted,
        )  # fmt: skip

    @torch.inference_mode()
    def read(self, prompt: Prompt, continuation: Sequence[int]) -> Generated:
        """What the model thinks of a given answer: the state before each of its tokens and the token's probability."""
        if not continuation:
            raise ValueError("There is nothing to read.")
        cache, reused, known = self._resume(prompt.keys)
        head = prompt.embed(reused)
        given = list(continuation)
        more = torch.cat([head, self._embed(given[:-1])], 1) if given[1:] else head
        every = self._forward(cache, more, prompt.positions)
        rows = every[-len(given) :]
        read = torch.cat([*known, every[: len(every) - len(given) + 1]])
        chances = _chances(self._lm_head(rows).float(), given)
        _crop(cache, len(given) - 1)
        self._remember(prompt.keys, cache, read)
        return Generated(tuple(given), rows, read, tuple(chances), False, reused, 1, 0, 0)

    def warm(self, prompt: Prompt) -> None:
        """Reads a prompt ahead of need, so that prompts which begin with it start from there."""
        with torch.inference_mode():
            cache, reused, known = self._resume(prompt.keys)
            read = self._forward(cache, prompt.embed(reused), prompt.positions)
            self._remember(prompt.keys, cache, torch.cat([*known, read]))

    def forget(self) -> None:
        """Drops every remembered prefix and its memory."""
        self._prefixes.clear()

    # -- inside --------------------------------------------------------------------------------------------------
    def _embed(self, ids: Sequence[int]) -> Tensor:
        return self._embed_tokens(torch.tensor([list(ids)], dtype=torch.long, device=self._device))

    def _forward(self, cache: Any, embeds: Tensor, positions: Tensor | None) -> Tensor:
        placed = {} if positions is None else {"position_ids": _placed(positions, cache.get_seq_length(), embeds)}
        out = self._backbone(inputs_embeds=embeds, past_key_values=cache, use_cache=True, **placed)
        return out.last_hidden_state[0]  # (M, H)

    def _resume(self, keys: tuple[Hashable, ...]) -> tuple[Any, int, list[Tensor]]:
        """A cache that holds as much of ``keys`` as was read before, all but the last position at most; how much that
        is, and the states there, to be joined with those that are read now.
        """
        from transformers import DynamicCache

        best, shared = None, 0
        for prefix in self._prefixes:
            n = min(_common(prefix.keys, keys), len(keys) - 1)
            if n > shared:
                best, shared = prefix, n
        if best is None:
            return DynamicCache(), 0, []
        self._prefixes.remove(best)
        self._prefixes.append(best)
        cache = copy.copy(best.cache)
        cache.layers = [copy.copy(layer) for layer in best.cache.layers]
        _crop(cache, len(best.keys) - shared)
        return cache, shared, [best.states[:shared]]

    def _remember(self, keys: tuple[Hashable, ...], cache: Any, states: Tensor) -> None:
        # An older prefix that the new one contains has nothing more to give.
        self._prefixes = [p for p in self._prefixes if _common(p.keys, keys) < len(p.keys)]
        self._prefixes.append(_Prefix(keys, cache, states))
        del self._prefixes[:-PREFIXES_KEPT]


def _placed(positions: Tensor, start: int, embeds: Tensor) -> Tensor:
    """(D, 1, M): where the positions from ``start`` on stand; an answer follows the prompt's last place in a row."""
    missing = start + embeds.shape[1] - positions.shape[1]
    if missing > 0:
        row = positions.max() + 1 + torch.arange(missing, device=positions.device)
        positions = torch.cat([positions, row.expand(len(positions), -1)], 1)
    return positions[:, None, start : start + embeds.shape[1]].to(embeds.device)


def _chances(logits: Tensor, ids: Sequence[int]) -> list[float]:
    """The probability of one token in each row, (K, V) -> K."""
    of_ids = torch.tensor(list(ids), device=logits.device)[:, None]
    return torch.log_softmax(logits, -1).gather(-1, of_ids)[:, 0].exp().tolist()


def _common(a: tuple[Hashable, ...], b: tuple[Hashable, ...]) -> int:
    """How many of the first keys are the same."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def _crop(cache: Any, count: int) -> None:
    """Takes the last ``count`` positions away. transformers wants the number negative and refuses a length."""
    if count > 0:
        cache.crop(-count)
