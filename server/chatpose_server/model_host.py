"""The one loaded language model: loaded in the background, lent to one caller at a time, dropped. Knows no task."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from . import rooms
from .faults import ChatPoseError, Fault, explain
from .language.base import LanguageModel
from .progress import Cancelled, Progress, no_progress

_log = logging.getLogger("chatpose.models")


class Loader(Protocol):
    """Makes a language model ready; slow. Raises errors written for people, and Cancelled through ``progress``."""

    def __call__(self, name: str, quantize: str, progress: Progress) -> LanguageModel:
        """Loads ``name`` (of the catalogue, or a path)."""
        ...


@dataclass(frozen=True)
class ModelStatus:
    """What the host is doing. ``name``: the model that is, or is being, loaded, or was asked for last."""

    state: Literal["empty", "loading", "ready", "error"]
    name: str | None = None
    stage: str = ""
    fraction: float = 0.0
    fault: Fault | None = None


class ModelHost:
    """Holds the one loaded language model. Loads in the background; a model in use is never pulled away."""

    def __init__(self, loader: Loader, default: str | None = None, quantize: str = "none") -> None:
        self._loader = loader
        self._in_use = threading.Lock()  # held while a model answers, is loaded or is dropped
        self._state = threading.Condition()
        self._status = ModelStatus("empty", default)
        self._quantize = quantize
        self._model: LanguageModel | None = None
        self._ticket = 0  # counts load and unload requests; only the newest may finish

    @property
    def status(self) -> ModelStatus:
        """What the host is doing now."""
        with self._state:
            return self._status

    @property
    def model(self) -> LanguageModel | None:
        """The loaded model, for reading its name and device only."""
        with self._state:
            return self._model

    def load(self, name: str | None = None, quantize: str | None = None) -> None:
        """Starts to load ``name`` (default: the model asked for last) and returns at once. A load in progress of
        another model is given up; one of the same model goes on.
        """
        with self._state:
            wanted = name or self._status.name
            if wanted is None:
                raise ChatPoseError(
                    "no_model", "No model was chosen.", hint="Start the server with --model, or load one."
                )
            how = self._quantize if quantize is None else quantize
            if self._status.state in ("loading", "ready") and (wanted, how) == (self._status.name, self._quantize):
                return
            self._quantize = how
            self._ticket += 1
            ticket = self._ticket
            self._set(ModelStatus("loading", wanted, "Starting", 0.0))
        threading.Thread(target=self._load, args=(wanted, how, ticket), name="chatpose-load", daemon=True).start()

    def unload(self) -> None:
        """Drops the model, after the answer it may be giving, or gives up a load. A later request loads it again."""
        with self._state:
            self._ticket += 1
            self._set(replace(self._status, state="empty", stage="", fraction=0.0, fault=None))
            if self._model is None:
                return
        with self._in_use:
            self._drop()

    @contextmanager
    def use(self, progress: Progress = no_progress) -> Generator[LanguageModel]:
        """The loaded model, for one caller at a time; loads it first if need be, and waits for that.

        Raises ChatPoseError no_model or the error that loading ended with.
        """
        if self.status.state in ("empty", "error"):
            self.load()
        model = self._wait(progress)
        try:
            yield model
        finally:
            self._in_use.release()

    def changed(self, timeout: float) -> ModelStatus:
        """Waits up to ``timeout`` seconds for the status to change, and returns it."""
        with self._state:
            self._state.wait(timeout)
            return self._status

    def _wait(self, progress: Progress) -> LanguageModel:
        """Comes back with the model, and with ``_in_use`` held."""
        while True:
            status = self.status
            if status.state == "loading":
                progress(status.stage or "Loading the model", 0.0)
                self.changed(0.2)
                continue
            if status.state == "error" and status.fault is not None:
                raise ChatPoseError(status.fault.code, status.fault.message, hint=status.fault.hint)
            if self._in_use.acquire(timeout=0.2):
                if self._model is not None:
                    return self._model
                self._in_use.release()
                if self.status.state == "empty":  # unloaded while this request waited
                    self.load()
            progress("Waiting for the model", 0.0)

    def _load(self, name: str, quantize: str, ticket: int) -> None:
        def progress(stage: str, fraction: float) -> None:
            with self._state:
                if ticket != self._ticket:
                    raise Cancelled
                self._set(ModelStatus("loading", name, stage, fraction))

        with self._in_use:
            try:
                progress("Starting", 0.0)
                self._drop()
                model = self._loader(name, quantize, progress)
            except Cancelled:
                return
            except BaseException as error:  # noqa: BLE001 - a model that cannot be loaded must not stop the server
                fault = explain(error)
                if fault.code not in ("out_of_memory", "not_available", "internal"):
                    fault = replace(fault, code="model_failed")
                _log.error("model", extra={"model": name, "code": fault.code, "why": fault.message})
                with self._state:
                    if ticket == self._ticket:
                        self._set(ModelStatus("error", name, "", 0.0, fault))
                return
            with self._state:
                if ticket == self._ticket:
                    self._model = model
                    self._set(ModelStatus("ready", name, "Ready", 1.0))
                    return
            model.unload()

    def _drop(self) -> None:
        with self._state:
            model, self._model = self._model, None
        if model is not None:
            model.unload()
        free_memory()

    def _set(self, status: ModelStatus) -> None:
        self._status = status
        self._state.notify_all()


def load_from_catalogue(name: str, quantize: str, progress: Progress) -> LanguageModel:
    """The real Loader: a name of the catalogue, or (from the command line only) a folder or file.

    Cached weights are read through once and compared with their hashes; damaged ones are fetched anew.
    """
    language = rooms.room("language")
    if not hasattr(language, "load_language_model"):
        raise ChatPoseError("not_available", "This installation cannot load language models.", hint=rooms.DOCTOR)
    from .models import store
    from .models.catalogue import CATALOGUE

    if name in CATALOGUE and CATALOGUE[name].source is not None and store.is_ready(name):
        progress("Checking the weights", 0.0)
        try:
            store.verify(name)
        except store.StoreError as error:
            _log.warning("weights damaged", extra={"model": name, "why": str(error)})
            store.forget(name)
    model = language.load_language_model(name, device="auto", quantize=quantize, progress=progress)
    from .language.poselm import PoseLM

    if isinstance(model, PoseLM) and rooms.offers("posecodes.missed", "Judge"):
        model.judge = rooms.room("posecodes.missed").Judge(model.config.codes)
    progress("Getting ready", 0.97)
    _warm_up()
    return model


def _warm_up() -> None:
    """Makes the refiner's tables (phrases, lexicon, skin landmarks) now: the first pose would wait seconds for them."""
    if not rooms.offers("posecodes.compose", "compose"):
        return
    import torch

    rooms.room("posecodes.compose").compose("standing, the left hand on the hip", torch.eye(3).expand(1, 22, 3, 3))


def free_memory() -> None:
    """Gives memory back to the system and to the GPU's other users (Cycles, above all)."""
    gc.collect()
    torch = sys.modules.get("torch")  # not brought in for this: a model that never came has nothing to free
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
