"""Models and artifacts that mean harm: no code of theirs runs, nobody is called, nothing outside is read or written."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from data.errors import RatchetError
from serving.artifact import MANIFEST, load_artifact, seal_artifact
from serving.errors import SwapFailed
from serving.slot import ModelSlot
from tests.faults.conftest import Tell
from tests.tiny import build_tiny_gpt2
from tests.unit.api.live import Artifacts
from trainer.base import load_base, prepare_base

Spoil = Callable[[Path, Path], None]  # a model's or artifact's folder, and the file that its code would write


class Bomb:
    """What a pickle makes whoever loads it do."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trap,))


def put_pickle(folder: Path, trap: Path) -> None:
    """In place of the safetensors."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(trap)))


def put_own_code(folder: Path, trap: Path) -> None:
    """A configuration that names code beside it."""
    (folder / "modeling_own.py").write_text(f"from pathlib import Path\nPath({str(trap)!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "modeling_own.Own", "AutoModelForCausalLM": "modeling_own.Own"},
    }
    (folder / "config.json").write_text(json.dumps(config))


def enlarge_header(folder: Path, trap: Path) -> None:
    """A header that claims to be 2^62 bytes long."""
    weights = folder / "model.safetensors"
    weights.write_bytes((2**62).to_bytes(8, "little") + weights.read_bytes()[8:])


def lose_numbers(folder: Path, trap: Path) -> None:
    """Weights that are not numbers."""
    model = GPT2LMHeadModel.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight.fill_(float("nan"))
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without fault."""
    return build_tiny_gpt2(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def listener() -> Iterator[tuple[str, list[object]]]:
    """An address, and the connections that came to it."""
    came: list[object] = []
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, peer = server.accept()
            except OSError:
                return
            came.append(peer)
            connection.close()

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/model", came
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.mark.parametrize("spoil", [put_pickle, put_own_code, enlarge_header, lose_numbers])
def test_hostile_base_models_are_refused(
    spoil: Spoil, sound: Path, tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, trap = Path(shutil.copytree(sound, tmp_path / "model")), tmp_path / "trap"
    spoil(folder, trap)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RatchetError) as caught:
        prepare_base(str(folder), tmp_path / "artifact")
    assert not trap.exists()
    assert not (tmp_path / "artifact").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 500_000
    tell(f"base model, {spoil.__name__}: 0 code run, refused: {caught.value.message[:70]}")


def test_a_url_is_no_base_model(listener: tuple[str, list[object]], tell: Tell) -> None:
    url, came = listener
    with pytest.raises(RatchetError):
        load_base(url)
    assert came == []
    tell("URL as base model: 0 connections")


def climb(folder: Path, trap: Path) -> None:
    """The manifest names a file outside."""
    _add_file(folder, "../../outside.json", "0" * 64)


def climb_from_root(folder: Path, trap: Path) -> None:
    """The manifest names a file by its full path."""
    _add_file(folder, str(trap), "0" * 64)


def link_outside(folder: Path, trap: Path) -> None:
    """A link to a file outside, whose content the manifest knows."""
    trap.with_name("secret.json").write_text("{}")
    (folder / "secret.json").symlink_to(trap.with_name("secret.json"))
    seal_artifact(folder)


def carry_pickle(folder: Path, trap: Path) -> None:
    """A pickle, properly sealed."""
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Bomb(trap)))
    seal_artifact(folder)


def nest_manifest(folder: Path, trap: Path) -> None:
    """A manifest that is nested so deeply that reading it overflows."""
    (folder / MANIFEST).write_text("[" * 200_000)


def escape_template(folder: Path, trap: Path) -> None:
    """A chat template that reaches for Python's inside."""
    (folder / "chat_template.jinja").write_text(
        "{{ cycler.__init__.__globals__.os.system('touch " + str(trap) + "') }}{{ messages }}"
    )
    seal_artifact(folder)


def twist_config(folder: Path, trap: Path) -> None:
    """A configuration that is a list."""
    (folder / "config.json").write_text("[]")
    seal_artifact(folder)


def _add_file(folder: Path, name: str, digest: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = digest
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "spoil", [climb, climb_from_root, link_outside, carry_pickle, nest_manifest, escape_template, twist_config]
)
def test_hostile_artifacts_do_not_take_over(spoil: Spoil, artifacts: Artifacts, tmp_path: Path, tell: Tell) -> None:
    folder, trap = Path(shutil.copytree(artifacts.root / artifacts.folders[1], tmp_path / "copy")), tmp_path / "trap"
    slot = ModelSlot(threads=1)
    slot.swap(artifacts.root / artifacts.folders[0], 0)
    load_artifact(folder)  # without fault so far
    spoil(folder, trap)
    with pytest.raises(SwapFailed) as caught:
        slot.swap(folder, 1)
    assert not trap.exists()
    assert slot.current is not None
    assert slot.current.version == 0
    slot.close()
    tell(f"artifact, {spoil.__name__}: 0 code run, the old version stays: {caught.value.message[-110:]}")
