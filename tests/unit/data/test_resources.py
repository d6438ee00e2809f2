from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from seqlab.data.resources import RESOURCES, load_resource, resource_names
from seqlab.errors import UserError


@pytest.mark.parametrize("name", resource_names())
def test_every_resource_has_its_recorded_hash_a_licence_text_and_no_address(name: str) -> None:
    resource = load_resource(name)
    folder = resource.path.parent
    assert hashlib.sha256(resource.path.read_bytes()).hexdigest() == resource.sha256
    assert (folder / "LICENSE").is_file() or (folder / "NOTICE").is_file()
    fields = yaml.safe_load((folder / "source.yaml").read_text())
    assert fields["name"] == name
    assert "://" not in (folder / "source.yaml").read_text()
    assert {path.name for path in folder.iterdir()} <= {
        resource.path.name,
        "LICENSE",
        "NOTICE",
        "source.yaml",
    }


def test_the_vendored_corpora_are_all_there() -> None:
    assert set(resource_names()) >= {
        "gpt_neox_tokenizer",
        "movie_sentiment",
        "sotu",
        "wiki_leads",
    }


def test_a_flipped_byte_is_refused_with_both_hashes_and_the_way_back(tmp_path: Path) -> None:
    shutil.copytree(RESOURCES / "movie_sentiment", tmp_path / "movie_sentiment")
    resource = load_resource("movie_sentiment", tmp_path)
    content = bytearray(resource.path.read_bytes())
    content[1000] ^= 1
    resource.path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError) as caught:
        resource.read()
    message = str(caught.value)
    assert resource.sha256 in message and found in message
    assert f"git checkout -- {resource.path}" in message
    resource.path.unlink()
    with pytest.raises(UserError, match=r"missing.*git checkout"):
        resource.read()


def test_the_advice_for_a_file_of_the_checkout_is_relative_to_it() -> None:
    resource = load_resource("sotu")
    broken = type(resource)(**vars(resource) | {"sha256": "0" * 64})
    with pytest.raises(UserError, match=r"git checkout -- resources/sotu/sotu\.jsonl\.xz"):
        broken.read()


@pytest.mark.parametrize("name", ["absent", "../sotu", ""])
def test_an_unknown_resource_lists_those_there_are(name: str) -> None:
    with pytest.raises(UserError, match=r"no vendored resource.*movie_sentiment"):
        load_resource(name)


def test_an_incomplete_description_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "source.yaml").write_text("name: odd\nfile: odd.xz\n")
    with pytest.raises(UserError, match="sha256: missing"):
        load_resource("odd", tmp_path)
