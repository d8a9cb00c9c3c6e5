"""What every section of the settings shares: its base class and its types of numbers."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LARGEST = 2**32 - 1


class Section(BaseModel):
    """One section: unknown keys are refused and values cannot be changed in place.

    The first paragraph of a section's docstring and the fields' descriptions are what rag.toml and docs/settings.md
    say of it. `examples` of a field shows a value where there is no default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_can_be_counted_with(cls, value: Any) -> Any:
        if isinstance(value, float) and math.isnan(value):
            raise ValueError("nan is no number to set")
        if isinstance(value, int) and value > LARGEST:
            raise ValueError(f"numbers here end at {LARGEST:,}")
        return value


PositiveInt = Annotated[int, Field(gt=0)]
CountOrZero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
PositiveOrZero = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["auto", "fp32", "bf16", "int8"]
