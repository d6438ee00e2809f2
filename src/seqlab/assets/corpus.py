"""Step: a source of texts becomes a corpus folder. One of the steps that may use a network."""

from __future__ import annotations

import shutil
from pathlib import Path

from seqlab.assets.spec import CorpusSpec
from seqlab.data.corpus import first_of_each_split, write_documents
from seqlab.data.datasets_folder import Reading, choose_data_files, folder_documents, licence_of
from seqlab.data.hub import fetch_snapshot
from seqlab.data.sources import Origin, Source, parse_source, write_origin
from seqlab.data.vendored import vendored_documents
from seqlab.provenance.atomic import atomic_folder
from seqlab.provenance.hashing import tree_files
from seqlab.spec import Ins, Out


def corpus(spec: CorpusSpec, *, resource: Ins, out: Out) -> None:
    """Write `documents.parquet` and `source.json` to the folder `out`.

    Args:
        spec: Where the texts are from.
        resource: The vendored folder, for the lineage; what is read is decided by `spec.source`.
        out: Corpus folder.

    Raises:
        UserError: The source is missing, damaged, not reachable or not a data set.
    """
    source = parse_source(spec.source)
    if source.kind == "vendored":
        _vendored(source, spec, out)
    elif source.kind == "path":
        folder = Path(source.name).expanduser()
        origin = Origin(
            source=spec.source,
            licence=licence_of(folder),
            attribution=None,
            revision=None,
            sha256=tree_files(folder) if folder.is_dir() else {},
            rehearsal=False,
            detail={},
        )
        _from_folder(folder, spec, origin, out)
    else:
        _from_hub(source, spec, out)


def _vendored(source: Source, spec: CorpusSpec, out: Path) -> None:
    resource, documents = vendored_documents(source.name)
    with atomic_folder(out) as folder:
        splits = write_documents(folder, first_of_each_split(documents, spec.documents))
        origin = Origin(
            source=str(source),
            licence=resource.licence,
            attribution=resource.attribution,
            revision=None,
            sha256={resource.path.name: resource.sha256},
            rehearsal=False,
            detail={"package": resource.package, "splits": splits},
        )
        write_origin(folder, origin)


def _from_hub(source: Source, spec: CorpusSpec, out: Path) -> None:
    download = out.with_name(f".{out.name}.download")
    snapshot = fetch_snapshot(
        source.name,
        "dataset",
        spec.revision,
        lambda paths: choose_data_files(paths, spec.config),
        download,
    )
    origin = Origin(
        source=spec.source,
        licence=licence_of(download),
        attribution=source.name,
        revision=snapshot.commit,
        sha256=snapshot.sha256,
        rehearsal=snapshot.rehearsal,
        detail={"kind": "dataset"},
    )
    _from_folder(download, spec, origin, out)
    shutil.rmtree(download)


def _from_folder(source: Path, spec: CorpusSpec, origin: Origin, out: Path) -> None:
    reading = Reading(**spec.model_dump(include=set(Reading.__dataclass_fields__)))
    with atomic_folder(out) as folder:
        documents = folder_documents(source, reading)
        splits = write_documents(folder, first_of_each_split(documents, spec.documents))
        origin.detail.update(config=spec.config, layout=spec.layout, splits=splits)
        write_origin(folder, origin)
