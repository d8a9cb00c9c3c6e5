"""Training recipes of the span reader.

    span   start and end of the answer in a passage; position 0, the first token, where the passage does not answer

A row is a question with one passage. Those whose passage holds the answer teach where it stands, null rows teach that
it does not. Settings under [training.reader] replace a recipe's values (`recipes.chosen_recipe`).
"""

from __future__ import annotations

from dataclasses import dataclass

from rag.train.run import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderRecipe(Schedule):
    """Everything that shapes a training run; of all rows, `null_share` are null rows.

    `keep_spans` weighs how far the choice among the words may leave that of the reader it starts from; 0: as far as it
    likes (`reader_loss`).
    """

    name: str
    null_share: float = 0.5
    keep_spans: float = 0.0
    epochs: float = 1.0
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup_share: float = 0.06

    def unread(self) -> set[str]:
        """The settings that change nothing in this recipe: none."""
        return set()


RECIPES = {recipe.name: recipe for recipe in (ReaderRecipe(name="span"),)}
