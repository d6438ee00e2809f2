"""Settings of the numbered items: which study artefact each figure and table is."""

from __future__ import annotations

from collections.abc import Mapping

from seqlab.spec import Spec, setting


class Item(Spec):
    """One numbered figure or table."""

    study: str = setting("Study that makes it.")
    artefact: str = setting("Name of the artefact inside the study.")


class PlainSpec(Spec):
    """Settings of a step that has none."""


class ScaleSpec(Spec):
    """Settings of a step that depends on the scale alone."""

    scale: str = setting("Scale of the results.")


class ClaimsSpec(Spec):
    """Settings of the step that judges the claims."""

    corpora: dict[str, str] = setting("Model -> corpus that it is measured on.")


class RunConfigSpec(Spec):
    """Settings of the step that writes down all settings."""

    settings: str = setting("Settings of every group, overlays applied, as JSON.")


class PaperSpec(Spec):
    """Numbers of the paper's items."""

    figures: dict[str, Item] = setting("Number -> artefact, figures.")
    tables: dict[str, Item] = setting("Number -> artefact, tables.")

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads."""
        if step == "merge_manifest":
            folder = wildcards.get("scale") or wildcards.get("at") or ""
            return ScaleSpec(scale=folder.rstrip("/") or "laptop")
        return PlainSpec()


SETTINGS = PaperSpec
