"""One sidecar per output: its hash, and what step, settings, code and inputs it was made from.

The sidecar of `PATH` is `results/.lineage/PATH.json`. Sidecars are the base of the manifest, of
`seqlab verify` and of `seqlab explain`. All paths are relative to the folder of the project.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.atomic import write_json
from seqlab.provenance.environment import device_key, environment, packages_digest, plain_spec
from seqlab.provenance.hashing import sha256_path, sha256_tree, tree_files
from seqlab.provenance.private import without_private

SCHEMA = "seqlab.lineage/1"
LINEAGE = Path("results/.lineage")
EXTERNAL = "external:"


@dataclass(frozen=True)
class Lineage:
    """What the sidecar of one output says.

    Attributes:
        path: The output, relative to the project.
        sha256: Of the file, or of the folder as a tree.
        step: Name of the step, e.g. `codesign collect_quantization`.
        spec: Settings of the step, as plain data.
        code: Fingerprint of the step's code.
        inputs: Path -> sha256 of everything the step read.
        environment: `commit`, `dirty`, `python`, `machine`, `device`, `packages_sha256`.
        seconds: Duration of the step.
        started: Time in UTC, ISO 8601.
        files: For a folder, relative path -> sha256 of every file in it; else None.
        siblings: The other outputs of the same call.
    """

    path: str
    sha256: str
    step: str
    spec: Any
    code: str
    inputs: dict[str, str]
    environment: dict[str, Any]
    seconds: float
    started: str
    files: dict[str, str] | None = None
    siblings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the sidecar's content."""
        return {"schema": SCHEMA, **asdict(self)}


def record_lineage(
    step: str,
    spec_json: str,
    code: str,
    inputs: Mapping[str, Iterable[Path]],
    outputs: Mapping[str, Path],
    environment: Mapping[str, Any] | None = None,
    *,
    started: float,
    seconds: float,
    root: str | Path | None = None,
) -> None:
    """Write the sidecar of every output of a step that has just finished.

    Args:
        step: Name of the step.
        spec_json: Its settings as JSON.
        code: Fingerprint of its code.
        inputs: Role -> paths. A folder that is no output of a step itself (a folder of records, a
            resource) is taken as the files it holds.
        outputs: Role -> path of a file or a folder.
        environment: From `environment.environment`; described now if None.
        started: Time at which the step began, in seconds since the epoch.
        seconds: Its duration.
        root: Folder of the project; the working directory unless told.

    Raises:
        UserError: An output or an input is missing.
    """
    base = Path(root or Path.cwd()).resolve()
    hashes = _hash_inputs(base, [path for paths in inputs.values() for path in paths])
    described = _short(environment, base, spec_json, code)
    names = sorted(relative(base, path) for path in outputs.values())
    names = [name for name in names if not name.startswith(EXTERNAL)]
    for name in names:
        if not (base / name).exists():
            raise UserError(f"{step} did not write this output", where=name, fix="see its log")
        files = tree_files(base / name) if (base / name).is_dir() else None
        sidecar = Lineage(
            path=name,
            sha256=sha256_path(base / name) if files is None else sha256_tree(files),
            step=step,
            spec=without_private(plain_spec(spec_json)),
            code=code,
            inputs=hashes,
            environment=described,
            seconds=round(seconds, 3),
            started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            files=files,
            siblings=[other for other in names if other != name],
        )
        write_json(sidecar_path(base, name), sidecar.to_json())


def read_lineage(path: str | Path, root: str | Path | None = None) -> Lineage | None:
    """Return what is known of how `path` was made; None if no step made it.

    Raises:
        UserError: The sidecar exists and cannot be read.
    """
    base = Path(root or Path.cwd()).resolve()
    return load_sidecar(sidecar_path(base, relative(base, path)))


def load_sidecar(sidecar: Path) -> Lineage | None:
    """Read one sidecar file; None if there is none.

    Raises:
        UserError: It is truncated or of another schema.
    """
    fix = "delete it and the output it describes, and run Snakemake again"
    try:
        data = json.loads(sidecar.read_text(encoding="utf-8"))
        schema = data.pop("schema", None)
        if schema == SCHEMA:
            return Lineage(**data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise UserError(f"unreadable lineage: {error}", where=str(sidecar), fix=fix) from None
    raise UserError(f"unknown schema of lineage {schema!r}", where=str(sidecar), fix=fix)


def sidecar_path(root: Path, name: str) -> Path:
    """Return where the sidecar of the output `name` lies."""
    return root / LINEAGE / f"{name}.json"


def maker_of(root: Path, name: str) -> Lineage | None:
    """Return the lineage of `name`, or of the nearest folder above it that a step made."""
    for candidate in (name, *(parent.as_posix() for parent in Path(name).parents)):
        if candidate == ".":
            return None
        found = load_sidecar(sidecar_path(root, candidate))
        if found is not None and (candidate == name or found.files is not None):
            return found
    return None


def relative(root: Path, path: str | Path) -> str:
    """Return `path` relative to the project, with `/`; links are not followed.

    A path outside the project becomes `external:NAME`: only its name and hash are kept.
    """
    absolute = Path(os.path.normpath(root / path))
    try:
        return absolute.relative_to(root).as_posix()
    except ValueError:
        return EXTERNAL + absolute.name


def _hash_inputs(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for path in paths:
        place = root / path
        name = relative(root, path)
        if not place.exists():
            raise UserError("this input vanished while the step ran", where=name, fix="run again")
        # A folder inside an output is part of that output and hashed as a whole.
        if place.is_dir() and not name.startswith(EXTERNAL) and maker_of(root, name) is None:
            for inner, digest in tree_files(place).items():
                hashes[f"{name}/{inner}" if name != "." else inner] = digest
        else:
            hashes[name] = sha256_path(place)
    return dict(sorted(hashes.items()))


def _short(
    described: Mapping[str, Any] | None, root: Path, spec_json: str, code: str
) -> dict[str, Any]:
    full = described if described is not None else environment(spec_json, code, None, root)
    return {
        "commit": full["git"]["commit"],
        "dirty": full["git"]["dirty"],
        "python": full["python"],
        "machine": full["machine"],
        "device": device_key(full),
        "packages_sha256": packages_digest(full["packages"]),
    }
