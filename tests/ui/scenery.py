"""A deployment with a history, for the pictures: conversations, a month of ratings, runs, versions and reviews."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from data.curation import CurationResult
from data.ingestion import read_examples
from data.snapshot import save_snapshot
from data.splitting import DEFAULT_SALT
from data.vocabulary import KeyRole, Message, PoolRow, Rating, RowKind, RunStatus, SnapshotRow, Split, Verdict
from db.base import new_id
from db.examples import add_examples
from db.keys import create_key
from db.models import ApiKey, Completion, Conversation, Evaluation, Feedback, Promotion, Run, Snapshot, Version
from db.session import Database
from settings import Settings
from tests.tiny import SAMPLES

DAY_S = 86_400.0
USER = "Ann"
_TALK = (
    (
        "I cannot sleep before exams. I lie awake and go through everything that could go wrong.",
        "That sounds exhausting, to be tired and still have your mind run ahead. Before an exam it often helps to "
        "give the worries a place outside the bed:\n\n- write down what you still want to look at tomorrow,\n"
        "- put the paper in another room,\n- and let the last half hour belong to something **slow**.\n\n"
        "Which worry comes first when you lie down?",
    ),
    (
        "That I will sit there and remember nothing at all.",
        "A blank page in front of you, and everyone else writing: I can see why that keeps you up. Has it ever "
        "happened like that, or is it the picture that comes back? If you like, we can think of one small thing you "
        "could do in the first minute, so that the minute is not empty.",
    ),
)
_OPENINGS = (
    "My sister and I have not spoken since spring.",
    "Work has been too much lately and I snap at everyone.",
    "I moved for a job and know nobody here.",
)


@dataclass(frozen=True)
class Scenery:
    """Secrets of keys by role, and what the pictures show."""

    secrets: dict[KeyRole, str]
    conversation_id: str
    run_id: str


def furnish(settings: Settings, folders: tuple[str, str], digests: tuple[str, str]) -> Scenery:
    """Fill the migrated, empty database and the folder of the newest run; versions share two artifacts."""
    database = Database(settings.database)
    generator = np.random.default_rng(4)
    now_s = time.time()
    with database.transaction() as session:
        keys = {role: create_key(session, role, name) for role, name in _NAMES.items()}
        runs = _add_versions(session, settings, folders, digests, now_s, generator)
        client_id = keys[KeyRole.CLIENT][0].id
        conversation_id = _add_talk(session, client_id, now_s)
        _add_ratings(session, client_id, now_s, generator)
        add_examples(session, read_examples(SAMPLES / "support.csv", "support.csv").examples, "support.csv", "0" * 64)
    database.dispose()
    secrets = {role: secret for role, (_, secret) in keys.items()}
    return Scenery(secrets, conversation_id, runs[-1])


_NAMES = {KeyRole.CLIENT: "chat", KeyRole.REVIEWER: "Dr. Osei", KeyRole.ADMIN: "operations"}


def _add_talk(session: Session, key_id: str, now_s: float) -> str:
    for position, opening in enumerate(_OPENINGS):
        started_s = now_s - (position + 2) * 0.8 * DAY_S
        _add_reply(session, key_id, new_id("conv"), USER, [opening], "Thank you for telling me.", 3, started_s)
    conversation_id = new_id("conv")
    said: list[str] = []
    for position, (question, reply) in enumerate(_TALK):
        completion_id = _add_reply(
            session, key_id, conversation_id, USER, [*said, question], reply, 4, now_s - 200 + position
        )
        said += [question, reply]
        if position == 0:
            _rate(session, completion_id, USER, "up", now_s - 100, reasons=["empathic", "asks a good question"])
    return conversation_id


def _add_reply(
    session: Session,
    key_id: str,
    conversation_id: str,
    user: str,
    turns: list[str],
    reply: str,
    version: int,
    at_s: float,
) -> str:
    if session.get(Conversation, (key_id, conversation_id)) is None:
        session.add(Conversation(key_id=key_id, id=conversation_id, end_user=user, created_at_s=at_s))
        session.flush()
    messages = [
        Message(role="user" if position % 2 == 0 else "assistant", content=text) for position, text in enumerate(turns)
    ]
    completion = Completion(
        key_id=key_id,
        conversation_id=conversation_id,
        messages=messages,
        reply=reply,
        version_number=version,
        digest="0",
        sampling={},
        finish_reason="stop",
        prompt_tokens=20,
        reply_tokens=40,
        is_crisis=False,
        latency_s=0.9,
        created_at_s=at_s,
    )
    session.add(completion)
    session.flush()
    return completion.id


def _rate(session: Session, completion_id: str, rater: str, rating: str, at_s: float, reasons: list[str]) -> None:
    values = {"reasons": reasons, "scores": {}, "created_at_s": at_s, "updated_at_s": at_s, "rater_kind": "end_user"}
    session.add(Feedback(completion_id=completion_id, rater=rater, rating=Rating(rating), **values))


def _add_ratings(session: Session, key_id: str, now_s: float, generator: np.random.Generator) -> None:
    contexts = pd.read_csv(SAMPLES / "prompts.csv")["Context"].tolist()
    replies = pd.read_csv(SAMPLES / "support.csv")["Response"].tolist()
    names = ["Ben", "Chiara", "Deniz", "Ewa", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kavya"]
    for day in range(30):
        version = (0, 0, 1, 1, 3, 4)[day // 5]
        for _ in range(int(generator.integers(6, 20))):
            at_s = now_s - (29 - day) * DAY_S - float(generator.random()) * 0.4 * DAY_S
            context, reply = str(generator.choice(contexts)), str(generator.choice(replies))
            rater = str(generator.choice(names, p=[0.25, 0.2, *([0.55 / 8] * 8)]))
            completion_id = _add_reply(session, key_id, new_id("conv"), rater, [context], reply, version, at_s)
            is_up = generator.random() < (0.48, 0.58, 0.5, 0.63, 0.71)[version]
            _rate(session, completion_id, rater, "up" if is_up else "down", at_s, [])


_RUNS: tuple[tuple[RunStatus, str, int | None, float, Verdict | None], ...] = (
    (RunStatus.SKIPPED, "There are 7 ratings up and 9 down; at least 20 of each are needed.", None, 24, None),
    (RunStatus.SUCCEEDED, "Perplexity fell from 67.88 to 52.10; better with p < 1e-12.", 1, 20, Verdict.PROMOTE),
    (RunStatus.REFUSED, "ROUGE-L fell from 0.141 to 0.102; worse than its margin allows.", 2, 15, Verdict.REFUSE),
    (RunStatus.SUCCEEDED, "Perplexity fell from 52.10 to 47.02; better with p = 3e-09.", 3, 10, Verdict.PROMOTE),
    (RunStatus.CANCELLED, "Cancelled by an admin.", None, 7, None),
    (RunStatus.SUCCEEDED, "Rating AUC rose from 0.582 to 0.671; better with p = 0.0011.", 4, 5, Verdict.PROMOTE),
    (RunStatus.SUCCEEDED, "Passed the gate; waits for approval.", 5, 0.2, Verdict.PROMOTE),
)  # fmt: skip


def _add_versions(
    session: Session,
    settings: Settings,
    folders: tuple[str, str],
    digests: tuple[str, str],
    now_s: float,
    generator: np.random.Generator,
) -> list[str]:
    start_s = now_s - 29 * DAY_S
    _add_version(session, 0, None, folders[0], digests[0], None, start_s)
    promotions = [
        Promotion(
            id=1, version_number=0, kind="initial", reason="The base model.", actor="ratchet", created_at_s=start_s
        )
    ]
    ids = []
    for consultation, (status, reason, number, days_ago, verdict) in enumerate(_RUNS, start=1):
        at_s = now_s - days_ago * DAY_S
        run = _add_run(session, status, reason, number, at_s, consultation)
        ids.append(run.id)
        if number is None or verdict is None:
            continue
        report = _build_report(run.id, generator)
        _add_version(session, number, run.id, folders[number % 2], digests[number % 2], report, at_s)
        _add_decision(session, run.id, consultation, verdict, reason, at_s)
        if verdict is Verdict.PROMOTE and number < 5:
            promotions.append(
                Promotion(
                    id=len(promotions) + 1,
                    version_number=number,
                    previous_version=promotions[-1].version_number,
                    kind="gate",
                    reason=reason,
                    actor="gate",
                    run_id=run.id,
                    created_at_s=at_s,
                )
            )
    session.add_all(promotions)
    session.flush()
    _fill_folder(session, settings.runs / ids[-1] / "attempt-1", ids[-1], generator)
    return ids


def _add_run(session: Session, status: RunStatus, reason: str, number: int | None, at_s: float, position: int) -> Run:
    run = Run(
        status=status,
        recipe={"trainable": "last:4", "sft_epochs": 2, "preference_epochs": 2, "batch_size": 8, "max_tokens": 320},
        trigger="schedule" if position % 2 else "admin",
        attempt=1,
        reason=reason,
        version_number=number,
        created_at_s=at_s - 1500,
        started_at_s=at_s - 1490,
        finished_at_s=at_s,
    )
    session.add(run)
    session.flush()
    return run


def _add_version(
    session: Session,
    number: int,
    run_id: str | None,
    folder: str,
    digest: str,
    report: dict[str, object] | None,
    at_s: float,
) -> None:
    values = {"folder": folder, "digest": digest, "report": report, "created_at_s": at_s}
    session.add(Version(number=number, run_id=run_id, base_model="smollm2-135m", **values))
    session.flush()


def _add_decision(session: Session, run_id: str, consultation: int, verdict: Verdict, reason: str, at_s: float) -> None:
    sentences = [
        reason,
        "ROUGE-L rose from 0.136 to 0.158 (difference +0.022, 95 % interval +0.009 to +0.034, 121 conversations); "
        "better with p = 0.0012.",
        "Perplexity fell from 47.02 to 45.38 (difference -0.035 nats, 95 % interval -0.052 to -0.019, 121 "
        "conversations); no worse than its margin of 0.02 nats allows with p < 1e-12.",
        "BLEU rose from 2.31 to 2.64 (difference +0.33, 95 % interval -0.12 to +0.81, 121 conversations); no worse "
        "than its margin of 1 allows with p = 4.1e-08.",
    ]
    decision = {
        "verdict": verdict.value,
        "p": 0.0012 if verdict is Verdict.PROMOTE else 0.41,
        "alpha": 0.0094 / consultation,
        "consultation": consultation,
        "clusters": 121,
        "reasons": [{"metric": None, "test": "superiority", "p": None, "sentence": text} for text in sentences],
        "metrics": [],
    }
    session.add(
        Evaluation(
            run_id=run_id,
            candidate_digest="0",
            production_version=4 if consultation == len(_RUNS) else 0,
            consultation=consultation,
            decision=decision,
            verdict=verdict,
            created_at_s=at_s,
            finished_at_s=at_s,
        )
    )


_METRICS = (
    ("perplexity", "Perplexity", "surprise at the held-out replies, lower is better; difference in nats",
     False, 47.02, 45.38, -0.035, -0.052, -0.019),
    ("rouge_l", "ROUGE-L", "overlap with the held-out replies, 0 to 1", True, 0.136, 0.158, 0.022, 0.009, 0.034),
    ("bleu", "BLEU", "word runs shared with the held-out replies, 0 to 100", True, 2.31, 2.64, 0.33, -0.12, 0.81),
    ("chrf", "chrF", "character runs shared with the held-out replies, 0 to 100", True, 18.4, 19.9, 1.5, 0.4, 2.6),
    ("rating_auc", "Rating AUC", "chance that a held-out up-rated reply scores above a down-rated one",
     True, 0.582, 0.671, 0.089, 0.021, 0.158),
    ("distinct_2", "Distinct-2", "share of different word pairs over all replies; low means all alike",
     True, 0.742, 0.715, -0.027, None, None),
    ("reply_words", "Words in a reply", "mean length", None, 34.1, 38.6, 4.5, 2.2, 6.9),
)  # fmt: skip
_FIELDS = ("title", "meaning", "higher_is_better", "before", "after", "difference", "low", "high")


def _build_report(run_id: str, generator: np.random.Generator) -> dict[str, object]:
    contexts = pd.read_csv(SAMPLES / "prompts.csv")["Context"].tolist()
    replies = pd.read_csv(SAMPLES / "support.csv")["Response"].tolist()
    samples = [
        {
            "context": contexts[10 + position],
            "before": "I am sorry. You should try to relax more.",
            "after": str(generator.choice(replies)),
        }
        for position in range(3)
    ]
    return {
        "run_id": run_id,
        "metrics": {name: dict(zip(_FIELDS, values, strict=True)) for name, *values in _METRICS},
        "samples": samples,
        "dropped": {"over_long": 14},
    }


def _fill_folder(session: Session, folder: Path, run_id: str, generator: np.random.Generator) -> None:
    """What the trainer leaves behind: losses, lengths, and the rows that it learnt from."""
    folder.mkdir(parents=True)
    steps = [("supervised", step, 3.4 * 0.985**step + 1.9) for step in range(1, 121, 2)]
    steps += [("preference", step, 0.5 - 0.0006 * step) for step in range(1, 61, 2)]
    lines = [
        json.dumps({"phase": phase, "step": step, "loss": loss + float(generator.normal(0, 0.03))})
        for phase, step, loss in steps
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    words = pd.DataFrame(
        {
            "metric": "reply_words",
            "production": generator.gamma(9, 3.8, 200),
            "candidate": generator.gamma(11, 3.5, 200),
        }
    )
    words.to_parquet(folder / "scores.parquet")
    table = pd.read_csv(SAMPLES / "support.csv")
    rows = tuple(
        SnapshotRow(
            row=PoolRow(
                row_id=f"example:{number}",
                kind=RowKind.EXAMPLE,
                cluster=f"context:{number}",
                messages=(Message(role="user", content=context),),
                reply=response,
            ),
            split=Split.HOLDOUT if number % 5 == 0 else Split.DEV if number % 11 == 0 else Split.TRAIN,
        )
        for number, (context, response) in enumerate(zip(table["Context"], table["Response"], strict=True))
    )
    dropped = {"duplicate": 31, "crisis": 12, "echo": 6, "rater_cap": 44, "holdout_overlap": 19}
    result = CurationResult(rows, dropped, {"name": 9, "phone": 2})
    manifest = save_snapshot(folder / "snapshot", result, len(rows) + sum(dropped.values()), DEFAULT_SALT)
    session.execute(insert(Snapshot), [{"run_id": run_id, "digest": manifest["digest"], "manifest": manifest}])


def plant(database: Database, run_id: str, texts: Sequence[str]) -> str:
    """Put texts wherever people and models can put one, first in each list; the id of the conversation with them."""
    together = "\n".join(texts)
    now_s = time.time()
    with database.transaction() as session:
        key_id = session.scalars(select(ApiKey.id).where(ApiKey.role == KeyRole.CLIENT)).one()
        conversation_id, said = new_id("conv"), list[str]()
        for position, text in enumerate(texts):
            completion_id = _add_reply(session, key_id, conversation_id, USER, [*said, text], text, 4, now_s + position)
            said += [text, text]
            for rater in (USER, f"{text[:120]}{position}"):
                _rate(session, completion_id, rater, "up", now_s, reasons=[text[:200]])
        completion_id = _add_reply(session, key_id, new_id("conv"), USER, [together], together, 4, now_s)
        first_in_queue = {"is_crisis": True, "id": "chatcmpl-0"}
        session.execute(update(Completion).where(Completion.id == completion_id).values(first_in_queue))
        session.execute(update(Run).where(Run.id == run_id).values(reason=together, recipe={together: together}))
        session.execute(update(Promotion).values(reason=together, actor=together))
        _plant_in_reports(session, run_id, texts)
    return conversation_id


def _plant_in_reports(session: Session, run_id: str, texts: Sequence[str]) -> None:
    version = session.scalars(select(Version).where(Version.run_id == run_id)).one()
    version.report = {
        "metrics": {
            text: dict(zip(_FIELDS, (text, text, True, 1.0, 2.0, 1.0, 0.5, 1.5), strict=True)) for text in texts
        },
        "samples": [{"context": text, "before": text, "after": text} for text in texts],
        "dropped": dict.fromkeys(texts, 3),
    }
    version.base_model = texts[0]
    evaluation = session.scalars(select(Evaluation).where(Evaluation.run_id == run_id)).one()
    assert evaluation.decision is not None
    reasons = [{"metric": text, "test": "evidence", "p": None, "sentence": text} for text in texts]
    evaluation.decision = {**evaluation.decision, "reasons": reasons}
