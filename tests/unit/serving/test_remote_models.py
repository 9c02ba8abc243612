"""Which weights a remote engine serves, over real HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.artifact import Artifact, load_artifact, seal_artifact
from serving.engine import CTranslate2Engine, Sampling
from serving.errors import ArtifactInvalid, EngineUnavailable, SwapFailed, SwapPostponed
from serving.handle import load_handle
from serving.remote import EngineClient
from serving.remote_models import ADAPTER_FOLDER, RemoteModels, name_model
from serving.slot import ModelSlot
from tests.openai_server import OpenAIServer, run_openai_server


@pytest.fixture(scope="module")
def tuned(
    tmp_path_factory: pytest.TempPathFactory, artifact: Artifact, artifact_folders: tuple[Path, Path]
) -> Artifact:
    """The second artifact as a run with `lora:R` leaves it: its adapter beside it, for the first as base."""
    folder = tmp_path_factory.mktemp("tuned") / "tuned"
    shutil.copytree(artifact_folders[1], folder)
    (folder / ADAPTER_FOLDER).mkdir()
    (folder / ADAPTER_FOLDER / "adapter_config.json").write_text("{}")
    seal_artifact(folder, base_digest=artifact.digest, base_model="tiny")
    return load_artifact(folder)


@pytest.fixture(scope="module")
def other_engine(artifact_folders: tuple[Path, Path]) -> CTranslate2Engine:
    return CTranslate2Engine(artifact_folders[1] / "ctranslate2")


@pytest.fixture(scope="module")
def running(artifact: Artifact) -> Iterator[OpenAIServer]:
    with run_openai_server(artifact) as server:
        yield server


@pytest.fixture
def server(running: OpenAIServer, artifact: Artifact, engine: CTranslate2Engine) -> Iterator[OpenAIServer]:
    """Serves the first artifact under its name."""
    running.models = {name_model(artifact.digest): engine}
    yield running
    running.has_adapters, running.scoring, running.key = True, "prompt_logprobs", ""
    running.loads.clear()


@pytest.fixture
def models(server: OpenAIServer) -> Iterator[RemoteModels]:
    with RemoteModels(EngineClient(server.url)) as models:
        yield models


def load(models: RemoteModels, artifact: Artifact, version: int = 1) -> str:
    """The name of what was loaded."""
    handle = models.load(artifact.folder, version, "float32", 1)
    assert (handle.version, handle.digest) == (version, artifact.digest)
    return str(handle.engine.model)  # type: ignore[attr-defined]


class TestLoad:
    def test_takes_what_is_served_under_its_name(
        self, server: OpenAIServer, models: RemoteModels, artifact: Artifact
    ) -> None:
        assert load(models, artifact) == name_model(artifact.digest)
        assert not server.loads

    def test_loads_an_adapter_which_answers_at_once(
        self, server: OpenAIServer, models: RemoteModels, tuned: Artifact
    ) -> None:
        assert load(models, tuned) == name_model(tuned.digest)
        assert server.loads == [(name_model(tuned.digest), str(tuned.folder / ADAPTER_FOLDER))]

    def test_names_the_adapter_by_the_path_that_the_server_knows(self, server: OpenAIServer, tuned: Artifact) -> None:
        elsewhere = tuned.folder.parent.parent / tuned.folder.parent.name  # the same folder by another spelling
        with RemoteModels(EngineClient(server.url), f"{elsewhere}/../{elsewhere.name}") as models:
            load(models, tuned)
        assert server.loads[0][1] == f"{elsewhere}/../{elsewhere.name}/tuned/{ADAPTER_FOLDER}"

    def test_says_how_to_restart_for_whole_weights(
        self, server: OpenAIServer, models: RemoteModels, artifact_folders: tuple[Path, Path]
    ) -> None:
        other = load_artifact(artifact_folders[1])
        with pytest.raises(
            EngineUnavailable, match=f"--model {other.folder} --served-model-name {name_model(other.digest)}"
        ):
            load(models, other)

    def test_never_puts_an_adapter_on_another_base(
        self, server: OpenAIServer, models: RemoteModels, tuned: Artifact, other_engine: CTranslate2Engine
    ) -> None:
        server.models = {"ratchet-something": other_engine}
        with pytest.raises(EngineUnavailable, match="serves ratchet-something; restart"):
            load(models, tuned)
        assert not server.loads

    def test_says_what_adapters_take(self, server: OpenAIServer, models: RemoteModels, tuned: Artifact) -> None:
        server.has_adapters = False
        with pytest.raises(EngineUnavailable, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
            load(models, tuned)

    def test_refuses_other_weights_under_the_right_name(
        self, server: OpenAIServer, models: RemoteModels, artifact: Artifact, other_engine: CTranslate2Engine
    ) -> None:
        server.models = {name_model(artifact.digest): other_engine}
        with pytest.raises(EngineUnavailable, match=r"other weights \(log-probabilities \d"):
            load(models, artifact)

    def test_refuses_a_changed_file(self, models: RemoteModels, artifact: Artifact, tmp_path: Path) -> None:
        shutil.copytree(artifact.folder, tmp_path / "copy")
        (tmp_path / "copy" / "config.json").write_text("{}")
        with pytest.raises(ArtifactInvalid):
            models.load(tmp_path / "copy", 1, "float32", 1)

    def test_sends_its_key(self, server: OpenAIServer, models: RemoteModels, artifact: Artifact) -> None:
        server.key = "secret"
        with pytest.raises(EngineUnavailable, match="401"):
            load(models, artifact)
        with RemoteModels(EngineClient(f"{server.url}/v1/", "secret")) as keyed:
            load(keyed, artifact)


class TestSwap:
    def test_promotes_an_adapter_and_goes_back_with_the_same_replies(
        self, server: OpenAIServer, models: RemoteModels, artifact: Artifact, tuned: Artifact
    ) -> None:
        slot, replies = ModelSlot(load=models.load), []
        for version, wanted in ((0, artifact), (1, tuned), (0, artifact)):
            slot.swap(wanted.folder, version)
            with slot.lease() as handle:
                prompt = handle.renderer.render([{"role": "user", "content": "I cannot sleep."}])
                [generation] = handle.engine.generate([prompt], Sampling(max_tokens=8))
                replies.append(generation.token_ids)
                here = load_handle(wanted.folder, version)
                assert here.engine.generate([prompt], Sampling(max_tokens=8)) == [generation]
                here.retire()
        assert replies[0] == replies[2] != replies[1]
        slot.close()

    def test_unloads_what_nothing_uses_when_the_next_comes(
        self, server: OpenAIServer, models: RemoteModels, artifact: Artifact, tuned: Artifact, tmp_path: Path
    ) -> None:
        newest = _copy_with_another_digest(tuned, tmp_path / "newest")
        slot = ModelSlot(load=models.load)
        slot.swap(tuned.folder, 1)
        slot.swap(artifact.folder, 0)
        assert name_model(tuned.digest) in server.models  # another process may be seconds behind
        slot.swap(newest.folder, 2)
        assert set(server.models) == {name_model(artifact.digest), name_model(newest.digest)}
        slot.close()

    def test_brings_back_an_adapter_after_a_restart_of_the_server(
        self,
        server: OpenAIServer,
        models: RemoteModels,
        artifact: Artifact,
        tuned: Artifact,
        engine: CTranslate2Engine,
    ) -> None:
        slot = ModelSlot(load=models.load)
        slot.swap(tuned.folder, 1)
        server.models = {name_model(artifact.digest): engine}
        with slot.lease() as handle:
            prompt = handle.renderer.render([{"role": "user", "content": "I cannot sleep."}])
            assert handle.engine.generate([prompt], Sampling(max_tokens=4))[0].token_ids
        assert name_model(tuned.digest) in server.models
        slot.close()

    def test_is_postponed_while_the_server_lacks_the_version(
        self, server: OpenAIServer, models: RemoteModels, artifact: Artifact
    ) -> None:
        server.models = {}
        slot = ModelSlot(load=models.load)
        with pytest.raises(SwapPostponed, match="cannot take over yet"):
            slot.swap(artifact.folder, 0)
        with pytest.raises(SwapFailed) as caught:
            slot.swap(artifact.folder / "gone", 0)
        assert not isinstance(caught.value, SwapPostponed)


def _copy_with_another_digest(artifact: Artifact, folder: Path) -> Artifact:
    shutil.copytree(artifact.folder, folder)
    (folder / "README.md").write_text("The same weights.")
    seal_artifact(folder, base_digest=artifact.manifest["base_digest"], base_model="tiny")
    return load_artifact(folder)
