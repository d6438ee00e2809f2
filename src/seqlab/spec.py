"""Typed settings: the base class, the field helper, overlays, and the types of step signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqlab.errors import UserError

# Types of a step's keyword arguments; the command line and the lineage are derived from them.
In = Annotated[Path, "in"]
Ins = Annotated[list[Path], "in"]
# A folder of which the step reads exactly the files that `spec.members(argument)` names.
InFolder = Annotated[Path, "folder"]
Out = Annotated[Path, "out"]
# A folder of checkpoints: neither input nor output, it survives a failed or killed job.
State = Annotated[Path, "state"]

S = TypeVar("S", bound="Spec")


@dataclass(frozen=True)
class Context:
    """What a step is told besides its settings; none of it may change a number.

    Attributes:
        code: Fingerprint of the step's code, for records and to guard checkpoints.
        device: `auto`, `cpu` or `cuda`.
        threads: Number of compute threads this process is pinned to.
    """

    code: str = ""
    device: str = "auto"
    threads: int = 1

    def torch_device(self) -> str:
        """Return `cpu` or `cuda`; `auto` is the GPU where one is visible.

        Raises:
            UserError: `cuda` was asked for and no CUDA device is visible.
        """
        import torch

        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
            raise UserError(
                "device: cuda asked for, but torch sees no CUDA device",
                where="config/config.yaml",
                fix="use `--config device=cpu`, or see `python -m seqlab doctor`",
            )
        return "cuda" if available and self.device != "cpu" else "cpu"


class Spec(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=False)

    def canonical(self) -> str:
        """Return the settings as sorted JSON: equal settings give equal text in every process."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def setting(
    description: str,
    *,
    unit: str | None = None,
    source: str | None = None,
    **constraints: Any,
) -> Any:
    """Declare one setting: what it is, its unit and where its value comes from.

    Args:
        description: One sentence for the settings reference.
        unit: Physical or countable unit ("tokens", "ms"); None for dimensionless settings.
        source: Where the default comes from (a section of a specification, a paper, a measurement).
        constraints: Passed to pydantic's `Field` (`default`, `ge`, `le`, `min_length`, ...).
    """
    extra: dict[str, Any] = {
        key: value for key, value in (("unit", unit), ("source", source)) if value
    }
    return Field(description=description, json_schema_extra=extra or None, **constraints)


def deep_merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overlay` laid over it: mappings merge, everything else is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def resolve(cls: type[S], values: Any, scale: str, where: str) -> S:
    """Build the settings of one scale: laptop values with `scales.<scale>` merged over them.

    Args:
        cls: The study's settings class.
        values: The mapping under the study's key, `scales` included.
        scale: `laptop`, or a key of `values["scales"]`.
        where: The file, for error messages.

    Raises:
        UserError: An unknown key, a wrong type or a broken constraint; names file, key and value.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"expected a mapping of settings, got {type(values).__name__}", where=where)
    base = {key: value for key, value in values.items() if key != "scales"}
    overlays = values.get("scales") or {}
    unknown = sorted(set(overlays) - {"ci", "paper"})
    if unknown:
        raise UserError(
            f"scales.{unknown[0]}: unknown scale", where=where, fix="use scales.ci or scales.paper"
        )
    merged = base if scale == "laptop" else deep_merge(base, overlays.get(scale) or {})
    return validate(cls, merged, f"{where} (scale {scale})")


def validate(cls: type[S], values: Any, where: str) -> S:
    """Validate `values` into `cls`; report every problem at once, by key and value.

    Raises:
        UserError: With one clause per problem.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise UserError(
            "; ".join(_problem(cls, problem) for problem in error.errors()),
            where=where,
            fix="see docs/settings.md",
        ) from None


def _problem(cls: type[BaseModel], problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {problem['input']!r}){_nearest(cls, problem['loc'])}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {problem['msg']} (value {problem['input']!r})"


def _nearest(cls: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    import difflib

    fields: Mapping[str, Any] = cls.model_fields
    for part in loc[:-1]:
        annotation = getattr(fields.get(str(part)), "annotation", None)
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        fields = annotation.model_fields
    match = difflib.get_close_matches(str(loc[-1]), list(fields), n=1)
    return f", did you mean {match[0]!r}?" if match else ""
