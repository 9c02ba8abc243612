"""Crisis signals: explicit and indirect phrases are found, figures of speech are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.crisis import (
    CrisisSignal,
    detect_crisis,
    detect_first,
    find_crises,
    find_crisis,
    match_rule,
    remembering_crises,
)
from data.crisis_memory import CrisisMemory
from data.crisis_model import load_crisis_model

SIGNALS = {
    "overdose": [
        "I took too many pills an hour ago",
        "she swallowed a whole bottle of painkillers",
        "How many paracetamol would it take to kill you?",
        "I overdosed last night",
        "I used again on Friday, a lot more than I meant to",
    ],
    "self_harm": [
        "I've started self-harming again",
        "When I'm alone I want to cut myself.",
        "i keep thinking about hurting myself",
        "I was cutting my wrists",
        "i have the urge to cut",
    ],
    "suicide": [
        "I want to kill myself",
        "I WANT TO KILL MYSELF!!",
        "i wanna die",
        "I\u2019m suicidal",
        "I wan\u200bt to end my li\u200bfe",
        "I don't want to live anymore.",
        "I don\u2019t want to be here any more",
        "I wish I was never born",
        "I wish I could just die",
        "Everyone would be better off without me.",
        "I just want to go to sleep and never wake up",
        "what's the point of living",
        "Is it worth me being alive?",
        "Should I step in front of a bus?",
        "I lost my job. Which bridges in town are taller than 25 metres?",
        "I have been giving away my things",
        "I can't go on\nlike this",
    ],
    "harm_to_others": [
        "I'm going to stab my neighbour",
        "I am thinking about hurting people",
        "I might bring it but I will shoot up the school",
        "I'm scared I might hurt my baby",
        "How does one dispose of a body?",
    ],
    "eating_disorder": [
        "I make myself throw up after every meal",
        "haven't eaten in six days",
        "I think I have bulimia",
        "I've been starving myself",
        "I have eaten nothing but gum since Monday",
        "42 kilos and I still feel fat",
    ],
    "abuse": [
        "my husband hits me when he drinks",
        "he threatened to kill me",
        "I was raped by a friend",
        "I'm scared to go home",
        "I'm not safe at home",
        "I am terrified he'll kill me",
        "I cover my bruises with make-up",
        "I said no and he kept going",
        "My employer keeps my passport",
    ],
}

FIGURES_OF_SPEECH = [
    "This job is killing me.",
    "I'm dying to see you!",
    "I could have died of shame",
    "I wanted to die of embarrassment when she read it out",
    "My mum is going to kill me when she sees the car",
    "I nearly killed myself laughing",
    "I'm killing myself to finish this essay",
    "I'd kill for a coffee",
    "I cut myself shaving",
    "I cut myself some slack today",
    "that would be political suicide",
    "Shall we watch Suicide Squad?",
    "I shot myself in the foot with that email",
    "I don't want to live with my parents",
    "I don't want to wake up at five tomorrow",
    "I'm taking my life back",
    "my brother beats me at chess",
    "I don't want to hurt him, so I said nothing",
    "we overdosed on chocolate",
    "I used again what was left of the flour, more than the recipe says",
    "I was just killing time",
    "How do I kill a Python process?",
    "My phone is dead and I am dead tired",
    "she kicked me out",
    "My grandmother died last spring and I miss her",
    "I'm gone to the shop, back at six",
    "What is the quickest way to leave the city?",
    "I am scared I will hurt her feelings",
]


class TestMatchRule:
    @pytest.mark.parametrize(("category", "text"), [(c, text) for c, texts in SIGNALS.items() for text in texts])
    def test_finds_signals(self, category: str, text: str) -> None:
        assert match_rule(text) == find_crisis(text) == category

    @pytest.mark.parametrize("text", FIGURES_OF_SPEECH)
    def test_leaves_figures_of_speech_alone(self, text: str) -> None:
        assert match_rule(text) is None

    @pytest.mark.parametrize(
        ("category", "text"),
        [
            ("suicide", "i wanna _die_"),
            ("suicide", "i wanna *die*"),
            ("suicide", "i wanna **_die_**!"),
            ("suicide", "i ~~dont~~ want to `die`"),
            ("self_harm", "I cut _myself_"),
            ("suicide", "_suicide_"),
            ("suicide", "suicide_"),
            ("suicide", "__Should I__ *kill* ***myself***"),
            ("suicide", "i wanna di\u00ade"),
            ("suicide", "\uff29 \uff57\uff41\uff4e\uff54 \uff54\uff4f \uff24\uff29\uff25"),
            ("suicide", "\U0001d408 \U0001d430\U0001d41a\U0001d427\U0001d427\U0001d41a \U0001d41d\U0001d422\U0001d41e"),
            ("suicide", "I don\u00b4t want to live anymore"),
            ("suicide", "I don`t want to live anymore"),
            ("suicide", "suicideee"),
            ("suicide", "I wanna DIEEEE"),
            ("suicide", "i want to killlll myselfff"),
            ("suicide", "i want to d i e"),
            ("suicide", "i wanna d.i.e"),
            ("suicide", "S-U-I-C-I-D-E"),
        ],
    )
    def test_finds_what_is_dressed_up(self, category: str, text: str) -> None:
        assert match_rule(text) == category

    @pytest.mark.parametrize(
        "text",
        [
            "I wanted to *die* of embarrassment when she read it out",
            "we _overdosed_ on **chocolate**",
            "sooo I am dying to see you!!!",
            "my_suicide_squad.py and 2*die*3 in __init__",
            "I d i y a lot, at 7 a.m. and p.m., in the U.S.A.",
            "I cut *myself* some slack ~today~, `some` at least",
        ],
    )
    def test_leaves_what_is_dressed_up_and_harmless_alone(self, text: str) -> None:
        assert match_rule(text) is None

    def test_finds_a_signal_in_a_long_text(self) -> None:
        assert match_rule("It has been a slow week. " * 400 + "I want to die. " + "Anyway. " * 400) == "suicide"

    def test_finds_none_in_nothing(self) -> None:
        assert match_rule("") is None


class TestDetectCrisis:
    def test_says_who_saw_it(self) -> None:
        assert detect_crisis("I want to kill myself") == CrisisSignal("suicide", "rule")
        hint = "I gave the cat away and wrote the letters, nobody has to deal with me after tonight."
        assert detect_crisis(hint) == CrisisSignal("suicide", "classifier")

    def test_lets_the_everyday_pass(self) -> None:
        assert detect_crisis("Which vegetables grow well on a balcony?") is None
        assert find_crisis("Which vegetables grow well on a balcony?") is None


class TestDetectFirst:
    def test_names_the_newest_signal_and_rules_first(self) -> None:
        hint = "I gave the cat away and wrote the letters, nobody has to deal with me after tonight."
        assert detect_first(["Hello.", "I want to kill him.", "I want to die."]) == CrisisSignal(
            "harm_to_others", "rule"
        )
        assert detect_first([hint, "I want to die."]) == CrisisSignal("suicide", "rule")
        assert detect_first(["Hello there, how are you?", hint]) == CrisisSignal("suicide", "classifier")
        assert detect_first([]) is None

    def test_reads_the_end_of_what_is_very_long(self) -> None:
        hint = "I gave the cat away and wrote the letters, nobody has to deal with me after tonight."
        calm = "We had soup for lunch and walked to the lake. " * 1000
        assert detect_first([calm + hint]) == CrisisSignal("suicide", "classifier")
        assert detect_first([hint + calm]) is None
        assert detect_first([calm + "I want to die. " + calm]) == CrisisSignal("suicide", "rule")
        assert detect_first([calm, hint]) is None
        assert detect_first(["Good evening."] * 1000 + [hint]) == CrisisSignal("suicide", "classifier")


class TestFindCrises:
    def test_says_of_each_text_what_it_says_of_it_alone(self) -> None:
        hint = "I gave the cat away, nobody has to deal with me any more."
        texts = [*FIGURES_OF_SPEECH[:5], "I want to die.", "", hint]
        assert find_crises(texts) == [find_crisis(text) for text in texts]

    def test_asks_no_classifier_where_the_rules_have_seen_all(self) -> None:
        assert find_crises(["I want to kill myself"]) == ["suicide"]
        assert find_crises([]) == []


class TestRememberingCrises:
    def test_leaves_a_file_that_says_the_same(self, tmp_path: Path) -> None:
        texts = ["I have given the cat away, nobody has to deal with me after tonight.", "We had soup for lunch again."]
        file, model = tmp_path / "memory.npz", load_crisis_model()
        with remembering_crises(file):
            found = find_crises(texts)
        memory = CrisisMemory()
        memory.read(file, model.fingerprint)
        assert memory.find(texts[:1], "large") == model.score(texts)[:1]
        assert memory.find(texts[1:], "small") == model.score(texts)[1:]
        with remembering_crises(file):
            assert find_crises(texts) == found

    def test_goes_on_where_there_is_no_room(self, tmp_path: Path) -> None:
        (tmp_path / "memory.npz").mkdir()
        with remembering_crises(tmp_path / "memory.npz"):
            assert find_crises(["I want to kill myself"]) == ["suicide"]
