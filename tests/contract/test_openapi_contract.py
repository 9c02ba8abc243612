"""The committed OpenAPI document against the running API: what it promises holds for hostile requests as well.

`SCHEMA_EXAMPLES` is the number of requests for each operation; `make test-contract` asks for more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import run_state_machine_as_test

from tests.databases import BACKENDS, create_database
from tests.unit.api.live import Artifacts, add_first_version, build_settings, serve, start_app

MAX_ROUNDS = 50
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "10"))
SCHEMA = schemathesis.openapi.from_path(Path(__file__).parents[2] / "openapi.json")
SCHEMA.config.generation.update(
    allow_x00=False,  # a NUL is refused everywhere, which the document does not say of each text
    with_security_parameters=False,  # every call is an admin's
)
# A request may have the right shape and still ask for what cannot be, such as a recipe that is none: that is a 400.
SCHEMA.config.checks.positive_data_acceptance.expected_statuses.append("400")
DOSE = settings(
    max_examples=EXAMPLES,
    derandomize="SCHEMA_EXAMPLES" not in os.environ,  # the small dose is the same each time
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=BACKENDS)
def admin(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, artifacts: Artifacts, broker_url: str
) -> Iterator[dict[str, Any]]:
    """How an admin calls a server that has things to find."""
    folder = tmp_path_factory.mktemp("contract")
    app_settings = build_settings(folder, request.getfixturevalue("sqlite_template"), artifacts, broker_url)
    with create_database(request, tmp_path_factory.mktemp("database")) as url:
        app_settings = app_settings.model_copy(update={"database_url": url, "max_reply_tokens": 4})
        with start_app(app_settings, artifacts) as live, serve(live.app) as address, requests.Session() as session:
            add_first_version(live.services.database, artifacts)
            live.chat(user="ann", metadata={"conversation_id": "chat-1"})
            yield {"base_url": address, "session": session, "headers": live.callers.admin}


@DOSE
@SCHEMA.parametrize()
def test_each_operation(case: schemathesis.Case, admin: dict[str, Any]) -> None:
    case.call_and_validate(**admin)


def test_sequences(admin: dict[str, Any]) -> None:
    """Calls that follow one another, with what an earlier answer held: chat, rate the reply, read it, erase."""
    sequences = 0

    class Sequence(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            nonlocal sequences
            sequences += 1

        def get_call_kwargs(self, _: schemathesis.Case) -> dict[str, Any]:
            return admin

    for _ in range(MAX_ROUNDS):
        dose = settings(DOSE, stateful_step_count=5, max_examples=max(1, EXAMPLES - sequences))
        # The server remembers earlier sequences, so the same calls may lead elsewhere, and the round ends there.
        with suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(Sequence, settings=dose)
        if sequences >= EXAMPLES:
            return
    pytest.fail(f"Only {sequences} of {EXAMPLES} sequences ran in {MAX_ROUNDS} rounds.")
