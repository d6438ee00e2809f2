"""Published values stand in config/claims/ and nowhere else: numbers elsewhere are ours.

Values of fewer than three significant digits (0.8, 25) are too common to look for.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from seqlab.claims_spec import load_claims

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = sorted((ROOT / "config" / "claims").glob("*.yaml"))
LOOKED_AT = (".py", ".yaml", ".yml", ".smk", ".rst", ".md", ".toml", ".sh", "Snakefile", "Makefile")
# (file, literal) -> why it is not the published value.
ALLOWED = {
    ("config/assets.yaml", "12.4"): "millions of parameters of the laptop BERT",
    ("tests/unit/test_doctor.py", "12.4"): "a version of CUDA in a recorded page",
}
# Folders whose numbers are others': measurements, generated pages, vendored text, pins.
SKIPPED = ("bench/records/", "resources/", "config/claims/", "docs/schema/", "docs/settings.md")


def significant(value: float) -> str:
    return f"{abs(value):g}".replace(".", "").strip("0")


def literals() -> dict[str, str]:
    """Return literal -> claim, of every published value of three or more significant digits."""
    found = {}
    for path in CLAIMS:
        for claim in load_claims(path).claims:
            for published in claim.published:
                if len(significant(published.value)) >= 3:
                    found[f"{abs(published.value):g}"] = claim.id
    return found


def text_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        name
        for name in listed
        if name.endswith(LOOKED_AT) and not name.startswith(SKIPPED) and (ROOT / name).is_file()
    ]


def pattern(values: list[str]) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
    return re.compile(rf"(?<![\w.]){'(?:' + alternatives + ')'}(?![\w]|\.\d)")


# Sections of a specification, as settings name their source.
CITED = re.compile(r"\w+\.md \d+(\.\d+)*(, \d+(\.\d+)*)*")


def test_there_is_something_to_look_for() -> None:
    assert len(literals()) > 50


def test_a_published_value_would_be_found() -> None:
    value = next(iter(literals()))
    assert pattern([value]).search(f"latency_ms: {value}")
    assert not pattern([value]).search(f"latency_ms: 1{value}7")
    assert CITED.sub("", 'source="codesign.md 2.19", 2.2') == 'source="", 2.2'


@pytest.mark.parametrize("folder", ["src", "config", "workflow", "docs", "tests", "."])
def test_no_published_value_stands_outside_the_claims(folder: str) -> None:
    wanted = pattern(list(literals()))
    found = []
    for name in text_files():
        top = name.partition("/")[0] if "/" in name else "."
        if top != folder or name == "tests/unit/test_published_values.py":
            continue
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1):
            for match in wanted.findall(CITED.sub("", line)):
                if (name, match) not in ALLOWED:
                    found.append(f"{name}:{number}: {match} in {line.strip()[:80]!r}")
    assert not found, "\n".join(found)
