"""Targets of the command line: some of the study's run records, by name."""

from __future__ import annotations

from collections.abc import Sequence

from seqlab.errors import UserError
from seqlab.spec import Spec, setting


class SubsetSpec(Spec):
    """Some run records of one experiment."""

    cells: tuple[str, ...] | None = setting("Cells; all of them if not given.", default=None)
    seeds: int | None = setting(
        "Runs per cell, seeds 0 to n - 1; those that the scale has, if it has fewer or n is not "
        "given.",
        default=None,
        ge=1,
    )

    def chosen(self, runs: Sequence[str], where: str) -> list[str]:
        """Return the runs asked for.

        Args:
            runs: CELL/seed-N of every run of the experiment.
            where: Key of these settings, for error messages.

        Raises:
            UserError: The experiment has no such cell at this scale.
        """
        parted = [(run, *run.rsplit("/seed-", 1)) for run in runs]
        known = list(dict.fromkeys(cell for _, cell, _ in parted))
        cells = known if self.cells is None else self.cells
        for cell in cells:
            if cell not in known:
                raise UserError(
                    f"{where}.cells: no cell {cell!r} among {', '.join(known)}",
                    where="config/studies/codesign.yaml",
                    fix="name one of these, or restore the setting that removed the cell",
                )
        return [
            run
            for run, cell, seed in parted
            if cell in cells and (self.seeds is None or int(seed) < self.seeds)
        ]


class TargetSpec(Spec):
    """What one name on the command line asks for."""

    runs: dict[str, SubsetSpec] = setting("Experiment -> its run records.", min_length=1)
