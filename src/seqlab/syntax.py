"""What a Python source imports and means; comments and docstrings change nothing in it.

Snakemake parses the workflow at every call, and the syntax trees of some two hundred modules cost
half a second. So results are kept between calls below `.snakemake/`, under a hash of the source
itself: an entry cannot be out of date, and whatever cannot be read or written is done without.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

STORE = Path(".snakemake/seqlab_syntax.json")
# Entries of sources that no longer exist are dropped beyond this number.
_MOST = 2000


class Syntax(NamedTuple):
    """What one source says.

    Attributes:
        imports: Absolute names of everything it imports; a name from a package also as a module.
        digest: SHA-256 of its syntax tree without docstrings.
    """

    imports: tuple[str, ...]
    digest: str


class _Store:
    """Results of earlier calls, read once and written when the process ends."""

    def __init__(self) -> None:
        self.known: dict[str, list[object]] | None = None
        self.used: dict[str, list[object]] = {}
        self.registered = False

    def get(self, key: str) -> Syntax | None:
        if self.known is None:
            self.known = _read()
        match self.known.get(key):
            case [list(imports), str(digest)]:
                self.used[key] = [imports, digest]
                return Syntax(tuple(map(str, imports)), digest)
        return None

    def put(self, key: str, syntax: Syntax) -> None:
        if not self.registered:
            atexit.register(self.write)
            self.registered = True
        self.used[key] = [list(syntax.imports), syntax.digest]

    def write(self) -> None:
        older = self.known or {}
        entries = self.used if len(older) > _MOST else older | self.used
        temporary = STORE.with_name(f"{STORE.name}.{os.getpid()}")
        try:
            # Only where Snakemake has been: nothing is left in a folder that is none of its.
            if STORE.parent.is_dir():
                temporary.write_text(json.dumps(entries), "utf-8")
                temporary.replace(STORE)
        except OSError:
            temporary.unlink(missing_ok=True)


_store = _Store()


def syntax_of(module: str, source: Path) -> Syntax:
    """Return what a module's source says.

    Args:
        module: Its name; relative imports are resolved against it.
        source: Its file.
    """
    text = source.read_bytes()
    is_package = source.name == "__init__.py"
    context = f"{sys.version_info[:2]} {module} {is_package}\0".encode()
    key = hashlib.sha256(context + text).hexdigest()
    syntax = _store.get(key)
    if syntax is None:
        syntax = parse(module, text, is_package)
        _store.put(key, syntax)
    return syntax


def parse(module: str, text: bytes, is_package: bool) -> Syntax:
    """Return what a source says, from its syntax tree.

    Args:
        module: Name of the module.
        text: Its source.
        is_package: Whether it is the `__init__` of a package.
    """
    tree = ast.parse(text, filename=module)
    imports: set[str] = set()
    for node in _statements(tree):
        _drop_docstring(node)
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node, is_package)
            imports.add(base)
            imports.update(f"{base}.{alias.name}" for alias in node.names)
    dump = ast.dump(tree, annotate_fields=True, include_attributes=False)
    return Syntax(tuple(sorted(imports)), hashlib.sha256(dump.encode()).hexdigest())


def _read() -> dict[str, list[object]]:
    try:
        entries = json.loads(STORE.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            # An empty body is no valid tree to compile, but it is one to hash.
            node.body = node.body[1:]


def _absolute(module: str, node: ast.ImportFrom, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*base, node.module] if node.module else base)


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
