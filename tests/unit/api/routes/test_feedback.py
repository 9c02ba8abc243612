"""Ratings over HTTP: whose they are, what they replace, and for whom they are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from operator import itemgetter
from typing import Any

import pytest
from sqlalchemy import select

from db.models import Feedback, FeedbackHistory
from tests.unit.api.live import Live

URL = "/v1/feedback"


def rate(live: Live, completion_id: str, **members: Any) -> tuple[int, dict[str, Any]]:
    response = live.http.post(
        URL, json={"completion_id": completion_id, "rating": "up"} | members, headers=live.callers.client
    )
    return response.status_code, response.json()


class TestCreateFeedback:
    def test_stores_all_that_the_rater_says(self, live: Live) -> None:
        said = {
            "rating": "down",
            "reasons": ["too short"],
            "comment": "Hm.",
            "correction": "What keeps you awake?",
            "scores": {"empathy": 2, "safety": 5},
            "rater_kind": "simulated",
        }
        status, body = rate(live, live.chat()["id"], user="ben", **said)
        assert status == 201
        assert {name: body[name] for name in said} == said
        assert (body["rater"], body["times_given"]) == ("ben", 1)

    def test_lets_no_client_pass_for_an_expert(self, live: Live) -> None:
        status, body = rate(live, live.chat()["id"], user="reviewer:key-1")
        assert status == 422
        assert "marks experts" in str(body)

    def test_replaces_what_the_rater_said_before(self, live: Live) -> None:
        completion_id = live.chat()["id"]
        assert rate(live, completion_id, comment="Good.")[0] == 201
        status, body = rate(live, completion_id, rating="down")
        assert status == 200
        assert (body["rating"], body["comment"], body["times_given"]) == ("down", None, 2)

    def test_the_same_again_changes_nothing(self, live: Live) -> None:
        completion_id = live.chat()["id"]
        first, second = rate(live, completion_id, comment="Good."), rate(live, completion_id, comment="Good.")
        assert (first[0], second[0]) == (201, 200)
        assert first[1] == second[1]

    @pytest.mark.parametrize("ratings", [("up",), ("up", "down")])
    def test_two_hundred_at_once_leave_one_row_with_the_last_word(self, live: Live, ratings: tuple[str, ...]) -> None:
        completion_id = live.chat()["id"]
        with ThreadPoolExecutor(40) as threads:
            answers = list(
                threads.map(lambda number: rate(live, completion_id, rating=ratings[number % len(ratings)]), range(200))
            )
        assert sorted(status for status, _ in answers) == [200] * 199 + [201]
        last = max((body for _, body in answers), key=itemgetter("times_given"))
        with live.services.database.reading() as session:
            row = session.scalars(select(Feedback)).one()
            history = session.scalars(select(FeedbackHistory).order_by(FeedbackHistory.id)).all()
        assert (row.rating, row.times_given) == (last["rating"], last["times_given"])
        said = [*(entry.rating for entry in history), row.rating]
        assert len(said) == row.times_given
        assert all(one != other for one, other in pairwise(said))

    def test_takes_the_end_user_as_the_rater(self, live: Live) -> None:
        assert rate(live, live.chat(user="ann")["id"])[1]["rater"] == "ann"

    def test_knows_an_anonymous_rater(self, live: Live) -> None:
        assert rate(live, live.chat()["id"])[1]["rater"] == "anonymous"

    def test_does_not_find_what_was_served_to_another_client(self, live: Live) -> None:
        completion_id = live.chat(live.callers.other_client)["id"]
        assert rate(live, completion_id)[0] == 404

    @pytest.mark.parametrize(
        "members",
        [
            {"rating": "meh"},
            {"scores": {"empathy": 6}},
            {"scores": {"safety": 0}},
            {"comment": "\x00"},
            {"reasons": [""]},
            {"rater_kind": "reviewer"},
            {"user": ""},
        ],
    )
    def test_refuses_another_shape(self, live: Live, members: dict[str, Any]) -> None:
        assert rate(live, "chatcmpl-1", **members)[0] == 422


class TestReadFeedback:
    def test_gives_the_raters_last_word(self, live: Live) -> None:
        completion_id = live.chat(user="ann")["id"]
        _, rated = rate(live, completion_id)
        response = live.http.get(f"{URL}/{completion_id}", headers=live.callers.client)
        assert (response.status_code, response.json()) == (200, rated)

    def test_gives_that_of_the_rater_who_is_named(self, live: Live) -> None:
        completion_id = live.chat(user="ann")["id"]
        rate(live, completion_id, user="ben", rating="down")
        response = live.http.get(f"{URL}/{completion_id}?user=ben", headers=live.callers.client)
        assert response.json()["rating"] == "down"
        assert live.http.get(f"{URL}/{completion_id}", headers=live.callers.client).status_code == 404

    def test_does_not_show_another_clients(self, live: Live) -> None:
        completion_id = live.chat()["id"]
        rate(live, completion_id)
        response = live.http.get(f"{URL}/{completion_id}", headers=live.callers.other_client)
        assert response.status_code == 404

    def test_refuses_an_id_that_no_store_can_hold(self, live: Live) -> None:
        assert live.http.get(f"{URL}/%00", headers=live.callers.client).status_code == 422


class TestExperts:
    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_what_they_said_is_out_of_a_clients_reach(self, live: Live, method: str) -> None:
        completion_id = live.chat()["id"]
        review = {"verdict": "harmful", "comment": "no"}
        assert live.http.post(f"/v1/reviews/{completion_id}", json=review, headers=live.callers.reviewer).is_success
        with live.services.database.reading() as session:
            [rater] = session.scalars(select(Feedback.rater))
        params = {"user": rater}
        response = live.http.request(method, f"{URL}/{completion_id}", params=params, headers=live.callers.client)
        assert response.status_code == 422
        assert "marks experts" in response.json()["detail"]
        with live.services.database.reading() as session:
            assert list(session.scalars(select(Feedback.rater))) == [rater]


class TestRemoveFeedback:
    def test_takes_it_back_with_its_history(self, live: Live) -> None:
        completion_id = live.chat()["id"]
        rate(live, completion_id)
        rate(live, completion_id, rating="down")
        for status in (204, 404):
            assert live.http.delete(f"{URL}/{completion_id}", headers=live.callers.client).status_code == status
        with live.services.database.reading() as session:
            assert session.scalars(select(Feedback)).all() == []
            assert session.scalars(select(FeedbackHistory)).all() == []

    def test_leaves_what_others_said(self, live: Live) -> None:
        body = live.chat(n=2)
        rate(live, body["id"], user="ann")
        rate(live, body["id"], user="ben")
        rate(live, body["id"], user="ann", choice=1)
        response = live.http.delete(f"{URL}/{body['id']}?user=ann&choice=1", headers=live.callers.client)
        assert response.status_code == 204
        with live.services.database.reading() as session:
            assert sorted(session.scalars(select(Feedback.rater))) == ["ann", "ben"]
