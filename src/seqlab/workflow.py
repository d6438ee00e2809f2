"""What rule files import: settings of every study and scale, and fingerprints of code.

Runs each time Snakemake parses the workflow, so it imports neither torch nor pandas, reads no file
but first-party sources, and writes none but the store of `seqlab.syntax`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from seqlab.errors import UserError
from seqlab.spec import Spec, resolve
from seqlab.syntax import Syntax, syntax_of

SCALES = ("laptop", "ci", "paper")
PACKAGE = Path(__file__).resolve().parent


class StepSettings(Protocol):
    """Settings of one group of steps (a study, or the shared assets) at one scale."""

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads for one set of wildcards."""
        ...


def require_checkout(root: str | Path) -> None:
    """Refuse to run a workflow whose steps would execute another checkout's code.

    Raises:
        UserError: The imported seqlab does not lie below `root`.
    """
    if not PACKAGE.is_relative_to(Path(root).resolve()):
        raise UserError(
            "the installed seqlab is not that of this folder, which the fingerprints are of",
            where=str(PACKAGE),
            fix="activate this folder's .venv, or run `make setup` here",
        )


def study_names() -> tuple[str, ...]:
    """Return the studies: every folder of `seqlab/studies` that has a `spec.py`."""
    return tuple(sorted(path.parent.name for path in PACKAGE.glob("studies/*/spec.py")))


class Settings:
    """Typed settings of every group, built once per scale from Snakemake's merged config.

    A group is a study, or `assets` (corpora, tokenizers, models) or `paper` (numbered items).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._built: dict[tuple[str, str], Any] = {}

    def __call__(self, group: str, scale: str) -> Any:
        """Return the settings of `group` at `scale`.

        Raises:
            UserError: The group has no settings, or one of them is wrong.
        """
        if (group, scale) not in self._built:
            self._built[group, scale] = self._build(group, scale)
        return self._built[group, scale]

    def _build(self, group: str, scale: str) -> Any:
        where = config_path(group)
        if scale not in SCALES:
            raise UserError(
                f"scale: unknown value {scale!r}",
                where="config/config.yaml",
                fix=f"use one of {', '.join(SCALES)}",
            )
        if group not in self._config:
            raise UserError(f"{group}: missing", where=where, fix="restore the file with git")
        values = self._config[group]
        if group == "assets" and isinstance(values, Mapping):
            values = {**values, "locked": self._config.get("locked", False)}
        return resolve(settings_class(group), values, scale, where)


def config_path(group: str) -> str:
    """Return the file that holds the settings of `group`."""
    return f"config/studies/{group}.yaml" if group in study_names() else f"config/{group}.yaml"


def settings_class(group: str) -> type[Spec]:
    """Return the class of the settings of `group`."""
    package = f"seqlab.studies.{group}" if group in study_names() else f"seqlab.{group}"
    module = importlib.import_module(f"{package}.spec")
    settings: type[Spec] = module.SETTINGS
    return settings


def step_module(group: str, step: str) -> str:
    """Return the dotted name of the module that holds a step; its function has the step's name.

    Raises:
        UserError: There is no such step.
    """
    base = f"seqlab.studies.{group}.steps" if group in study_names() else f"seqlab.{group}"
    name = f"{base}.{step}"
    if not step.isidentifier() or not _source(name):
        known = sorted(
            path.stem
            for path in _folder(base).glob("*.py")
            if path.stem != "__init__" and not path.stem.endswith("spec")
        )
        raise UserError(f"{group} has no step {step!r}", fix=f"steps: {', '.join(known) or 'none'}")
    return name


def code(group: str, step: str) -> str:
    """Return the fingerprint of a step: its module and all first-party modules it imports.

    The hash is over syntax trees without docstrings, so that an edit of a comment or a docstring
    reruns nothing, and an edit of a statement reruns exactly the steps that can execute it.
    """
    return fingerprint(step_module(group, step))


@cache
def fingerprint(module: str) -> str:
    """Return the transitive fingerprint (16 hexadecimal digits) of a first-party module."""
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        digest.update(f"{name} {_syntax(name).digest}\n".encode())
    return digest.hexdigest()[:16]


def _closure(module: str) -> set[str]:
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        pending.extend(_imports(name))
        # Importing a module executes the __init__ of every package above it.
        parent = name.rpartition(".")[0]
        if parent:
            pending.append(parent)
    return seen


@cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(name for name in _syntax(module).imports if _source(name))


@cache
def _syntax(module: str) -> Syntax:
    source = _source(module)
    if source is None:
        raise UserError(f"no first-party module {module!r}")
    return syntax_of(module, source)


def _folder(package: str) -> Path:
    return PACKAGE.joinpath(*package.split(".")[1:])


@cache
def _source(module: str) -> Path | None:
    if module != "seqlab" and not module.startswith("seqlab."):
        return None
    path = _folder(module)
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file() and candidate != PACKAGE / ".py":
            return candidate
    return None


def spec_json(settings: StepSettings, step: str, wildcards: Mapping[str, str]) -> str:
    """Return the settings of one step as sorted JSON, for `params: spec`."""
    return settings.step_spec(step, wildcards).canonical()


def choices(names: Any) -> str:
    """Return a wildcard regex that matches exactly the given names (nothing, if there are none)."""
    import re

    return "|".join(re.escape(str(name)) for name in sorted(names)) or "(?!)"
