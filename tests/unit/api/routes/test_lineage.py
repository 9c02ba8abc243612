"""Lineage over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from data.vocabulary import Example, Rating
from db.examples import add_examples
from db.feedback import FeedbackValues, put_feedback
from tests.rows import add_client, add_completion, add_trained_version
from tests.unit.api.live import Live

URL = "/v1/admin/lineage"


@pytest.fixture
def completion_id(live: Live) -> str:
    """A reply that version 1 wrote, which drew on one example and on feedback 1 with its correction."""
    corrected = FeedbackValues(rater_kind="end_user", rating=Rating.DOWN, correction="I hear you.")
    with live.services.database.transaction() as session:
        key_id = add_client(session)
        add_examples(session, [Example(context="a", response="b")], "a.csv", "abc")
        put_feedback(session, add_completion(session, key_id).id, "ann", corrected)
        version = add_trained_version(session)
        return add_completion(session, key_id, version_number=version.number).id


def trace(live: Live, subject: str, **parameters: Any) -> dict[str, Any]:
    response = live.http.get(f"{URL}/{subject}", params=parameters, headers=live.callers.admin)
    assert response.status_code == 200, response.text
    return dict(response.json())


class TestTrace:
    def test_leads_from_a_reply_to_weights_run_and_rows(self, live: Live, completion_id: str) -> None:
        lineage = trace(live, completion_id)
        version = lineage["versions"][0]
        assert (lineage["completion"]["id"], lineage["completion"]["version_number"]) == (completion_id, 1)
        assert (version["number"], version["run_status"]) == (1, "succeeded")
        assert version["snapshot_digest"] == f"rows of {version['run_id']}"
        assert version["counts"] == {"train": {"example": 1, "reply": 1, "correction": 1}}
        assert [row["row_id"] for row in lineage["rows"]] == ["correction:1", "example:1", "feedback:1"]
        assert lineage["next_cursor"] is None
        assert "I feel alone." not in str(lineage)

    @pytest.mark.parametrize("subject", ["1", "ratchet-v1"])
    def test_leads_from_a_version_to_the_same(self, live: Live, completion_id: str, subject: str) -> None:
        assert trace(live, subject) == trace(live, completion_id) | {"completion": None}

    def test_leads_from_feedback_to_the_versions_that_it_shaped(self, live: Live, completion_id: str) -> None:
        with live.services.database.transaction() as session:
            add_trained_version(session)
        lineage = trace(live, "feedback:1")
        assert [version["number"] for version in lineage["versions"]] == [1, 2]
        assert [(row["version_number"], row["row_id"]) for row in lineage["rows"]] == [
            (number, row_id) for number in (1, 2) for row_id in ("correction:1", "feedback:1")
        ]

    def test_pages_through_the_rows(self, live: Live, completion_id: str) -> None:
        first = trace(live, "1", limit=2)
        second = trace(live, "1", limit=2, cursor=first["next_cursor"])
        assert first["rows"] + second["rows"] == trace(live, "1")["rows"]
        assert second["next_cursor"] is None

    def test_the_base_model_and_a_reply_of_no_model_have_no_rows(self, live: Live) -> None:
        with live.services.database.transaction() as session:
            completion_id = add_completion(session, add_client(session)).id
        base = trace(live, "0")
        assert (base["versions"][0]["run_id"], base["versions"][0]["counts"], base["rows"]) == (None, {}, [])
        assert trace(live, completion_id)["versions"] == []

    @pytest.mark.parametrize("subject", ["chatcmpl-none", "7", "ratchet-v7", "feedback:7"])
    def test_finds_no_other(self, live: Live, subject: str) -> None:
        assert live.http.get(f"{URL}/{subject}", headers=live.callers.admin).status_code == 404

    @pytest.mark.parametrize("subject", ["run-1", "feedback:", "feedback:99999999999", "v1", "-1"])
    def test_refuses_what_names_nothing(self, live: Live, subject: str) -> None:
        assert live.http.get(f"{URL}/{subject}", headers=live.callers.admin).status_code == 422

    def test_refuses_a_cursor_that_it_did_not_give(self, live: Live) -> None:
        response = live.http.get(f"{URL}/0", params={"cursor": "x"}, headers=live.callers.admin)
        assert response.status_code == 422

    def test_is_for_admins(self, live: Live) -> None:
        assert live.http.get(f"{URL}/0", headers=live.callers.client).status_code == 403
