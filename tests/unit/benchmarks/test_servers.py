"""The arithmetic of `benchmarks.servers`: what counts within the time that is measured, and what is only a bound."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from benchmarks.contenders import ServerFailed, run_server
from benchmarks.server_load import (
    Reply,
    Target,
    Timing,
    Wait,
    ask_streams,
    count_within,
    find_percentile,
    list_waits,
    read_event,
    sum_cpu_s,
    sum_memory,
    summarise,
)
from benchmarks.servers import compare_texts, take_median
from tests.processes import build_environment, find_free_port

TIMING = Timing(from_s=10, until_s=20, end_s=25)
TORN = "one\u2028line"  # in JSON as it is, as some servers send it


def count_words(text: str) -> int:
    return len(text.split())


def build_reply(sent_s: float, *pieces_s: float, ended_s: float | None = None) -> Reply:
    return Reply("How?", sent_s, [(at_s, "word ") for at_s in pieces_s], ended_s)


class TestCountWithin:
    @pytest.mark.parametrize(
        ("pieces_s", "tokens"),
        [((11, 12, 13, 14), 4), ((8, 9, 11, 12), 2), ((18, 19, 21, 22), 2), ((1, 2), 0), ((), 0)],
    )
    def test_takes_the_share_that_came_in_time(self, pieces_s: tuple[float, ...], tokens: float) -> None:
        assert count_within(build_reply(0, *pieces_s), TIMING, count_words) == tokens

    def test_counts_tokens_and_not_pieces(self) -> None:
        reply = Reply("How?", 0, [(11, "one two three "), (21, "four")])
        assert count_within(reply, TIMING, count_words) == 2


class TestWaits:
    def test_leaves_out_what_ended_in_the_warm_up(self) -> None:
        replies = [build_reply(0, 5, ended_s=9), build_reply(8, 9, ended_s=15), build_reply(8, 12)]
        assert list_waits(replies, TIMING, lambda reply: reply.first_s) == [Wait(1, True), Wait(4, True)]

    def test_counts_what_was_cut_off_as_long_as_it_waited(self) -> None:
        assert list_waits([build_reply(1)], TIMING, lambda reply: reply.first_s) == [Wait(24, False)]

    def test_an_empty_reply_is_there_when_it_ended(self) -> None:
        assert list_waits([build_reply(11, ended_s=12)], TIMING, lambda reply: reply.first_s) == [Wait(1, True)]


class TestFindPercentile:
    WAITS = (Wait(4, True), Wait(1, True), Wait(3, False), Wait(2, True))

    @pytest.mark.parametrize(
        ("share", "seconds", "is_over"), [(0.25, 1, True), (0.5, 2, True), (0.75, 3, False), (0.95, 4, False)]
    )
    def test_is_a_bound_from_the_first_that_was_cut_off(self, share: float, seconds: float, is_over: bool) -> None:
        assert find_percentile(self.WAITS, share) == Wait(seconds, is_over)


class TestReadEvent:
    @pytest.mark.parametrize(
        ("line", "text"),
        [
            ('data: {"choices": [{"delta": {"content": "Hi"}}]}', "Hi"),
            ('data: {"choices": [{"delta": {"role": "assistant"}}]}', ""),
            ('data: {"choices": [], "usage": {}}', ""),
            ("data: [DONE]", ""),
            (": ping", ""),
            ("", ""),
        ],
    )
    def test_reads_what_is_added(self, line: str, text: str) -> None:
        assert read_event(line) == text

    def test_refuses_an_error(self) -> None:
        with pytest.raises(ValueError, match="no memory"):
            read_event('data: {"error": "no memory"}')


class TestSummarise:
    def test_figures(self) -> None:
        failed = Reply("How?", 11, error="500 sorry")
        whole = build_reply(9, 11, 12, 13, 14, ended_s=14)
        found = summarise([whole, build_reply(14, 19, 21), failed], TIMING, count_words)
        assert found["tokens_per_s"] == 0.5  # four words and one of two, in ten seconds
        assert (found["ended"], found["cut_off"], found["errors"], found["error"]) == (1, 1, 1, "500 sorry")
        assert (found["first_ms_p50"], found["first_ms_p95"], found["first_ms_p95_at_least"]) == (2000, 5000, False)
        assert (found["whole_ms_p50"], found["whole_ms_p50_at_least"]) == (5000, False)

    def test_of_nothing(self) -> None:
        found = summarise([], TIMING, count_words)
        assert found["tokens_per_s"] == 0
        assert found["first_ms_p50"] is None


class TestTable:
    def test_shows_the_median_and_a_bound_as_such(self) -> None:
        rounds: list[dict[str, Any]] = [
            {"whole": 1.0, "whole_at_least": False},
            {"whole": 3.0, "whole_at_least": True},
            {"failed": "no"},
        ]
        assert take_median(rounds, "whole") == "≥2.0"
        assert take_median(rounds[:1], "whole") == "1.0"
        assert take_median(rounds[2:], "whole") == "-"

    def test_compares_prompts_that_both_answered(self) -> None:
        texts = {"generate": {"a": "1", "b": "2"}, "other": {"a": "1", "b": "3", "c": "4"}}
        assert compare_texts(texts)["other"] == {"prompts": 2, "same": 1}


class TestAskStreams:
    def test_reads_streams_and_cuts_off_what_does_not_end(self) -> None:
        """A real server: it answers the first question, refuses the second and never ends the third."""
        app, asked, timing = FastAPI(), [], Timing(from_s=0.1, until_s=5.0, end_s=6.0)

        @app.post("/v1/chat/completions")
        async def chat(body: dict) -> StreamingResponse:  # type: ignore[type-arg]
            asked.append(body)
            return StreamingResponse(write(body["messages"][0]["content"]), media_type="text/event-stream")

        async def write(question: str) -> AsyncIterator[str]:
            content = json.dumps({"choices": [{"delta": {"content": TORN}}]}, ensure_ascii=False)
            yield "data: " + ('{"error": "no"}' if question == "second" else content) + "\n\n"
            if question == "third":
                await asyncio.sleep(60)
            yield "data: [DONE]\n\n"

        async def run() -> list[Reply]:
            port = find_free_port()
            server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            replies, usage = await ask_streams(
                Target(f"http://127.0.0.1:{port}"), ["first", "second", "third"], 1, timing, lambda: [psutil.Process()]
            )
            server.should_exit = True
            await serving
            assert usage.peak_bytes > 10**6
            assert usage.cpu_s >= 0
            return replies

        replies = asyncio.run(run())
        assert [reply.text for reply in replies] == [TORN, "", TORN]
        assert [bool(reply.error) for reply in replies] == [False, True, False]
        assert [reply.ended_s is not None for reply in replies] == [True, False, False]
        assert (asked[0]["max_tokens"], asked[0]["temperature"], asked[0]["stream"]) == (64, 0, True)


class TestProcesses:
    def test_one_that_has_ended_uses_nothing(self) -> None:
        process = psutil.Popen(["true"])
        process.wait()
        assert sum_memory([process]) == 0
        assert sum_cpu_s([process]) == 0
        assert sum_memory([psutil.Process(), process]) > 10**6


class TestRunServer:
    def test_ends_the_server_with_what_it_started(self, tmp_path: Path) -> None:
        """A shell that is no server itself: its child is, and would outlive it."""
        url = f"http://127.0.0.1:{(port := find_free_port())}"
        command = ["sh", "-c", f"{sys.executable} -m http.server {port} --bind 127.0.0.1 & wait"]
        before = psutil.Process().children(recursive=True)  # of other tests
        with run_server(command, url, "/", tmp_path, build_environment()):
            started = [child for child in psutil.Process().children(recursive=True) if child not in before]
        assert len(started) >= 2
        assert not psutil.wait_procs(started, timeout=10)[1]

    def test_tells_what_a_server_said_that_did_not_start(self, tmp_path: Path) -> None:
        command = ["sh", "-c", "echo no memory; exit 1"]
        server = run_server(command, "http://127.0.0.1:1", "/", tmp_path, build_environment())
        with pytest.raises(ServerFailed, match="no memory"), server:
            pass
