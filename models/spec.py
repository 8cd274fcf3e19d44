"""The base of every spec in the wing: a frozen, strictly read record of knobs."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen record of knobs. Unknown keys and wrong types are errors; defaults are the paper's.

    Every knob has a `Field(..., description=...)` with its range: the study file's refusals, the JSON
    Schema and the documentation are made from it. A rule between knobs is a pydantic `model_validator`
    that raises ValueError with one sentence naming the two values that disagree.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
