"""What a number in a config can be: types for signatures, which `resolve` checks.

A function that a config calls says in its signature what it takes: `width: Count`. So
every number is checked where it enters, before anything is read or compiled.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

Count = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=2)]  # to tell apart
Made = Annotated[int, Field(ge=1, le=10**6)]  # examples that are computed, and listed
Natural = Annotated[int, Field(ge=0)]
Ndim = Annotated[int, Field(ge=2, le=3)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes
Workers = Annotated[int, Field(ge=0, le=256)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, le=1)]  # not nothing
Decay = Annotated[float, Field(ge=0, lt=1)]  # not everything
Parts = Annotated[Sequence[Part], Field(min_length=1)]


def misfit(value: Any, annotation: Any) -> str:
    """Return what is wrong with a value of a type, or "" if nothing is.

    Nothing is converted: 4.0 is no int, "4" no number; only a list passes for a tuple,
    as JSON has no others. A type that holds no plain values, but arrays or functions,
    takes all.
    """
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(strict=True))
    except PydanticSchemaGenerationError:
        return ""
    value = _with_tuples(value)
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        subject = "it" if first["input"] is value else repr(first["input"])
        return f"{subject} {first['msg'].removeprefix('Input ')}"
    return ""


def _with_tuples(value):
    if isinstance(value, list | tuple):
        return tuple(map(_with_tuples, value))
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return value
