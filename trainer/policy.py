"""The policy follows a reward model: best-of-n distillation, RLOO or GRPO, the last two by TRL's own trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from data.recipe import Recipe
from data.vocabulary import Message, Policy
from trainer.errors import TrainingFailed
from trainer.lora import Trainable, forget_reference, get_plain
from trainer.resumable import Resumable
from trainer.resumption import StagePlan, train_stage
from trainer.reward import score_conversations
from trainer.sampling import count_reply_tokens, sample_replies, tokenize_prompt
from trainer.supervised import train_supervised
from trainer.trunk import name_plainly

TEMPERATURE = 0.8  # of the replies that are compared in best-of-n


def distil_best(
    model: Trainable,
    tokenizer: PreTrainedTokenizerBase,
    reward: PreTrainedModel,
    prompts: list[list[Message]],
    recipe: Recipe,
    folder: Path,
) -> dict[str, Any]:
    """Sample `policy_samples` replies to each prompt, keep the one with the highest reward, and fine-tune on these.

    Best-of-n, then imitation (Stiennon et al. 2020, arXiv 2009.01325; Gulcehre et al. 2023, arXiv 2308.08998). Returns
    the number of prompts and the mean reward over all samples and over the kept ones.
    """
    sampled = sample_replies(
        model,
        tokenizer,
        [tokenize_prompt(prompt, tokenizer) for prompt in prompts],
        tokens=count_reply_tokens(recipe),
        samples=recipe.policy_samples,
        temperature=TEMPERATURE,
        seed=recipe.seed,
    )
    texts = [[str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in group] for group in sampled]
    turns = [
        [*prompt, {"role": "assistant", "content": text}]
        for prompt, group in zip(prompts, texts, strict=True)
        for text in group
    ]
    rewards = score_conversations(reward, tokenizer, turns, recipe.batch_size)
    rows, kept = _keep_best(turns, rewards, recipe.policy_samples)
    train_supervised(
        model,
        tokenizer,
        rows,
        [],
        recipe,
        folder,
        epochs=recipe.preference_epochs,
        learning_rate=recipe.preference_learning_rate,
        phase="policy",
    )
    return {"prompts": len(rows), "mean_reward": sum(rewards) / len(rewards), "best_reward": sum(kept) / len(kept)}


def _keep_best(turns: list[list[Any]], rewards: list[float], samples: int) -> tuple[list[dict[str, Any]], list[float]]:
    """The best sample of each prompt as a row to imitate, and its reward; prompts with empty replies only are left out.

    Raises:
        TrainingFailed: no reply says anything.
    """
    rows, kept = [], []
    for start in range(0, len(turns), samples):
        spoken = [index for index in range(start, start + samples) if turns[index][-1]["content"]]
        if spoken:
            best = max(spoken, key=lambda index: rewards[index])
            rows.append({"prompt": turns[best][:-1], "completion": turns[best][-1:]})
            kept.append(rewards[best])
    if not rows:
        raise TrainingFailed("The model says nothing to any prompt, so no best reply can be kept; train it first.")
    return rows, kept


def train_online(
    model: Trainable,
    tokenizer: PreTrainedTokenizerBase,
    reward: PreTrainedModel,
    prompts: list[list[Message]],
    recipe: Recipe,
    folder: Path,
) -> dict[str, Any]:
    """Reinforcement learning on the reward, in place; the model as it comes in is the reference.

    For each prompt `policy_samples` replies y_i with rewards R_i and advantages A_i. RLOO (Ahmadian et al. 2024, arXiv
    2402.14740): R_i has beta (log p(y_i) - log p_ref(y_i)) taken off, A_i = R_i - mean of the other R_j; the loss is
    -A_i p(y_i) / p_old(y_i), clipped. GRPO (Shao et al. 2024, arXiv 2402.03300): A_i = (R_i - mean) / standard
    deviation of all R_j, the same loss for each token plus beta times an estimate of the KL.
    Returns the number of prompts and the mean reward at the first and at the last logged step.
    """
    trainer_class, config_class = _ONLINE[Policy(recipe.policy)]

    def build(arguments: dict[str, Any]) -> Resumable:
        forget_reference(model)
        del arguments["max_length"]
        trainer = trainer_class(
            model=model,
            processing_class=tokenizer,
            reward_funcs=[reward],
            reward_processing_classes=[tokenizer],
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
            args=config_class(
                **arguments,
                beta=recipe.beta,
                disable_dropout=True,
                num_generations=recipe.policy_samples,
                max_completion_length=count_reply_tokens(recipe),
            ),
        )
        if trainer.ref_model is not None:  # TRL loads the base; the reference is the model as it came in
            trainer.ref_model.load_state_dict(name_plainly(get_plain(model)))
        resumable: Resumable = trainer
        return resumable

    facts = train_stage(
        StagePlan(
            name="policy",
            model=model,
            build=build,
            recipe=recipe,
            folder=folder,
            epochs=recipe.preference_epochs,
            learning_rate=recipe.preference_learning_rate,
            tell=_tell_rewards,
        )
    )
    return {"prompts": len(prompts), "first_reward": facts["first_reward"], "last_reward": facts["last_reward"]}


def _tell_rewards(trainer: Resumable) -> dict[str, Any]:
    rewards = [record["reward"] for record in trainer.state.log_history if "reward" in record]
    return {"first_reward": rewards[0], "last_reward": rewards[-1]}


class _RLOO(Resumable, RLOOTrainer):
    """RLOOTrainer with checkpoints; a run that goes on samples anew, so it is not the same to the bit."""


class _GRPO(Resumable, GRPOTrainer):
    """GRPOTrainer, likewise."""


_ONLINE: dict[Policy, tuple[Any, Any]] = {
    Policy.RLOO: (_RLOO, RLOOConfig),
    Policy.GRPO: (_GRPO, GRPOConfig),
}
