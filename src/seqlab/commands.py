"""Commands for people: bench, verify, explain, forecast, doctor, pack, unpack, resume, status."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from seqlab.errors import UserError
from seqlab.workflow import SCALES, study_names

Handler = Callable[[argparse.Namespace], int]


def run(arguments: Sequence[str]) -> int:
    """Parse and run one command; return its exit status."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.handler is None:
        parser.print_help(sys.stderr)
        return 2
    handler: Handler = parsed.handler
    return handler(parsed)


def _parser() -> argparse.ArgumentParser:
    groups = ("assets", "paper", *study_names())
    parser = argparse.ArgumentParser(
        prog="python -m seqlab",
        description="Measured figures, checked claims.",
        epilog=f"Steps of the workflow: python -m seqlab {{{','.join(groups)}}} STEP --help",
    )
    parser.set_defaults(handler=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    bench = commands.add_parser("bench", help="ours against a peer, side by side, as JSON lines")
    bench.add_argument("name", help="one of the modules of seqlab.bench")
    bench.add_argument("--quick", action="store_true", help="small sizes; proves that it runs")
    bench.add_argument("--budget", type=float, default=240.0, metavar="SECONDS")
    bench.add_argument("--threads", type=int, default=2)
    bench.add_argument("--record", action="store_true", help="keep the rows in bench/records/")
    bench.set_defaults(handler=_bench)

    verify = commands.add_parser("verify", help="recompute the hash of every artefact of a scale")
    _scale(verify)
    verify.add_argument("--study", choices=study_names(), default="", help="only of this study")
    verify.set_defaults(handler=_verify)

    explain = commands.add_parser("explain", help="walk a file back to runs, code, data, machine")
    explain.add_argument("path", type=Path)
    explain.add_argument("--all", action="store_true", help="every run on a line of its own")
    explain.set_defaults(handler=_explain)

    forecast = commands.add_parser("forecast", help="time, GPU-hours and disk before a run")
    forecast.add_argument("targets", nargs="*", metavar="TARGET")
    _scale(forecast)
    forecast.add_argument(
        "--record", action="store_true", help="first keep the times of the jobs run here"
    )
    forecast.set_defaults(handler=_forecast)

    doctor = commands.add_parser("doctor", help="check this machine and checkout")
    doctor.set_defaults(handler=_doctor)

    pack = commands.add_parser("pack", help="put the records of a scale into one archive")
    _scale(pack)
    pack.add_argument("archive", type=Path)
    pack.set_defaults(handler=_pack)

    unpack = commands.add_parser("unpack", help="add the records of an archive to this folder")
    unpack.add_argument("archive", type=Path)
    unpack.add_argument("--replace", action="store_true", help="move different files aside")
    unpack.set_defaults(handler=_unpack)

    resume = commands.add_parser("resume", help="after SIGKILL: end orphaned jobs and unlock")
    resume.add_argument("--wait", action="store_true", help="let orphaned jobs finish")
    resume.set_defaults(handler=_resume)

    status = commands.add_parser("status", help="what is done, failed (with its log), not run")
    _scale(status)
    status.set_defaults(handler=_status)

    lock = commands.add_parser("lock", help="write the commits of fetched hub folders to the lock")
    lock.set_defaults(handler=_lock)

    docs = commands.add_parser("docs", help="write the generated documentation")
    docs.add_argument("--check", action="store_true", help="fail if a generated file would change")
    docs.set_defaults(handler=_docs)
    return parser


def _scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=SCALES, default="laptop")


def _bench(parsed: argparse.Namespace) -> int:
    from seqlab.bench import available, record
    from seqlab.threads import pin_threads

    if parsed.name not in available():
        raise UserError(f"no bench {parsed.name!r}", fix=f"one of {', '.join(available())}")
    pin_threads(parsed.threads)
    module = importlib.import_module(f"seqlab.bench.{parsed.name}")
    settings = {key: getattr(parsed, key) for key in ("quick", "budget", "threads")}
    described = record.describe(parsed.name, settings, Path.cwd()) if parsed.record else {}
    rows = []
    for row in module.run(parsed.quick, parsed.budget):
        print(json.dumps(row), flush=True)
        rows.append(row)
    if parsed.record:
        print(record.write(parsed.name, rows, described, Path.cwd()), file=sys.stderr)
    return 0


def _verify(parsed: argparse.Namespace) -> int:
    from seqlab.provenance.verify import verify

    where = "/".join(filter(None, ("results", parsed.scale, parsed.study)))
    again = f"snakemake {parsed.study}_all" if parsed.study else "snakemake"
    problems = verify(Path.cwd(), parsed.scale, parsed.study)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise UserError(
            f"{len(problems)} problem(s) found",
            where=where,
            fix=f"delete the files named above and run `{again}`",
        )
    print(f"{where}: every artefact is what its record says")
    return 0


def _explain(parsed: argparse.Namespace) -> int:
    from seqlab.provenance.explain import explain

    print(explain(parsed.path, Path.cwd(), every=parsed.all))
    return 0


def _forecast(parsed: argparse.Namespace) -> int:
    from seqlab.forecast import commit_benchmarks, forecast

    if parsed.record:
        print(commit_benchmarks(Path.cwd()), file=sys.stderr)
    print(forecast(parsed.targets, parsed.scale))
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    from seqlab.doctor import run_doctor

    findings = run_doctor()
    for finding in findings:
        fix = f" — {finding.fix}" if finding.fix else ""
        print(f"{finding.status:4}  {finding.name}: {finding.detail}{fix}")
    return int(any(finding.status == "fail" for finding in findings))


def _pack(parsed: argparse.Namespace) -> int:
    from seqlab.provenance.pack import pack

    print(pack(Path.cwd(), parsed.scale, parsed.archive))
    return 0


def _unpack(parsed: argparse.Namespace) -> int:
    from seqlab.provenance.unpack import unpack

    print(unpack(parsed.archive, Path.cwd(), replace=parsed.replace))
    return 0


def _resume(parsed: argparse.Namespace) -> int:
    from seqlab.recover import recover

    print(recover(Path.cwd(), wait=parsed.wait))
    return 0


def _status(parsed: argparse.Namespace) -> int:
    from seqlab.status import status

    print(status(Path.cwd(), parsed.scale))
    return 0


def _lock(parsed: argparse.Namespace) -> int:
    from seqlab.data.lock import LOCK_FILE, pin_fetched

    folders = [path.parent for path in Path("results").glob("*/assets/**/source.json")]
    pinned = pin_fetched(folders)
    for repository, commit in sorted(pinned.items()):
        print(f"{repository}: {commit}")
    print(f"{LOCK_FILE}: {len(pinned)} commit(s) added")
    return 0


def _docs(parsed: argparse.Namespace) -> int:
    from seqlab.reference import write_reference

    return write_reference(Path.cwd(), check=parsed.check)
