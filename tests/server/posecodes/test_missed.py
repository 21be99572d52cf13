"""Expected misses: nothing where all holds, more the further off, weighed by how probably it was asked."""

from __future__ import annotations

import torch
from chatpose_server import rotations as rot
from chatpose_server.posecodes.missed import Judge, Terms
from chatpose_server.skeleton import INDEX

NAMES = ("left_elbow=right_angle", "right_elbow=right_angle", "no such posecode")


def bent(left: float, right: float) -> torch.Tensor:
    vec = torch.zeros(22, 3)
    vec[INDEX["left_elbow"], 1] = -torch.deg2rad(torch.tensor(left))
    vec[INDEX["right_elbow"], 1] = torch.deg2rad(torch.tensor(right))
    return rot.rotvec_to_matrot(vec)


def test_what_holds_is_not_missed_and_what_is_further_off_is_missed_more():
    poses = torch.stack([bent(90, 0), bent(60, 0), bent(30, 0), bent(0, 0)])
    missed = Judge(NAMES)(poses, torch.tensor([1.0, 0.0, 1.0]))
    assert missed[0] == 0
    assert (missed.diff() > 0.1).all()
    assert missed[3] < 4  # one hopeless statement does not outweigh the rest


def test_the_likelier_statement_decides():
    poses = torch.stack([bent(90, 0), bent(0, 90)])
    judge = Judge(NAMES)
    assert judge(poses, torch.tensor([0.6, 0.3, 0.0])).argmin() == 0
    assert judge(poses, torch.tensor([0.3, 0.6, 0.0])).argmin() == 1


def test_nothing_known_misses_nothing():
    assert Terms(("no such posecode",)).row.numel() == 0
    assert Judge(("no such posecode",))(bent(90, 0)[None], torch.ones(1)).tolist() == [0.0]
