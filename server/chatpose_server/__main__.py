"""The command ``chatpose-server``: serve, pose, describe, models, train, doctor. Knows no model and no HTTP.

Exit status 0, or 2 with one clear line on standard error for a user's mistake.
"""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from . import __version__
from .faults import ChatPoseError, explain

if TYPE_CHECKING:
    from .engine import Engine
    from .progress import Progress
    from .tasks import PoseRequest, PoseResult

USAGE_MISTAKE: Final = 2


class _Parser(argparse.ArgumentParser):
    """argparse, with mistakes on one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_MISTAKE, f"chatpose-server: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["train"]:  # its options belong to the training command
        return _guarded(lambda: _train(arguments[1:]))
    options = _parser().parse_args(arguments)
    return _guarded(lambda: options.run(options))


def _guarded(run: Any) -> int:
    try:
        return run()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - the one place where an error becomes a line for the user
        fault = explain(error)
        sys.stderr.write(f"chatpose-server: {fault.message}{' ' + fault.hint if fault.hint else ''}\n")
        return USAGE_MISTAKE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="chatpose-server", description="Words and pictures in, SMPL-X poses out.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    serve = commands.add_parser("serve", help="answer requests on this machine")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_port, default=7673, help="0 for any free one; the next free one if it is taken")
    _model_options(serve)
    serve.add_argument("--exit-when-alone", type=_seconds, metavar="SECONDS", help="end when no client has been heard")
    serve.add_argument("--allow-remote", action="store_true", help="let other machines in; needs the TLS files")
    serve.add_argument("--tls-cert", type=Path, metavar="FILE")
    serve.add_argument("--tls-key", type=Path, metavar="FILE")
    serve.add_argument("--name", action="append", default=[], help="a host name clients use for this machine")
    serve.add_argument(
        "--in-process", action="store_true", help="no process of its own for the model: a crash of it ends the server"
    )
    serve.add_argument("--log-prompts", action="store_true", help="write prompts into the log (off by default)")
    serve.set_defaults(run=_serve)

    pose = commands.add_parser("pose", help="a pose from words or a picture")
    pose.add_argument("prompt", nargs="?", default="")
    pose.add_argument("--image", type=Path, metavar="FILE")
    pose.add_argument("--prior", choices=("vposer", "posendf"), help="what a person in the picture is fitted with")
    pose.add_argument("--candidates", type=int, default=1, metavar="N")
    pose.add_argument("--seed", type=int, default=0, metavar="S")
    pose.add_argument("--no-refine", action="store_true", help="the model's pose as it is")
    pose.add_argument("--batch", type=Path, metavar="FILE", help="one prompt a line in, one JSON answer a line out")
    _model_options(pose)
    out = pose.add_mutually_exclusive_group()
    out.add_argument("--json", action="store_true", help="one JSON object on standard output")
    out.add_argument("--out", type=Path, metavar="FILE", help="write the poses to a .npz or .json file")
    pose.set_defaults(run=_pose)

    describe = commands.add_parser("describe", help="a pose in words")
    describe.add_argument("file", type=Path, help="a .npz or .json file of poses")
    describe.add_argument("--json", action="store_true")
    describe.set_defaults(run=_describe)

    models = commands.add_parser("models", help="list, fetch or import weights")
    actions = models.add_subparsers(metavar="ACTION", parser_class=_Parser)
    models.set_defaults(run=_models_list, json=False)
    listing = actions.add_parser("list", help="what there is, and what is here")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_models_list)
    fetch = actions.add_parser("fetch", help="download a model's weights")
    fetch.add_argument("name", nargs="?", help="the default model where it is left out")
    fetch.set_defaults(run=_models_fetch)
    bring = actions.add_parser("import", help="use weights that you have")
    bring.add_argument("file", type=Path)
    bring.set_defaults(run=_models_import)

    commands.add_parser("train", help="train a part anew: train NAME ...")
    doctor = commands.add_parser("doctor", help="what is installed, what is missing, what to do")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run=_doctor)
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=None, metavar="NAME|PATH")
    parser.add_argument("--quantize", choices=("none", "8bit", "4bit"), default="none")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port (0 to 65535)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return seconds


def _default_model() -> str:
    from .models.catalogue import DEFAULT_LANGUAGE_MODEL

    return DEFAULT_LANGUAGE_MODEL


# -- serve -------------------------------------------------------------------------------------------------------------
def _serve(options: argparse.Namespace) -> int:
    from . import log
    from .api.guard import read_or_make_token
    from .api.serve import ServeOptions, serve
    from .engine import Engine
    from .model_host import ModelHost, load_from_catalogue
    from .worker.answers import InProcess
    from .worker.remote import Remote

    log.start()
    model = options.model or _default_model()
    serve(
        ServeOptions(
            token=read_or_make_token(),
            host=options.host,
            port=options.port,
            exit_when_alone=options.exit_when_alone,
            allow_remote=options.allow_remote,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            names=tuple(options.name),
            log_prompts=options.log_prompts,
        ),
        InProcess(Engine(ModelHost(load_from_catalogue, model, options.quantize)))
        if options.in_process
        else Remote(model, options.quantize),
    )
    return 0


# -- pose --------------------------------------------------------------------------------------------------------------
def _pose(options: argparse.Namespace) -> int:
    from .engine import Engine
    from .model_host import ModelHost, load_from_catalogue
    from .picture import MAX_IMAGE_BYTES, Picture
    from .tasks import MAX_CANDIDATES, PoseRequest, check_prompt

    if not 1 <= options.candidates <= MAX_CANDIDATES:
        raise ChatPoseError("invalid_request", f"--candidates must be from 1 to {MAX_CANDIDATES}.")
    if options.batch is not None and (options.prompt or options.image or options.out):
        raise ChatPoseError("invalid_request", "--batch takes its prompts from the file; leave the others out.")
    if options.out is not None and options.out.suffix.lower() not in (".npz", ".json"):
        raise ChatPoseError("invalid_request", "--out must end in .npz or .json.")
    picture = None if options.image is None else Picture.check(_read(options.image, MAX_IMAGE_BYTES + 1))

    def request(prompt: str) -> PoseRequest:
        made = PoseRequest(
            prompt, image=picture, candidates=options.candidates, seed=options.seed, refine=not options.no_refine,
            prior=options.prior,
        )  # fmt: skip
        check_prompt(made)
        return made

    engine = Engine(ModelHost(load_from_catalogue, options.model or _default_model(), options.quantize))
    if options.batch is not None:
        return _pose_batch(engine, request, _read(options.batch).decode("utf-8", "replace").splitlines())
    result = engine.pose(request(options.prompt), _stages())
    if options.json:
        print(json.dumps(result.to_json()))
    elif options.out is not None:
        _save(options.out, result)
    else:
        print(_in_words(result))
    return 0


def _pose_batch(engine: Engine, request: Any, prompts: Sequence[str]) -> int:
    """An answer a line, in order; a prompt that fails has its error in its line, and the others go on."""
    for prompt in prompts:
        try:
            answer = engine.pose(request(prompt)).to_json()
        except Exception as error:  # noqa: BLE001 - one bad line must not lose the rest of the night's batch
            answer = {"error": explain(error).to_json()}
        print(json.dumps({"prompt": prompt} | answer), flush=True)
    return 0


def _save(path: Path, result: PoseResult) -> None:
    from .pose import save_npz

    if not result.poses:
        raise ChatPoseError("invalid_request", f"The model answered without a pose: {result.text}")
    part = path.with_name(f".{path.name}.part")  # moved into place when whole: a full disk leaves the old file
    try:
        if path.suffix.lower() == ".json":
            part.write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
        else:
            save_npz(part, result.poses)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    print(f"{result.text}\nSaved {len(result.poses)} pose(s) to {path}.")


def _in_words(result: PoseResult) -> str:
    """The answer, and the joints that are bent, largest first: something to read without a viewer."""
    import math

    lines = [result.text]
    for pose in result.poses:
        angles = {name: 2 * math.degrees(math.acos(min(1.0, abs(q[0])))) for name, q in pose.joints.items()}
        most = sorted(angles, key=lambda name: -angles[name])[:8]
        lines.append("  " + ", ".join(f"{name} {angles[name]:.0f}\u00b0" for name in most))
    lines.append(f"({result.model}, seed {result.seed}, {result.timings.get('total', 0.0):.2f} s)")
    return "\n".join(lines)


# -- describe ----------------------------------------------------------------------------------------------------------
def _describe(options: argparse.Namespace) -> int:
    from .engine import Engine
    from .model_host import ModelHost, load_from_catalogue
    from .tasks import DescribeRequest

    engine = Engine(ModelHost(load_from_catalogue, _default_model()))
    results = [engine.describe(DescribeRequest(pose)) for pose in _load_poses(options.file)]
    if options.json:
        print(json.dumps({"poses": [result.to_json() for result in results]}))
    else:
        print("\n".join(result.text for result in results))
    return 0


def _load_poses(path: Path) -> list[Any]:
    from .pose import Pose, PoseError, load_npz

    if path.suffix.lower() != ".json":
        if not path.is_file():
            raise ChatPoseError("invalid_request", f"There is no file {path}.")
        return load_npz(path)
    try:
        data = json.loads(_read(path))
    except ValueError as error:
        raise PoseError(f"{path} is not a JSON file.") from error
    several = data.get("poses") if isinstance(data, dict) else None
    return [Pose.from_json(pose) for pose in (several if isinstance(several, list) else [data])]


# -- models ------------------------------------------------------------------------------------------------------------
def _models_list(options: argparse.Namespace) -> int:
    from .engine import Engine
    from .model_host import ModelHost, load_from_catalogue

    models = Engine(ModelHost(load_from_catalogue)).list_models()
    if options.json:
        print(json.dumps({"models": models}))
        return 0
    for model in models:
        print(f"{model['id']:<20} {'here' if model['fetched'] else 'not fetched':<12} {model['title']}")
        print(f"{'':<20} {'':<12} {model['licence']}" + (f"; {model['note']}" if model["note"] else ""))
    return 0


def _models_fetch(options: argparse.Namespace) -> int:
    from .models import store

    name = options.name or _default_model()
    if store.entry(name).source is None:
        print(f"{name} ships with the server: there is nothing to fetch.")
        return 0
    print(f"{name} is ready in {store.repaired(name, _stages())}.")
    return 0


def _models_import(options: argparse.Namespace) -> int:
    from .importer import import_file

    print(import_file(options.file, _stages()))
    return 0


# -- train -------------------------------------------------------------------------------------------------------------
def _train(arguments: list[str]) -> int:
    names = _trainings()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"chatpose-server train NAME ...\nNAME is one of: {', '.join(names)}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in names:
        raise ChatPoseError("invalid_request", f"There is no training called '{name}'. Known: {', '.join(names)}.")
    if name == "poselm":
        from .training.which import training_for

        name = training_for(rest)
    status = importlib.import_module(f".training.{name}", __package__).main(rest)
    return int(status or 0)


def _trainings() -> list[str]:
    """The modules of the training room that are commands: those with a ``main``. Read from their text, because
    importing them all would load every library.
    """
    folder = Path(__file__).parent / "training"
    return sorted(p.stem for p in folder.glob("*.py") if "\ndef main(" in p.read_text(encoding="utf-8"))


# -- doctor ------------------------------------------------------------------------------------------------------------
def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    findings = examine()
    if options.json:
        print(json.dumps({"findings": [finding.to_json() for finding in findings]}))
        return 0
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL' if finding.needed else '-   '} {finding.what}: {finding.found}")
        if finding.advice:
            print(f"       {finding.advice}")
    return 0


# -- small things ------------------------------------------------------------------------------------------------------
def _read(path: Path, most: int = -1) -> bytes:
    """The file, or as many of its bytes: it may be a device without an end."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise ChatPoseError("invalid_request", f"{path} cannot be read ({error.strerror}).") from error


def _stages() -> Progress:
    """Progress on standard error, where somebody looks at it."""
    from .progress import no_progress

    if not sys.stderr.isatty():
        return no_progress

    def show(stage: str, fraction: float) -> None:
        sys.stderr.write(f"\r\x1b[K{stage} {fraction:4.0%}" if fraction < 1 else "\r\x1b[K")
        sys.stderr.flush()

    return show


if __name__ == "__main__":
    sys.exit(main())
