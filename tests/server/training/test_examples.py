"""Every form of data that people may bring, each from a small made file; how kinds are mixed; what bad data is told."""

import json

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.language import conversation as talk
from chatpose_server.skeleton import INDEX
from chatpose_server.training import chat_poselm
from chatpose_server.training.example_files import pose_folders, read_data, read_pose
from chatpose_server.training.examples import Examples
from chatpose_server.training.pairs import Batch
from chatpose_server.training.pose_data import TrainingDataError
from chatpose_server.training.which import training_for
from PIL import Image

BEND = (0.3, 0.0, 0.0)
UPRIGHT_IN_CAMERA = (torch.pi, 0.0, 0.0)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def picture(path, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(path)
    return path


def amass(path, frames=3):
    """Each frame: upright (z up), turned about the vertical; frame 1 has a bent left hip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = np.zeros((frames, 156), np.float32)
    upright = rot.rotvec_to_matrot(torch.tensor([torch.pi / 2, 0.0, 0.0]))
    for frame, yaw in enumerate((0.0, 1.0, -2.5)[:frames]):
        root = rot.rotvec_to_matrot(torch.tensor([0.0, 0.0, yaw])) @ upright
        poses[frame, :3] = rot.matrot_to_rotvec(root).numpy()
    poses[1, 3:6] = BEND
    np.savez(path, poses=poses, mocap_framerate=60.0)
    return path


def is_bent_left_hip(matrot):
    """Upright, facing the front, and nothing bent but the left hip."""
    wanted = torch.zeros(22, 3)
    wanted[INDEX["left_hip"]] = torch.tensor(BEND)
    return float(rot.geodesic_angle(matrot, rot.rotvec_to_matrot(wanted)).max()) < 1e-3


def smpl(**more):
    body = np.zeros(69, np.float32)
    body[:3] = BEND
    return {"global_orient": list(UPRIGHT_IN_CAMERA), "body_pose": body.tolist(), **more}


@pytest.mark.parametrize("yaw", [0, 1, 2])
def test_words_of_amass_face_the_front_whatever_the_body_faced(tmp_path, yaw):
    amass(tmp_path / "a.npz")
    matrot = read_pose({"amass": "a.npz", "frame": yaw}, tmp_path)
    assert torch.allclose(matrot[0], torch.eye(3), atol=1e-5)
    assert is_bent_left_hip(matrot) == (yaw == 1)


def test_json_lines_of_every_form(tmp_path):
    picture(tmp_path / "p.png")
    amass(tmp_path / "a.npz")
    quat = [float(np.cos(0.15)), float(np.sin(0.15)), 0.0, 0.0]
    rows = [
        {"text": "a", "pose": {"format": "smplx-quat-wxyz", "joints": {"left_hip": quat}}},
        {"text": "b", "pose": {"amass": "a.npz", "frame": 1}},
        {"image": "p.png", "pose": {"smpl": smpl()}, "box": [1, 2, 30, 20]},
        {"text": "kept out", "pose": {"joints": {}}, "split": "test"},
        {"image": "p.png", "conversations": [
            {"from": "human", "value": "<image>\nWho?"}, {"from": "gpt", "value": "She."},
            {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here."}]},
        {"text": "c", "pose": {"joints": {}}, "question": "Which pose?", "answer": "Look: [SEG]!"},
    ]  # fmt: skip
    lines = read_data([write(tmp_path / "d.jsonl", "\n".join(map(json.dumps, rows)))])
    assert [line.kind for line in lines] == ["text", "text", "image", "talk", "text"]
    assert all(is_bent_left_hip(line.matrot) for line in lines[:3])
    assert lines[3].example().exchanges == (talk.Exchange("Who?", "She."), talk.Exchange("Where?", "Here."))
    assert lines[4].example(3, 5).exchanges == (talk.Exchange("Which pose?", "Look: [SEG]!"),)


def test_posescript_captions_by_ids_from_amass(tmp_path):
    amass(tmp_path / "amass" / "KIT" / "3" / "walk_poses.npz")
    ids = write(tmp_path / "ids.json", {"12": ["AMASS", "KIT/3/walk", 1], "13": ["KIT/3/walk_poses.npz", 0]})
    captions = write(tmp_path / "captions.json", {"12": ["One hip is bent.", "A bent hip."], "13": "Standing."})
    lines = read_data([captions], tmp_path / "amass", ids)
    assert [line.text for line in lines] == ["One hip is bent.", "A bent hip.", "Standing."]
    assert [is_bent_left_hip(line.matrot) for line in lines] == [True, True, False]
    with pytest.raises(TrainingDataError, match="--posescript-ids"):
        read_data([captions])
    write(tmp_path / "ids.json", {"12": ["KIT/3/run_poses.npz", 1]})
    with pytest.raises(TrainingDataError, match=r"Pose 12 .* cannot be used: there is no 'KIT/3/run_p"):
        read_data([captions], tmp_path / "amass", ids)


def test_llavas_own_list_of_questions(tmp_path):
    picture(tmp_path / "coco" / "1.jpg")
    turns = [{"from": "human", "value": "Who?\n<image>"}, {"from": "gpt", "value": "She."}]
    file = write(tmp_path / "mix.json", [{"id": "1", "image": "coco/1.jpg", "conversations": turns},
                                         {"id": "2", "conversations": turns}])  # fmt: skip
    lines = read_data([file])
    assert [line.kind for line in lines] == ["talk", "talk"]
    assert lines[0].image == tmp_path / "coco" / "1.jpg" and lines[1].image is None


def test_a_folder_of_pictures_with_smpl_parameters(tmp_path):
    folder = tmp_path / "pictures"
    for name in ("a.jpg", "b.png", "alone.png"):
        picture(folder / name)
    write(folder / "a.json", smpl(box=[10, 5, 20, 40]))
    matrices = rot.rotvec_to_matrot(torch.tensor([*UPRIGHT_IN_CAMERA, *smpl()["body_pose"]]).view(24, 3)).numpy()
    np.savez(folder / "b.npz", global_orient=matrices[:1], body_pose=matrices[1:])
    lines = read_data([folder])
    assert [(line.image.name, line.box) for line in lines] == [("a.jpg", (10.0, 5.0, 20.0, 40.0)), ("b.png", None)]
    assert all(is_bent_left_hip(line.matrot) for line in lines)
    assert lines[0].example().picture().size == (52, 52)  # 40 pixels and the margin, square
    assert lines[1].example().picture().size == (60, 40)


def test_annotation_files_that_list_pictures(tmp_path):
    picture(tmp_path / "images" / "1.png")
    pose = np.array([*UPRIGHT_IN_CAMERA, *smpl()["body_pose"]], np.float32)
    np.savez(tmp_path / "train.npz", imgname=np.array(["images/1.png"] * 2), pose=np.stack([pose, pose]),
             center=np.array([[30.0, 20.0]] * 2), scale=np.array([0.12, 0.12]), has_smpl=np.array([1, 0]))  # fmt: skip
    (line,) = read_data([tmp_path / "train.npz"])
    assert is_bent_left_hip(line.matrot)
    assert line.box == pytest.approx((20.0, 10.0, 20.0, 20.0), abs=1e-4)


class Measured:
    """What ``caption_pairs`` gives of a folder of motion."""

    def sample(self, count, generator):
        replies = [None if i else "Hello!" for i in torch.randint(4, (count,), generator=generator).tolist()]
        return Batch(["arms up"] * count, replies, torch.eye(3).expand(count, 22, 3, 3), torch.zeros(count, 1),
                     torch.zeros(count))  # fmt: skip


def test_a_folder_of_motion_is_described_by_measuring_it(tmp_path, monkeypatch):
    amass(tmp_path / "motion" / "a_poses.npz")
    picture(tmp_path / "pictures" / "a.png")
    assert pose_folders([tmp_path / "motion", tmp_path / "pictures"]) == [tmp_path / "motion"]
    from chatpose_server.training import caption_pairs

    asked = []
    monkeypatch.setattr(caption_pairs.CaptionPairs, "from_folder", lambda folder: asked.append(folder) or Measured())
    data = chat_poselm.read_examples([tmp_path / "motion"])
    assert asked == [tmp_path / "motion"] and len(data.some_poses(5)) == 5
    drawn = data.sample(60, torch.Generator().manual_seed(0))
    poses = [example for example in drawn if example.matrot is not None]
    assert 30 < len(poses) < 60 and all("arms up" in example.exchanges[0].question for example in poses)
    assert {e.exchanges for e in drawn if e.matrot is None} == {(talk.Exchange("arms up", "Hello!"),)}


# -- mixing ------------------------------------------------------------------------------------------------------------
def mixed(tmp_path, rates):
    picture(tmp_path / "p.png")
    rows = [{"text": "kneeling", "pose": {"joints": {}}}, {"image": "p.png", "pose": {"joints": {}}},
            {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "She."}]}]  # fmt: skip
    return Examples(read_data([write(tmp_path / "d.jsonl", "\n".join(map(json.dumps, rows)))]), rates)


def test_rates_and_seeds_decide_what_is_drawn(tmp_path):
    data = mixed(tmp_path, (1.0, 2.0, 1.0))
    drawn = data.sample(1000, torch.Generator().manual_seed(1))
    pictures = sum(e.image is not None for e in drawn)
    talks = sum(e.matrot is None for e in drawn)
    assert 450 < pictures < 550 and 200 < talks < 300
    again = data.sample(1000, torch.Generator().manual_seed(1))
    assert [e.exchanges for e in drawn] == [e.exchanges for e in again]
    no_pictures = mixed(tmp_path, (1.0, 0.0, 1.0)).sample(100, torch.Generator().manual_seed(1))
    assert not any(e.image for e in no_pictures)


def test_no_line_comes_twice_before_all_have_come(tmp_path):
    rows = [{"text": f"number {i}", "pose": {"joints": {}}, "question": str(i)} for i in range(20)]
    data = Examples(read_data([write(tmp_path / "d.jsonl", "\n".join(map(json.dumps, rows)))]))
    orders = [[e.exchanges[0].question for e in data.sample(40, torch.Generator().manual_seed(s))] for s in (0, 1)]
    for order in orders:
        assert sorted(order[:20], key=int) == sorted(order[20:], key=int) == [str(i) for i in range(20)]
    assert orders[0] != orders[1] and orders[0][:20] != orders[0][20:]


def test_trained_wordings_are_drawn_where_a_line_has_none(tmp_path):
    drawn = mixed(tmp_path, (1.0, 0.0, 0.0)).sample(100, torch.Generator().manual_seed(0))
    assert len({e.exchanges[0].question for e in drawn}) == len(talk.TEXT_QUESTIONS)
    assert {e.exchanges[0].answer for e in drawn} == set(talk.ANSWERS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "no known form"),
        ('{"pose": {"joints": {}}}', "neither a text nor a picture"),
        ('{"image": "gone.png", "pose": {"joints": {}}}', "no picture 'gone.png'"),
        ('{"text": "a", "pose": {"joints": {"nose": [1, 0, 0, 0]}}}', "'nose' is not a SMPL-X joint"),
        ('{"text": "a", "answer": "Sure.", "pose": {"joints": {}}}', r"must hold \[SEG\] once"),
        ('{"text": "a", "pose": {"amass": "gone.npz", "frame": 0}}', "no AMASS file"),
        ('{"text": "a", "pose": {"amass": "a.npz", "frame": 9}}', "3 frames, and frame 9"),
        ('{"text": "a", "pose": {"smpl": {"global_orient": [0, 0, 0]}}}', "no known form"),
        ('{"image": "p.png", "box": [0, 0, 0, 9], "pose": {"joints": {}}}', "box is empty"),
        ("", "nothing to train on"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, words):
    amass(tmp_path / "a.npz")
    picture(tmp_path / "p.png")
    with pytest.raises(TrainingDataError, match=words):
        Examples(read_data([write(tmp_path / "d.jsonl", line)]))


# -- which trainer -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("--data MOTION --out o", "poselm"),
        ("--base chatpose-small --data MOTION --steps 3", "poselm"),
        ("--base chatpose-small --data pairs.jsonl", "chat_poselm"),
        ("--data PICTURES", "chat_poselm"),
        ("--data MOTION pairs.json", "chat_poselm"),
        ("--base MOTION --data MOTION", "chat_poselm"),
        ("--base HuggingFaceTB/SmolVLM-256M-Instruct --data pairs.jsonl --rates 1 2 1", "chat_poselm"),
        ("--base", "poselm"),
        ("--help", "poselm"),
        ("--base x --help", "chat_poselm"),
    ],
)
def test_one_command_for_every_base_and_data(tmp_path, options, name):
    amass(tmp_path / "motion" / "a.npz")
    picture(tmp_path / "pictures" / "a.png")
    told = options.replace("MOTION", str(tmp_path / "motion")).replace("PICTURES", str(tmp_path / "pictures"))
    assert training_for(told.split()) == name
