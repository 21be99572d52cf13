"""Priors of natural poses, on people and trials that were never trained on. See RESULTS.md, '## Priors'.

    .venv/bin/python benchmarks/priors.py --data FOLDER            all tables, into RESULTS.md
    .venv/bin/python benchmarks/priors.py --data FOLDER --quick    a quarter of everything, printed only

FOLDER holds pose npz files of the training layout (server/chatpose_server/training/priors_data.py); motion clips are
not part of this repository. ``test`` are unseen trials of partly known people, ``unseen`` are unseen people. Many files
leave joints at zero that their source did not measure (collars, toes, the middle of the spine), which would make real
poses easy to tell; ``lent`` gives those joints likely turns first, as in training. Noise of n degrees turns every joint
about a random axis by a normal angle of deviation n.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _results import write_section
from chatpose_server import rotations as rot
from chatpose_server.pose import Pose
from chatpose_server.priors import embedded_prior, ik, limits, tasks
from chatpose_server.priors.base import PRIOR_JOINTS
from chatpose_server.skeleton import INDEX
from chatpose_server.training.priors_data import (
    LIMBS,
    J,
    PoseSet,
    add_noise,
    fill_unknown,
    geodesic_deg,
    mirror,
    read_sources,
)  # fmt: skip
from torch import Tensor

EFFECTORS = ("head", "left_wrist", "right_wrist", "left_ankle", "right_ankle")


def auc(natural: Tensor, wrong: Tensor) -> float:
    """How often a wrong pose scores higher than a natural one."""
    rank = torch.cat([natural, wrong]).argsort().argsort().double() + 1
    n, m = len(natural), len(wrong)
    return ((rank[n:].sum() - m * (m + 1) / 2) / (n * m)).item()


def as_pose(quat: Tensor) -> Pose:
    """(21, 4) -> a Pose that faces the viewer."""
    joints = {n: tuple(q) for n, q in zip(PRIOR_JOINTS, quat.tolist(), strict=True)}
    return Pose({"pelvis": (1.0, 0.0, 0.0, 0.0), **joints})


def quats(poses: list[Pose]) -> Tensor:
    return torch.stack([p.quats(PRIOR_JOINTS) for p in poses])


def with_pelvis(quat: Tensor) -> Tensor:
    pelvis = torch.zeros(len(quat), 1, 4)
    pelvis[..., 0] = 1
    return torch.cat([pelvis, quat], 1)


def joints_of(quat: Tensor) -> Tensor:
    return ik.positions(with_pelvis(quat), torch.zeros(len(quat), 3))


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def turned(axis: tuple[float, float, float], low_deg: float, high_deg: float, g: torch.Generator, n: int) -> Tensor:
    angle = torch.deg2rad(low_deg + (high_deg - low_deg) * torch.rand(n, 1, generator=g))
    return rot.rotvec_to_quat(torch.tensor([axis]) * angle)


def broken(quat: Tensor, g: torch.Generator) -> Tensor:
    """One joint past its limits: an elbow or a knee bent 30 to 80 degrees the wrong way, or the neck turned by 120."""
    out = quat.clone()
    ways = [("left_elbow", (0.0, 1.0, 0.0)), ("right_elbow", (0.0, -1.0, 0.0)), ("left_knee", (-1.0, 0.0, 0.0)),
            ("right_knee", (-1.0, 0.0, 0.0)), ("neck", (0.0, 1.0, 0.0))]  # fmt: skip
    which = torch.randint(len(ways), (len(quat),), generator=g)
    for k, (name, axis) in enumerate(ways):
        rows = (which == k).nonzero().squeeze(1)
        low, high = (120.0, 120.0) if name == "neck" else (30.0, 80.0)
        out[rows, J[name]] = turned(axis, low, high, g, len(rows))
    return out


def corruptions(quat: Tensor, g: torch.Generator) -> dict[str, Tensor]:
    other = quat[torch.randperm(len(quat), generator=g)]
    swapped = quat.clone()
    for a, b in ((LIMBS[0], LIMBS[1]), (LIMBS[2], LIMBS[3])):  # the left limb's numbers on the right one, unmirrored
        swapped[:, list(a)], swapped[:, list(b)] = quat[:, list(b)], quat[:, list(a)]
    shuffled = torch.where(torch.rand(len(quat), 21, 1, generator=g) < 0.5, other, quat)
    noise = {f"noise {d} degrees": add_noise(quat, math.radians(d), g) for d in (5, 10, 20, 40)}
    return noise | {
        "one joint past its limits": broken(quat, g), "limbs swapped, not mirrored": swapped,
        "joints shuffled between poses": shuffled,
    }  # fmt: skip


def real_or_not(sets: dict[str, Tensor]) -> str:
    vposer, ndf = embedded_prior("vposer"), embedded_prior("posendf")
    measures: dict[str, Callable[[Tensor], Tensor]] = {
        "joint limits": lambda q: limits.beyond_deg(q).sum(-1) + 1e-4 * rot.quat_to_rotvec(q).norm(dim=-1).sum(-1),
        "VPoser code": lambda q: vposer.score(rot.quat_to_rotvec(q)).latent_sq,
        "VPoser rebuilt": lambda q: vposer.pull(q).distance,
        "Pose-NDF": lambda q: ndf.distance(q).detach(),
    }
    rows: list[list[str]] = []
    for name, quat in sets.items():
        g = torch.Generator().manual_seed(5)
        for kind, wrong in corruptions(quat, g).items():
            rows.append([name, kind, *(f"{auc(m(quat), m(wrong)):.3f}" for m in measures.values())])
    return table(["poses", "corruption", *measures], rows)


def denoise_single(sets: dict[str, tuple[Tensor, Tensor]]) -> str:
    rows: list[list[str]] = []
    for name, (quat, known) in sets.items():
        for prior in ("posendf", "vposer", "both"):
            cells: list[str] = []
            for deg in (5, 10, 20):
                noisy = add_noise(quat, math.radians(deg), torch.Generator().manual_seed(deg))
                done = quats(tasks.project(poses=[as_pose(q) for q in noisy], prior=prior).poses)
                before, after = geodesic_deg(noisy, quat), geodesic_deg(done, quat)
                cells.append(
                    f"{100 * (1 - after.mean() / before.mean()):.0f} % "
                    f"({100 * (1 - after[known].mean() / before[known].mean()):.0f} %)"
                )
            clean = quats(tasks.project(poses=[as_pose(q) for q in quat], prior=prior).poses)
            rows.append([name, prior, *cells, f"{geodesic_deg(clean, quat).mean():.2f}"])
    return table(["poses", "prior", "5 degrees", "10 degrees", "20 degrees", "clean moves, degrees"], rows)


def clips(poses: PoseSet, count: int, frames: int) -> list[Tensor]:
    """(frames, 21, 4) each: neighbouring poses of a trial, some 6 a second, brought to 30 by slerp."""
    out: list[Tensor] = []
    need = math.ceil(frames / 5) + 1
    for group in dict.fromkeys(poses.group):
        rows = [i for i, g in enumerate(poses.group) if g == group]
        if len(rows) >= need and len(out) < count:
            q = poses.quat[rows[0] : rows[0] + need]
            t = torch.arange(frames) / 5
            i = t.long().clamp(max=need - 2)
            out.append(rot.quat_slerp(q[i], q[i + 1], (t - i)[:, None, None]))
    return out


def denoise_clips(clean: list[Tensor]) -> str:
    rows: list[list[str]] = []
    for deg in (5, 10, 20):
        g = torch.Generator().manual_seed(deg)
        sums = dict.fromkeys(("before", "after", "jerk", "jerk_before"), 0.0)
        for clip in clean:
            noisy = add_noise(clip, math.radians(deg), g)
            done = quats(tasks.denoise(poses=[as_pose(q) for q in noisy], fps=30.0, strength=0.5))
            sums["before"] += geodesic_deg(noisy, clip).mean().item()
            sums["after"] += geodesic_deg(done, clip).mean().item()
            acceleration = [joints_of(q).diff(n=2, dim=0) * 900 for q in (clip, noisy, done)]
            sums["jerk_before"] += (acceleration[1] - acceleration[0]).norm(dim=-1).mean().item()
            sums["jerk"] += (acceleration[2] - acceleration[0]).norm(dim=-1).mean().item()
        n = len(clean)
        rows.append(
            [f"{deg} degrees", f"{sums['before'] / n:.1f} to {sums['after'] / n:.1f}",
             f"{100 * (1 - sums['after'] / sums['before']):.0f} %",
             f"{sums['jerk_before'] / n:.0f} to {sums['jerk'] / n:.1f}"]
        )  # fmt: skip
    return table(["noise", "error, degrees", "less by", "error of acceleration, m/s2"], rows)


def with_95th(values: Tensor) -> str:
    return f"{values.mean():.3f} ({values.quantile(0.95):.3f})"


def interpolation(quat: Tensor, pairs: int) -> str:
    g = torch.Generator().manual_seed(9)
    a, b = quat[torch.randint(len(quat), (2, pairs), generator=g)]
    ndf = embedded_prior("posendf")
    found: dict[str, list[Tensor]] = {"slerp": [], "posendf": [], "vposer": []}
    for start, end in zip(a, b, strict=True):
        t = torch.linspace(0, 1, 32)[:, None, None]
        found["slerp"].append(rot.quat_slerp(start.expand(32, -1, -1), end.expand(32, -1, -1), t))
        for prior in ("posendf", "vposer"):
            keys = [tasks.Key(0, as_pose(start)), tasks.Key(31, as_pose(end))]
            found[prior].append(quats(tasks.interpolate(keys=keys, prior=prior)))
    rows: list[list[str]] = []
    for name, paths in found.items():
        path = torch.stack(paths)
        step = geodesic_deg(path[:, 1:], path[:, :-1]).sum(-1)
        straight = geodesic_deg(path[:, 0], path[:, -1]).sum(-1)
        ratio, speed = step.sum(1) / straight, step.amax(1) / step.mean(1)
        ends = torch.maximum(geodesic_deg(path[:, 0], a), geodesic_deg(path[:, -1], b)).amax()
        jerk = joints_of(path.flatten(0, 1)).unflatten(0, (pairs, 32)).diff(n=3, dim=1).norm(dim=-1).mean() * 1000
        middle = ndf.distance(path[:, 8:24].flatten(0, 1)).detach().rad2deg().mean()
        beyond = (limits.beyond_deg(path).amax((1, 2)) > 5).float().mean()
        rows.append(
            [name, with_95th(ratio), with_95th(speed),
             f"{ends:.3f}", f"{middle:.2f}", f"{jerk:.2f}", f"{100 * beyond:.1f}"]
        )  # fmt: skip
    head = ["way", "length ratio (95th)", "speed ratio (95th)", "ends off, degrees",
            "to natural in the middle, degrees", "jerk, mm a frame3", "past limits, %"]  # fmt: skip
    return table(head, rows)


# -- samples ---------------------------------------------------------------------------------------------------------
_CAPSULES: dict[str, tuple[str, str, float]] = {
    "trunk": ("pelvis", "neck", 0.10), "head": ("neck", "head", 0.08),
    "left upper arm": ("left_shoulder", "left_elbow", 0.04), "right upper arm": ("right_shoulder", "right_elbow", 0.04),
    "left forearm": ("left_elbow", "left_wrist", 0.035), "right forearm": ("right_elbow", "right_wrist", 0.035),
    "left thigh": ("left_hip", "left_knee", 0.065), "right thigh": ("right_hip", "right_knee", 0.065),
    "left shin": ("left_knee", "left_ankle", 0.045), "right shin": ("right_knee", "right_ankle", 0.045),
}  # fmt: skip
_CROSSINGS = [
    (f"{s} forearm", other) for s in ("left", "right") for other in ("trunk", "head", "left thigh", "right thigh")
] + [("left forearm", "right forearm"), ("left shin", "right shin"), ("left shin", "right thigh"),
     ("right shin", "left thigh")]  # fmt: skip


def crosses(joints: Tensor) -> Tensor:
    """(N,) bool: some pair of capsules is more than 2 cm inside each other."""
    t = torch.linspace(0.1, 1, 9)[None, :, None]

    def points(name: str) -> Tensor:
        a, b, _ = _CAPSULES[name]
        return joints[:, INDEX[a], None] * (1 - t) + joints[:, INDEX[b], None] * t

    hit = torch.zeros(len(joints), dtype=torch.bool)
    for a, b in _CROSSINGS:
        hit |= torch.cdist(points(a), points(b)).amin((1, 2)) < _CAPSULES[a][2] + _CAPSULES[b][2] - 0.02
    return hit


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance of Gaussians on joint positions (N, 22, 3), metres squared."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    ca, cb = torch.cov(a.T), torch.cov(b.T)
    value, vector = torch.linalg.eigh(ca)
    root = vector @ torch.diag(value.clamp(min=0).sqrt()) @ vector.T
    cross = torch.linalg.eigvalsh(root @ cb @ root).clamp(min=0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + ca.trace() + cb.trace() - 2 * cross).item()


def samples(train: Tensor, held: Tensor, count: int) -> str:
    vposer = embedded_prior("vposer")
    g = torch.Generator().manual_seed(2)
    real = torch.cat([held, mirror(held)])
    half = torch.randperm(len(real), generator=g)
    wild = rot.rotvec_to_quat(
        torch.rand(count, 21, 3, generator=g) * (limits.bounds()[1] - limits.bounds()[0]) + limits.bounds()[0]
    )
    found = {
        "held-out poses": real[half[:count]],
        "training poses": train[torch.randperm(len(train), generator=g)[:count]],
        "VPoser alone": rot.matrot_to_quat(vposer.sample(count, 0).matrot),
        "`sample` (vposer)": quats(tasks.sample(count=count, seed=0)),
        "`sample` (posendf)": quats(tasks.sample(count=count, seed=0, prior="posendf")),
        "uniform inside the limits": wild,
    }
    reference = joints_of(real[half[-min(2000, len(half) // 2) :]])
    rows: list[list[str]] = []
    for name, quat in found.items():
        joints = joints_of(quat)
        pairs = torch.randint(len(quat), (2, 4000), generator=g)
        apart = (joints[pairs[0]] - joints[pairs[1]]).norm(dim=-1).mean() * 100
        beyond = (limits.beyond_deg(quat).amax(1) > 5).float().mean() * 100
        rows.append(
            [name, f"{apart:.1f}", f"{frechet(joints, reference):.3f}", f"{beyond:.1f}",
             f"{100 * crosses(joints).float().mean():.1f}"]
        )  # fmt: skip
    return table(["poses", "apart, cm", "Frechet to held-out, m2", "past limits, %", "limbs crossing, %"], rows)


def completion(quat: Tensor, count: int) -> str:
    hidden = {
        "left arm": [n for n in PRIOR_JOINTS if n.startswith("left_") and J[n] in LIMBS[0]],
        "both legs": [PRIOR_JOINTS[j] for j in (*LIMBS[2], *LIMBS[3])],
        "upper body": [n for n in PRIOR_JOINTS if J[n] not in (*LIMBS[2], *LIMBS[3])],
    }
    rest = torch.zeros(1, 21, 4)
    rest[..., 0] = 1
    rows: list[list[str]] = []
    for name, joints in hidden.items():
        keep = [n for n in PRIOR_JOINTS if n not in joints]
        moved = [INDEX[n] for n in joints]
        best, spread, at_rest = [], [], []
        for i, q in enumerate(quat[:count]):
            done = joints_of(quats(tasks.complete(pose=as_pose(q), keep=keep, count=10, seed=i)))[:, moved]
            true = joints_of(q[None])[:, moved]
            best.append((done - true).norm(dim=-1).mean(1).amin().item())
            spread.append((done - done.mean(0)).norm(dim=-1).mean().item())
            blank = q.clone()
            blank[[J[n] for n in joints]] = rest[0, 0]
            at_rest.append((joints_of(blank[None])[:, moved] - true).norm(dim=-1).mean().item())
        mean = lambda v: 1000 * sum(v) / len(v)  # noqa: E731
        rows.append([name, f"{mean(best):.0f}", f"{mean(at_rest):.0f}", f"{mean(spread):.0f}"])
    return table(["hidden", "best of 10, mm", "left at rest, mm", "spread of the 10, mm"], rows)


# -- inverse kinematics, times ---------------------------------------------------------------------------------------
def kinematics(quat: Tensor, count: int) -> str:
    g = torch.Generator().manual_seed(4)
    goal = with_pelvis(quat[torch.randint(len(quat), (count,), generator=g)])
    start = with_pelvis(quat[torch.randint(len(quat), (count,), generator=g)])
    none = torch.zeros(count, 3)
    at = ik.positions(goal, none)
    ndf = embedded_prior("posendf")
    rows: list[list[str]] = []
    for name, joints, steps in (("22 joints", list(range(22)), 24), ("5 effectors", [INDEX[n] for n in EFFECTORS], 16)):
        for prior in (None, "posendf", "vposer"):
            chosen = None if prior is None else tasks.prior_named(prior, "ik")
            solved = ik.solve(start, none, joints, at[:, joints], prior=chosen, steps=steps)
            error = solved.residual * 1000
            natural = ndf.distance(solved.quat[:, 1:]).detach().rad2deg().mean()
            rows.append(
                [
                    name,
                    prior or "no prior",
                    f"{error.mean():.2f}",
                    f"{error.amax(1).quantile(0.95):.2f}",
                    f"{natural:.2f}",
                ]
            )
    return table(["targets", "prior", "error, mm", "worst joint, 95th, mm", "distance to natural, degrees"], rows)


def seconds(way: Callable[[], object], rounds: int = 3) -> float:
    """The least processor time of some rounds: other work on the machine only ever adds."""
    best = math.inf
    for _ in range(rounds):
        began = time.process_time()
        way()
        best = min(best, time.process_time() - began)
    return best


def drag(prior: str) -> float:
    """Answers a second of processor time of a drag: 30 small moves of five effectors, each from the last answer, as
    Blender's Drag asks while the mouse moves.
    """
    pose = as_pose(with_pelvis(torch.zeros(0, 21, 4)).new_tensor([[1.0, 0, 0, 0]]).expand(21, 4)).with_transl((0, 0, 0))
    places = ik.positions(with_pelvis(quats([pose])), torch.zeros(1, 3))[0]
    now = pose

    def once() -> None:
        nonlocal now
        for k in range(30):
            move = {n: torch.zeros(3) for n in EFFECTORS}
            move["left_wrist"] = torch.tensor([-0.015, -0.01, 0.02]) * k
            targets = {n: tuple((places[INDEX[n]] + move[n]).tolist()) for n in EFFECTORS}
            now = tasks.ik(pose=now, targets=targets, prior=prior, steps=4, home=pose).poses[0]

    return 30 / seconds(once)


def times(quat: Tensor) -> str:
    vposer, ndf = embedded_prior("vposer"), embedded_prior("posendf")
    code = vposer.sample_code(64, 0)
    some = quat[:64]
    noisy = add_noise(some, 0.3, torch.Generator().manual_seed(0))
    joints = [INDEX[n] for n in EFFECTORS]
    whole = with_pelvis(noisy)
    none = torch.zeros(64, 3)
    at = ik.positions(with_pelvis(some), none)[:, joints]
    with torch.no_grad():
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "VPoser decode": (lambda: vposer.decode(code), lambda: [vposer.decode(c[None]) for c in code]),
            "projection": (lambda: ndf.project(noisy), lambda: [ndf.project(q[None]) for q in noisy]),
            "IK, 5 effectors": (
                lambda: ik.solve(whole, none, joints, at, prior=ndf),
                lambda: [ik.solve(whole[i : i + 1], none[:1], joints, at[i : i + 1], prior=ndf) for i in range(64)],
            ),
        }
        rows = []
        for name, (together, singly) in pairs.items():
            fast, slow = seconds(together), seconds(singly, 1)
            rows.append([name, f"{fast * 1000:.1f}", f"{slow * 1000:.1f}", f"{slow / fast:.1f}"])
    first = table(["64 poses", "at once, ms", "one by one, ms", "ratio"], rows)
    return (
        first
        + "\n\nDragging five effectors, warm-started, one thread: "
        + ", ".join(f"{drag(p):.0f} answers a second with {p}" for p in ("posendf", "vposer", "both"))
        + " (processor time; four steps an answer, as Blender's Drag asks while the mouse moves)."
    )


_JOINED = (
    "\n\n`both` was joined anew (`chatpose-server train priors_consensus`): before, with weights chosen by hand,"
    " `test, lent` had 32 %, 12 % and 1.21 degrees.\nEverything is fitted to training trials; which opinions to join"
    " (five of nine that were tried) was seen on the rows above."
)


def report(folder: Path, share: float) -> str:
    torch.set_num_threads(1)
    poses = read_sources(folder)
    clean = poses.take(torch.tensor([i for i, g in enumerate(poses.group) if not g.startswith("kaykit")]))
    g = torch.Generator().manual_seed(0)
    test, unseen = clean.split("test"), clean.split("unseen")
    lent = PoseSet(fill_unknown(test, g), test.known, test.group, test.weight)

    def some(n: int, s: PoseSet) -> Tensor:
        return torch.randperm(len(s), generator=torch.Generator().manual_seed(1))[: int(n * share)]

    pick, other = some(2000, test), some(2000, unseen)
    few, rest = some(500, test), some(500, unseen)
    parts = [
        ("Real against corrupted: area under the curve", real_or_not(
            {"test": test.quat[pick], "test, lent": lent.quat[pick], "unseen": unseen.quat[other]})),
        ("One pose without its noise: mean error less by (joints the source measured)", denoise_single(
            {"test": (test.quat[few], test.known[few]), "test, lent": (lent.quat[few], test.known[few]),
             "unseen": (unseen.quat[rest], unseen.known[rest])}) + _JOINED),
        ("Clips of 60 frames without their noise (`denoise`, strength 0.5)", denoise_clips(
            clips(test, int(12 * share), 60))),
        ("In-betweens: pairs of held-out poses, 30 frames between", interpolation(test.quat, int(200 * share))),
        ("Samples", samples(clean.split("train").quat, lent.quat, int(1000 * share))),
        ("Completing", completion(test.quat[few], int(40 * share))),
        ("Inverse kinematics from one held-out pose to another", kinematics(test.quat, int(200 * share))),
        ("Times", times(test.quat[pick])),
    ]  # fmt: skip
    return "\n\n".join(f"### {title}\n\n{body}" for title, body in parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    body = report(args.data, 0.25 if args.quick else 1.0)
    print(body)
    if not args.quick:
        write_section("Priors", f"`.venv/bin/python benchmarks/priors.py --data FOLDER`\n\n{body}")
