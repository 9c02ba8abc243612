"""What every engine promises; its tests inherit it, with the fixtures `engine`, `prompts` and `greedy` of their own."""

from __future__ import annotations

from serving.engine import Engine, Generation, Sampling

GREEDY = Sampling(max_tokens=24)


class EngineContract:
    def test_names_the_length_as_the_reason(self, engine: Engine, prompts: list[list[str]]) -> None:
        [generation] = engine.generate(prompts[:1], Sampling(max_tokens=3))
        assert (len(generation.token_ids), generation.finish_reason) == (3, "length")

    def test_callback_ends_its_row_only(
        self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        seen: list[int] = []

        def stop_second(row: int, token_id: int) -> bool:
            seen.append(row)
            return row == 1 and seen.count(1) == 2

        generations = engine.generate(prompts[:2], GREEDY, stop_second)
        assert generations == [greedy[0], Generation(greedy[1].token_ids[:2], "cancelled")]

    def test_top_k_of_one_is_greedy_at_any_temperature(
        self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        assert engine.generate(prompts, Sampling(max_tokens=24, temperature=2.0, top_k=1)) == greedy

    def test_samples_within_the_nucleus(
        self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        assert engine.generate(prompts, Sampling(max_tokens=24, temperature=1.0, top_p=1e-6)) == greedy
