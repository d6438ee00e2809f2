"""What rule files import: settings of every study and scale, and fingerprints of code.

Runs each time Snakemake parses the workflow, so it imports neither torch nor pandas, reads no file
but first-party sources, and writes nothing.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from seqlab.errors import UserError
from seqlab.spec import Spec, resolve

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
            if path.stem not in ("__init__", "spec")
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
        digest.update(f"{name} {_syntax_hash(name)}\n".encode())
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
    found: set[str] = set()
    for node in _statements(_tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return tuple(name for name in sorted(found) if _source(name))


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = _is_package(module)
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*base, node.module] if node.module else base)


def _is_package(module: str) -> bool:
    source = _source(module)
    return source is not None and source.name == "__init__.py"


@cache
def _tree(module: str) -> ast.Module:
    source = _source(module)
    if source is None:
        raise UserError(f"no first-party module {module!r}")
    tree = ast.parse(source.read_text("utf-8"), filename=str(source))
    for node in _statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                # An empty body is no valid tree to compile, but it is one to hash.
                node.body = node.body[1:]
    return tree


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield a tree and every node that is or holds a statement; expressions hold none.

    They are a tenth of all nodes, and this runs each time Snakemake parses the workflow.
    """
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            pending.extend(getattr(node, block, ()))


@cache
def _syntax_hash(module: str) -> str:
    text = ast.dump(_tree(module), annotate_fields=True, include_attributes=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
