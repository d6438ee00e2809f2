"""Fetching from a hub on loopback: what is fetched, and every way in which it can go wrong."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.server import HubServer, Repository, serve
from seqlab.data import hub, network
from seqlab.errors import UserError

MODEL = "someone/tiny"
WEIGHTS = "model.safetensors"
CONTENT = bytes(range(256)) * 64


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    folder = tmp_path / "remote"
    (folder / "sub").mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(CONTENT)
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (folder / "sub" / "notes.txt").write_text("not wanted")
    with serve([Repository("model", MODEL, folder)]) as running:
        _point_to(running.url, monkeypatch)
        yield running


def _point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(network, "_ASKED", {})
    # The library waits a second before it goes on with a cut download.
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def _fetch(folder: Path, revision: str | None = None, name: str = MODEL) -> hub.Snapshot:
    def choose(paths: list[str]) -> list[str]:
        return [path for path in paths if not path.startswith("sub/")]

    return hub.fetch_snapshot(name, "model", revision, choose, folder, waits=(0.0, 0.0))


def test_fetches_the_chosen_files_at_the_newest_commit(server: HubServer, tmp_path: Path) -> None:
    commit = server.repositories["model", MODEL].commit
    snapshot = _fetch(tmp_path / "got")
    assert snapshot.commit == commit
    assert hub.resolve_commit(MODEL, "model") == commit
    assert snapshot.rehearsal
    assert set(snapshot.sha256) == {WEIGHTS, "config.json"}
    assert snapshot.sha256[WEIGHTS] == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "got" / WEIGHTS).read_bytes() == CONTENT
    assert not (tmp_path / "got" / "sub").exists()


def test_a_locked_commit_is_fetched_and_a_wrong_one_refused(
    server: HubServer, tmp_path: Path
) -> None:
    commit = server.repositories["model", MODEL].commit
    assert _fetch(tmp_path / "got", commit).commit == commit
    with pytest.raises(UserError, match=r"no such revision.*hub\.lock\.yaml"):
        _fetch(tmp_path / "other", "0" * 40)


def test_an_unknown_repository_is_named(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hub:someone/absent: no such repository"):
        _fetch(tmp_path / "got", name="someone/absent")
    assert len([r for r in server.requests if "absent" in r[1]]) == 1, "a lost cause was retried"


@pytest.mark.parametrize("reset", [False, True])
def test_a_dropped_connection_is_taken_up_again(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    # What the library has read but not passed on is lost with the connection: 10 MB by default.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    server.faults.cut[WEIGHTS] = [5000, 1, reset]
    snapshot = _fetch(tmp_path / "got")
    assert snapshot.sha256[WEIGHTS] == hashlib.sha256(CONTENT).hexdigest()
    spans = server.downloads(f"/content/model/{MODEL}/{WEIGHTS}")
    assert len(spans) == 2
    if not reset:
        assert spans == [None, "bytes=5000-"], "the download started again instead of going on"


def test_a_connection_that_always_drops_ends_in_one_message(
    server: HubServer, tmp_path: Path
) -> None:
    server.faults.cut[WEIGHTS] = [0, 1000, False]
    with pytest.raises(UserError, match=f"hub:{MODEL}: not reachable after 3 attempts"):
        _fetch(tmp_path / "got")
    assert not (tmp_path / "got" / WEIGHTS).exists()


def test_finished_files_survive_a_failed_fetch(server: HubServer, tmp_path: Path) -> None:
    server.faults.status[WEIGHTS] = [403]
    with pytest.raises(UserError):
        _fetch(tmp_path / "got")
    before = len(server.downloads(f"{MODEL}/resolve/{_commit(server)}/config.json"))
    assert _fetch(tmp_path / "got").sha256.keys() == {WEIGHTS, "config.json"}
    assert len(server.downloads(f"{MODEL}/resolve/{_commit(server)}/config.json")) == before == 1


def test_a_passing_server_error_is_retried(server: HubServer, tmp_path: Path) -> None:
    server.faults.status[WEIGHTS] = [503]
    assert _fetch(tmp_path / "got").sha256[WEIGHTS] == hashlib.sha256(CONTENT).hexdigest()


def test_one_wrong_content_is_fetched_again(server: HubServer, tmp_path: Path) -> None:
    server.faults.corrupt[WEIGHTS] = 1
    assert _fetch(tmp_path / "got").sha256[WEIGHTS] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("file", "hash_name"), [(WEIGHTS, "sha256"), ("config.json", "git object")]
)
def test_content_that_stays_wrong_is_refused(
    server: HubServer, tmp_path: Path, file: str, hash_name: str
) -> None:
    server.faults.corrupt[file] = 1000
    with pytest.raises(UserError, match=rf"{file}: expected {hash_name}.*found") as caught:
        _fetch(tmp_path / "got")
    repository = server.repositories["model", MODEL]
    expected = repository.sha256(file) if file == WEIGHTS else repository.blob(file)
    assert expected in str(caught.value)
    assert not (tmp_path / "got" / file).exists()


def test_no_network_ends_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        _point_to(f"http://127.0.0.1:{probe.getsockname()[1]}", monkeypatch)
        with pytest.raises(UserError, match=r"not reachable.*check the network"):
            _fetch(tmp_path / "got")


def test_a_file_name_that_leaves_the_folder_is_refused(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Repository.entry
    monkeypatch.setattr(
        Repository, "entry", lambda self, path: original(self, path) | {"path": "../../escaped"}
    )
    with pytest.raises(UserError, match="leaves its folder"):
        _fetch(tmp_path / "got")


def test_an_offline_user_is_obeyed(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        _fetch(tmp_path / "got")
    assert server.requests == []


def test_a_process_set_offline_reaches_the_hub_only_inside_a_fetch(
    server: HubServer, tmp_path: Path
) -> None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    network.set_offline()
    assert _fetch(tmp_path / "got").commit == _commit(server)
    assert constants.HF_HUB_OFFLINE and constants.HF_HUB_DISABLE_TELEMETRY
    with pytest.raises(OfflineModeIsEnabled):
        HfApi(endpoint=server.url).repo_info(MODEL)


def _commit(server: HubServer) -> str:
    return server.repositories["model", MODEL].commit
