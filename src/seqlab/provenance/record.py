"""Records: what one run writes, validated when it is written and when it is read.

A run is one cell with one seed; its record holds every arm. Raw samples lie beside it in an npz
file whose hash the record keeps. Every table and figure is derived from records.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_path, write_json
from seqlab.provenance.hashing import sha256_file
from seqlab.provenance.private import require_no_private

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "seqlab.record/1"
# Older schemas that can still be read: each entry turns one schema into a newer one.
MIGRATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_RERUN = "delete the file and run Snakemake again; the rule that writes it will run"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def _number(value: Any) -> Any:
    """Accept ints, floats and numpy scalars; a bool or a text is no measurement."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        raise ValueError(f"expected a number or null, got {type(value).__name__}")
    if value is not None and not math.isfinite(value):
        raise ValueError("NaN and infinity are refused; write null and say why")
    return value


Number = Annotated[float | None, BeforeValidator(_number)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metric(_Part):
    """One number of one arm: its value, its unit and how it came about.

    A value that could not be had is null, with the reason.
    """

    value: Number
    unit: str
    provenance: Literal["measured", "simulated", "counted", "cited"]
    reason: str | None = None

    @model_validator(mode="after")
    def _null_needs_a_reason(self) -> Metric:
        if self.value is None and not self.reason:
            raise ValueError("a null value needs a reason")
        return self


class Check(_Part):
    """One check that an arm passed or failed: the value found and the tolerance it was held to."""

    passed: bool
    value: Number = None
    tolerance: Number = None
    detail: str = ""


class Arm(_Part):
    """One treatment: metrics, checks, and where its raw samples lie (relative to the record)."""

    metrics: dict[str, Metric] = Field(min_length=1)
    samples_path: str | None = None
    samples_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    checks: dict[str, Check] = Field(default_factory=dict)

    @field_validator("samples_path")
    @classmethod
    def _stays_beside_the_record(cls, value: str | None) -> str | None:
        if value is None:
            return None
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in value:
            raise ValueError("must be relative to the record's folder and stay below it")
        return value

    @model_validator(mode="after")
    def _samples_have_a_hash(self) -> Arm:
        if (self.samples_path is None) != (self.samples_sha256 is None):
            raise ValueError("samples_path and samples_sha256 belong together")
        return self


class Record(_Part):
    """What one run of one cell and one seed found. `rehearsal` rows never reach a table."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_name: str = Field(default=SCHEMA, alias="schema")
    study: str = Field(pattern=_NAME)
    experiment: str = Field(pattern=_NAME)
    cell: dict[str, str | bool | int | float | None]
    seed: int = Field(ge=0, strict=True)
    arms: dict[str, Arm] = Field(min_length=1)
    environment: dict[str, Any]
    rehearsal: bool = False

    @field_validator("schema_name")
    @classmethod
    def _known_schema(cls, value: str) -> str:
        if value != SCHEMA:
            raise ValueError(f"expected {SCHEMA}")
        return value

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data, under the names of the schema."""
        # Not mode="json": that would turn a NaN of the environment into null without a word.
        return self.model_dump(by_alias=True)


def write_record(path: str | Path, record: Record) -> None:
    """Check a record and its samples and write it atomically; write the samples first.

    Raises:
        UserError: A number is NaN or infinite, the environment holds something private, a sample
            file is missing or has another hash, or the disk refuses.
    """
    path = Path(path)
    data = record.to_json()
    _validated(data, path, fix="correct the step that makes this record")
    require_no_private({key: data[key] for key in ("cell", "environment")}, str(path))
    check_samples(path, record)
    try:
        write_json(path, data)
    except ValueError as error:
        raise UserError(
            f"environment: {error}", where=str(path), fix="write null and say why"
        ) from None


def read_record(path: str | Path, *, samples: bool = False) -> Record:
    """Read and validate one record; `samples=True` also checks the hashes of its samples.

    Raises:
        UserError: Missing, truncated, of another schema, or with a missing or wrong field.
    """
    path = Path(path)
    data = _loaded(path)
    schema = data.get("schema")
    seen: set[str] = set()
    while schema in MIGRATIONS and schema not in seen:
        seen.add(schema)
        data = MIGRATIONS[schema](data)
        schema = data.get("schema")
    if schema != SCHEMA:
        known = ", ".join([SCHEMA, *sorted(MIGRATIONS)])
        raise UserError(
            f"schema: {schema!r} cannot be read by this version (it reads {known})",
            where=str(path),
            fix=_RERUN,
        )
    record = _validated(data, path, fix=_RERUN)
    if samples:
        check_samples(path, record)
    return record


def check_samples(path: str | Path, record: Record) -> None:
    """Compare the raw samples beside the record at `path` with the hashes it keeps.

    Raises:
        UserError: A file is missing or different.
    """
    for name, arm in record.arms.items():
        if arm.samples_path is None:
            continue
        samples = Path(path).parent / arm.samples_path
        if not samples.is_file():
            raise UserError(
                f"raw samples of arm {name!r} are missing", where=str(samples), fix=_RERUN
            )
        if sha256_file(samples) != arm.samples_sha256:
            raise UserError(
                f"raw samples of arm {name!r} differ from their hash",
                where=str(samples),
                fix=_RERUN,
            )


def write_samples(path: str | Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write raw samples as npz and return the file's sha256.

    Equal arrays give equal bytes: no compression, fixed times, names in order.

    Args:
        path: Ends in `.npz`.
        arrays: Name -> array of numbers or texts of fixed length; objects are refused.
    """
    import numpy as np

    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"raw samples are npz files, not {path.suffix!r}")
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_TIME)
            with archive.open(entry, "w", force_zip64=True) as stream:
                array = np.ascontiguousarray(arrays[name])
                np.lib.format.write_array(stream, array, allow_pickle=False)
    return sha256_file(path)


def read_samples(path: str | Path) -> dict[str, np.ndarray]:
    """Read what `write_samples` wrote.

    Raises:
        UserError: The file is missing, truncated, or no npz file of plain arrays.
    """
    import numpy as np

    try:
        with np.load(Path(path), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UserError("raw samples are missing", where=str(path), fix=_RERUN) from None
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError, OSError) as error:
        raise UserError(f"cannot read raw samples: {error}", where=str(path), fix=_RERUN) from None


def _loaded(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such record", where=str(path), fix="run Snakemake to make it") from None
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=str(path), fix=_RERUN) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"the record is truncated or no JSON ({error})", where=str(path), fix=_RERUN
        ) from None
    if not isinstance(data, dict):
        raise UserError("the record is no JSON object", where=str(path), fix=_RERUN)
    return data


def _validated(data: dict[str, Any], path: Path, fix: str) -> Record:
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        clauses = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
            clauses.append(f"{key}: {problem['msg'].removeprefix('Value error, ')}")
        raise UserError("; ".join(clauses), where=str(path), fix=fix) from None
