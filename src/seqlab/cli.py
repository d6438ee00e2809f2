"""Command line: `python -m seqlab STUDY STEP ...` for the workflow, and the commands for people.

A step's options are derived from its signature: `spec` is settings as JSON, every `In`, `Ins`,
`Out` and `State` argument is a path. Nothing heavy is imported before the threads are pinned.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import json
import logging
import os
import signal
import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqlab.errors import Terminated, UserError

EXIT_USER_ERROR = 2
EXIT_TERMINATED = 128 + signal.SIGTERM

log = logging.getLogger("seqlab")

_HELP = {
    "in": "input",
    "folder": "folder of inputs",
    "out": "output",
    "state": "folder of checkpoints",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    log.setLevel(os.environ.get("SEQLAB_LOG", "INFO").upper())
    try:
        if len(arguments) >= 2 and _is_group(arguments[0]):
            return _run_step(arguments[0], arguments[1], arguments[2:])
        return _run_command(arguments)
    except UserError as error:
        print(f"seqlab: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except Terminated as error:
        print(f"seqlab: terminated: {error}", file=sys.stderr)
        return EXIT_TERMINATED
    except BrokenPipeError:
        # The reader went away (`| head`); a second error at interpreter exit would be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _is_group(name: str) -> bool:
    if name in ("assets", "paper"):
        return True
    return (Path(__file__).parent / "studies" / name / "spec.py").is_file()


# --------------------------------------------------------------------------------- steps


def _run_step(group: str, step: str, arguments: list[str]) -> int:
    from seqlab.threads import pin_threads
    from seqlab.workflow import step_module

    module_name = step_module(group, step.replace("-", "_"))
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--spec", required=True)
    early.add_argument("--threads", type=int, default=1)
    early.add_argument("--gpus", type=int, default=0)
    known, _ = early.parse_known_args(arguments)
    settings = _parse_json(known.spec)
    # Threads of training and timing are settings, because they change numbers; Snakemake's
    # own count is a reservation of cores.
    pin_threads(int(settings.get("threads") or known.threads))
    signal.signal(signal.SIGTERM, _terminate)

    from seqlab.data.network import set_offline
    from seqlab.gpu_lease import lease
    from seqlab.quiet import working

    # Only a fetch goes online, and only while it fetches.
    set_offline()
    # Imports are work, too.
    with lease(known.gpus), working():
        function = getattr(importlib.import_module(module_name), module_name.rpartition(".")[2])
        # What the imports made stays: without it a collection before every timing costs 0.3 s.
        gc.freeze()
        call = _StepCall(f"{group} {step}", function)
        parsed = call.parse(arguments)
        call.run(parsed, settings)
    return 0


def _terminate(signum: int, frame: object) -> None:
    raise Terminated("SIGTERM: unfinished outputs were removed; run again to go on")


def _parse_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--spec is no JSON: {error}", where=text[:80]) from None
    if not isinstance(value, dict):
        raise UserError(f"--spec must be a JSON object, not {type(value).__name__}")
    return value


class _StepCall:
    """One call of a step: its options, its arguments and its lineage."""

    def __init__(self, name: str, function: Callable[..., None]) -> None:
        self.name = name
        self.function = function
        self.hints = typing.get_type_hints(function, include_extras=True)
        self.paths = {
            parameter: kind
            for parameter in inspect.signature(function).parameters
            if (kind := _path_kind(self.hints.get(parameter)))
        }

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            prog=f"python -m seqlab {self.name}",
            description=inspect.getdoc(self.function),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--spec", required=True, help="settings of this step, as JSON")
        parser.add_argument("--code", default="", help="fingerprint of the code, from the workflow")
        parser.add_argument("--threads", type=int, default=1)
        parser.add_argument("--gpus", type=int, default=0, help="devices to lease")
        parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        for parameter, (kind, many) in self.paths.items():
            parser.add_argument(
                f"--{parameter.replace('_', '-')}",
                dest=parameter,
                type=Path,
                nargs="*" if many else None,
                required=not many,
                help=_HELP[kind],
            )
        return parser.parse_args(arguments)

    def run(self, parsed: argparse.Namespace, settings: dict[str, Any]) -> None:
        from seqlab.provenance.lineage import record_lineage
        from seqlab.spec import Context, Spec, validate

        spec_class = self.hints["spec"]
        assert issubclass(spec_class, Spec)
        spec = validate(spec_class, settings, f"settings of {self.name}")
        keywords: dict[str, Any] = {name: getattr(parsed, name) or [] for name in self.paths}
        inputs = self._inputs(keywords, spec)
        context = Context(
            code=parsed.code,
            device=parsed.device,
            threads=int(settings.get("threads") or parsed.threads),
        )
        if "context" in inspect.signature(self.function).parameters:
            keywords["context"] = context
        outputs = {n: getattr(parsed, n) for n, (kind, _) in self.paths.items() if kind == "out"}
        started = time.time()
        clock = time.perf_counter()
        with _failure_noted(self.name, list(outputs.values())):
            self.function(spec, **keywords)
        # Under torchrun the first process alone writes outputs, and their lineage.
        if not outputs or os.environ.get("RANK", "0") != "0":
            return
        record_lineage(
            step=self.name,
            spec_json=spec.canonical(),
            code=parsed.code,
            inputs=inputs,
            outputs=outputs,
            started=started,
            seconds=time.perf_counter() - clock,
        )

    def _inputs(self, keywords: dict[str, Any], spec: Any) -> dict[str, list[Path]]:
        """Return every file and folder that the step reads; each must exist."""
        inputs: dict[str, list[Path]] = {}
        for name, (kind, _) in self.paths.items():
            if kind == "in":
                inputs[name] = _as_list(keywords[name])
            elif kind == "folder":
                inputs[name] = [keywords[name] / member for member in spec.members(name)]
        for name, paths in inputs.items():
            for path in paths:
                if not path.exists():
                    raise UserError(
                        f"--{name}: no such file or folder",
                        where=str(path),
                        fix="let Snakemake make it, or correct the path",
                    )
        return inputs


@contextmanager
def _failure_noted(step: str, outputs: list[Path]) -> Iterator[None]:
    """Leave a note of a failure for `python -m seqlab status`; remove it on success."""
    from seqlab.status import clear_failure, note_failure

    try:
        yield
    except Exception as error:
        message = str(error) or type(error).__name__
        note_failure(step, outputs, message, _redirected_log())
        raise
    clear_failure(outputs)


def _redirected_log() -> str | None:
    """Return the file that standard error goes to, where the system can tell."""
    try:
        target = Path(os.readlink("/proc/self/fd/2"))
    except OSError:
        return None
    return os.path.relpath(target) if target.is_file() else None


def _as_list(value: Any) -> list[Path]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _path_kind(hint: Any) -> tuple[str, bool] | None:
    """Return (in, out or state; whether it takes several paths) of an annotated path."""
    if typing.get_origin(hint) is not typing.Annotated:
        return None
    base, kind = typing.get_args(hint)[:2]
    if kind not in ("in", "out", "state", "folder"):
        return None
    return kind, typing.get_origin(base) is list


# ------------------------------------------------------------------------------ commands


def _run_command(arguments: list[str]) -> int:
    from seqlab import commands

    return commands.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
