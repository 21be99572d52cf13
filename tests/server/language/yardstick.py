"""The yardstick for Decoder: greedy decoding at its plainest, which has no way to go wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from chatpose_server.language.decoding import Prompt, greedy
from torch import Tensor


def generate_plainly(
    backbone: Callable[..., Any],
    lm_head: Callable[[Tensor], Tensor],
    embed_tokens: Callable[[Tensor], Tensor],
    prompt: Prompt,
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
) -> tuple[list[int], Tensor]:
    """No cache, no draft, the whole sequence read again for every token.

    Gives the ids and the states (n, H) that predict them.
    """
    ids: list[int] = []
    states: list[Tensor] = []
    with torch.inference_mode():
        embeds = prompt.embed(0)
        while len(ids) < max_new_tokens and (not ids or ids[-1] not in stop_ids):
            row = backbone(inputs_embeds=embeds, use_cache=False).last_hidden_state[0, -1:]
            ids += greedy(lm_head(row).float())
            states.append(row)
            embeds = torch.cat([embeds, embed_tokens(torch.tensor([ids[-1:]], device=embeds.device))], 1)
    return ids, torch.cat(states)
