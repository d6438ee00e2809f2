"""Records: the schema refuses what must not be stored and reads back what was written."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.provenance import record as record_module
from seqlab.provenance.private import require_no_private, without_private
from seqlab.provenance.record import (
    SCHEMA,
    Arm,
    Check,
    Metric,
    Record,
    read_record,
    read_samples,
    write_record,
    write_samples,
)


def make(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "study": "codesign",
        "experiment": "order",
        "cell": {"bits": 4, "method": "none"},
        "seed": 3,
        "arms": {
            "dense": Arm(metrics={"latency": Metric(value=1.5, unit="ms", provenance="measured")})
        },
        "environment": {"code": "abc", "spec": {"steps": 3}},
    }
    return Record(**(values | changes))


def test_round_trip(tmp_path: Path) -> None:
    digest = write_samples(tmp_path / "samples.npz", {"dense": np.arange(5)})
    arm = Arm(
        metrics={
            "latency": Metric(value=np.float32(0.25), unit="ms", provenance="measured"),
            "energy": Metric(value=None, unit="J", provenance="measured", reason="no counter"),
        },
        samples_path="samples.npz",
        samples_sha256=digest,
        checks={"equivalent": Check(passed=True, value=1e-12, tolerance=1e-10)},
    )
    record = make(arms={"dense": arm}, rehearsal=True)
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json", samples=True) == record
    raw = json.loads((tmp_path / "record.json").read_text())
    assert raw["schema"] == SCHEMA
    assert raw["arms"]["dense"]["metrics"]["latency"]["value"] == 0.25


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), True, "1.5", np.float64("nan")])
def test_metric_refuses_what_is_no_number(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"NaN and infinity|expected a number"):
        Metric(value=bad, unit="ms", provenance="measured")


def test_null_needs_a_reason_and_provenance_is_closed() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Metric(value=None, unit="ms", provenance="measured")
    with pytest.raises(ValueError, match="provenance"):
        Metric(value=1, unit="ms", provenance="guessed")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/abs.npz", "../up.npz", "a/../../b.npz", "", "a\\b.npz"])
def test_samples_stay_beside_the_record(path: str) -> None:
    with pytest.raises(ValueError, match="relative to the record"):
        Arm(
            metrics={"x": Metric(value=1, unit="", provenance="counted")},
            samples_path=path,
            samples_sha256="0" * 64,
        )


def test_environment_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"record\.json"):
        write_record(tmp_path / "record.json", make(environment={"load": float("nan")}))
    assert list(tmp_path.iterdir()) == []


def test_changed_or_missing_samples_are_found(tmp_path: Path) -> None:
    digest = write_samples(tmp_path / "s.npz", {"a": np.arange(5)})
    arm = Arm(
        metrics={"x": Metric(value=1, unit="", provenance="counted")},
        samples_path="s.npz",
        samples_sha256=digest,
    )
    write_record(tmp_path / "r.json", make(arms={"a": arm}))
    data = bytearray((tmp_path / "s.npz").read_bytes())
    data[-40] ^= 1
    (tmp_path / "s.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"s\.npz.*differ from their hash"):
        read_record(tmp_path / "r.json", samples=True)
    (tmp_path / "s.npz").unlink()
    with pytest.raises(UserError, match=r"s\.npz.*missing"):
        read_record(tmp_path / "r.json", samples=True)
    with pytest.raises(UserError, match=r"s\.npz.*missing"):
        write_record(tmp_path / "r2.json", make(arms={"a": arm}))


def edited(tmp_path: Path, edit: Any) -> Path:
    path = tmp_path / "record.json"
    write_record(path, make())
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.pop("seed"), "seed: Field required"),
        (lambda d: d.update(colour=1), "colour: Extra inputs"),
        (lambda d: d.update(schema="seqlab.record/0"), "'seqlab.record/0' cannot be read"),
        (lambda d: d.pop("schema"), "schema: None cannot be read"),
        (lambda d: d.update(seed=-1), "seed: "),
        (lambda d: d.update(arms={}), "arms: "),
        (lambda d: d["arms"]["dense"]["metrics"]["latency"].update(value=float("nan")), "NaN"),
        (lambda d: d.update(study="../x"), "study: "),
    ],
)
def test_reading_names_file_and_field(tmp_path: Path, edit: Any, message: str) -> None:
    path = edited(tmp_path, edit)
    with pytest.raises(UserError, match=message) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert "delete the file" in str(caught.value)


@pytest.mark.parametrize("cut", [0, 1, 40, -2])
def test_truncated_file(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "record.json"
    write_record(path, make())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="truncated or no JSON"):
        read_record(path)


def test_missing_file_and_wrong_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such record"):
        read_record(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match="no JSON object"):
        read_record(tmp_path / "list.json")


def test_old_schema_is_migrated_by_a_named_function(tmp_path: Path, monkeypatch: Any) -> None:
    def from_zero(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"schema": SCHEMA, "seed": data["seed"] + 1}

    path = edited(tmp_path, lambda d: d.update(schema="seqlab.record/0"))
    monkeypatch.setitem(record_module.MIGRATIONS, "seqlab.record/0", from_zero)
    assert read_record(path).seed == 4


@pytest.mark.parametrize(
    "environment",
    [
        {"machine": {"hostname": "x"}},
        {"note": "ran in /home/anna/project"},
        {"note": "/Users/anna"},
        {"spec": {"model": "path:/home/anna/model"}},
        {"spec": {"key": "hf_" + "a" * 30}},
        {"note": "https://anna:secret@example.org"},
        {"packages": ["ghp_" + "b" * 36]},
    ],
)
def test_private_things_are_refused(tmp_path: Path, environment: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="must not be stored") as caught:
        write_record(tmp_path / "record.json", make(environment=environment))
    assert "secret@" not in str(caught.value)
    assert "hf_aaa" not in str(caught.value)


def test_host_and_user_are_found_as_words(monkeypatch: Any) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "bluebox7")
    monkeypatch.setenv("LOGNAME", "annabel")
    for text in ("run on bluebox7", "annabel@work", "/data/annabel/x"):
        with pytest.raises(UserError):
            require_no_private({"note": text}, "here")
    require_no_private({"note": "bluebox77 annabelle", "spec": {"host": "annabel"}}, "here")
    require_no_private({"tokens": 512, "token": None, "os": "Linux 6.1"}, "here")


def test_private_parts_are_blanked() -> None:
    home = str(Path.home())
    value = {"a": [f"path:{home}/m", "hf_" + "a" * 30], "b": 3}
    if home != os.sep:
        assert without_private(value) == {"a": ["path:~/m", "<token>"], "b": 3}
    require_no_private(without_private({"a": "/home/anna/x and /root/y"}), "here")


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=4),
        st.lists(st.floats(allow_nan=True, width=32), max_size=5),
        max_size=3,
    )
)
def test_samples_round_trip_and_are_deterministic(tmp_path_factory: Any, values: Any) -> None:
    folder = tmp_path_factory.mktemp("samples")
    arrays = {name: np.asarray(items) for name, items in values.items()}
    first = write_samples(folder / "a.npz", arrays)
    second = write_samples(folder / "b.npz", dict(reversed(arrays.items())))
    assert first == second
    back = read_samples(folder / "a.npz")
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_samples_refuse_objects_and_damage(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        write_samples(tmp_path / "a.npz", {"x": np.array([{}])})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="npz"):
        write_samples(tmp_path / "a.csv", {})
    with pytest.raises(UserError, match="missing"):
        read_samples(tmp_path / "a.npz")
    write_samples(tmp_path / "a.npz", {"x": np.arange(100)})
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:300])
    with pytest.raises(UserError, match="cannot read raw samples"):
        read_samples(tmp_path / "a.npz")
