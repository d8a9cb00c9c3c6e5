"""Training recipes of the generator.

    lora   LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) on the last layers of a causal language model, which
           learns to answer from contexts as the pipeline shows them, and to refuse where they hold no answer

Settings under [training.generator] replace a recipe's values (`recipes.chosen_recipe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.train.run import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorRecipe(Schedule):
    """Everything that shapes a training run.

    Matrices of rank `rank`, scaled by `alpha / rank`, are added to the linear layers of the last `layers` layers (0:
    all). Rows are made by `rag.train.generator_rows`: where no gold passage was found, one is put in for `put_in_share`
    of the questions, the others are refused. A refusal more is made of `withheld_share` of the answerable questions by
    withholding what answers them (`withhold`), and of `twin_share` by exchanging a name or number in the question.
    """

    name: str
    rank: int = 16
    alpha: int = 32
    layers: int = 12
    put_in_share: float = 0.5
    withheld_share: float = 0.3
    withhold: Literal["document", "passage"] = "document"
    twin_share: float = 0.15
    unanswerable: bool = True
    cite: bool = False
    tell_form: bool = True
    epochs: float = 1.0
    batch_size: int = 4
    accumulation: int = 4
    learning_rate: float = 2e-4
    max_length_tokens: int = 1024

    def unread(self) -> set[str]:
        """The settings that change nothing in this recipe as it is set."""
        return set() if self.withheld_share else {"withhold"}


RECIPES = {recipe.name: recipe for recipe in (GeneratorRecipe(name="lora"),)}
