"""Settings of the co-design study; each experiment's are in a module of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import StringConstraints, model_validator

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.ablations.spec import AblationsSpec
from seqlab.studies.codesign.backends.spec import BackendsSpec
from seqlab.studies.codesign.controls.spec import ControlsSpec
from seqlab.studies.codesign.counters.spec import CountersSpec
from seqlab.studies.codesign.experiment import CollectSpec, Experiment, FactsSpec
from seqlab.studies.codesign.intervention.spec import InterventionSpec
from seqlab.studies.codesign.layouts.spec import LayoutsSpec
from seqlab.studies.codesign.main.spec import MainSpec
from seqlab.studies.codesign.masks.spec import MasksSpec
from seqlab.studies.codesign.pareto.spec import ParetoSpec
from seqlab.studies.codesign.paths.spec import PathsSpec
from seqlab.studies.codesign.profiles.spec import ProfilesSpec
from seqlab.studies.codesign.quantization.spec import QuantizationSpec
from seqlab.studies.codesign.sweeps.spec import SweepsSpec
from seqlab.studies.codesign.synthetic.spec import SyntheticSpec
from seqlab.studies.codesign.targets import TargetSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

TargetName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class CodesignSpec(Spec):
    """Everything that decides a number of the co-design study."""

    quantization: QuantizationSpec = setting(
        "Figure 2: the order of quantisation and layout permutation."
    )
    controls: ControlsSpec = setting("Both controls of what a layout can change.")
    synthetic: SyntheticSpec = setting("Figure 3: hit rate of a walk over a community graph.")
    workbench: WorkbenchSpec = setting("What the experiments below share.")
    main: MainSpec = setting("Table 1, and what is read off its runs.")
    layouts: LayoutsSpec = setting("Mechanism and mediation: many layouts of one function.")
    sweeps: SweepsSpec = setting("Figures 1, 4, 7b and bandwidth: sweeps of one quantity.")
    ablations: AblationsSpec = setting("Tables 9 to 13 and 16: one choice changed at a time.")
    masks: MasksSpec = setting("Learned masks (HDS), their controls, and what each costs.")
    pareto: ParetoSpec = setting("Figure 6 and Table 7: latency against quality.")
    paths: PathsSpec = setting("Path dependence: tiles pruned before or after a layout.")
    intervention: InterventionSpec = setting("Table 4: layouts where the hit rate is forced.")
    backends: BackendsSpec = setting("Tables 2 and 6: layouts under compilers.")
    profiles: ProfilesSpec = setting("Figure 5: layouts in the simulated caches of devices.")
    counters: CountersSpec = setting("Profiles of single arms by Nsight Compute.")
    targets: dict[TargetName, TargetSpec] = setting(
        "Names on the command line -> some of the run records, and what is drawn from them alone.",
        default={},
    )

    @model_validator(mode="after")
    def _targets_name_experiments(self) -> CodesignSpec:
        known = sorted(self._with_cells)
        for target, spec in self.targets.items():
            for experiment in spec.runs:
                if experiment not in known:
                    raise ValueError(
                        f"targets.{target}.runs.{experiment}: no experiment {experiment!r} among "
                        f"{', '.join(known)}"
                    )
        return self

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The experiments on the workbench, by name."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Experiment)}

    @property
    def claim_tables(self) -> list[str]:
        """Tables that claims are judged by, below `results/<scale>/codesign/`."""
        names = ("quantization", "controls", "synthetic", "masks", *self.experiments)
        return [f"{name}/statistics.csv" for name in names]

    def experiment_of(self, artefact: str) -> str:
        """Return the experiment that a figure or table of the workbench is drawn from.

        Raises:
            KeyError: There is none.
        """
        for name, experiment in self.experiments.items():
            if artefact in (*experiment.figures, *experiment.tables):
                return name
        raise KeyError(artefact)

    def records_of(self, target: str) -> list[str]:
        """Return the run records of a target, below `results/<scale>/codesign/`.

        Raises:
            UserError: It names a cell that there is not at this scale.
        """
        return [
            f"{experiment}/runs/{run}/record.json"
            for experiment, runs in self._chosen(target).items()
            for run in runs
        ]

    def drawn_from(self, target: str) -> dict[str, set[str]]:
        """Return the artefacts (`figures`, `tables`) whose records a target has all of.

        Raises:
            UserError: It names a cell that there is not at this scale.
        """
        complete = [
            self._with_cells[name]
            for name, runs in self._chosen(target).items()
            if runs == self._with_cells[name].runs()
        ]
        drawn: dict[str, set[str]] = {"figures": set(), "tables": set()}
        for experiment in complete:
            if isinstance(experiment, Experiment):
                drawn["figures"].update(experiment.figures)
                drawn["tables"].update(experiment.tables)
            else:
                drawn["figures"].add("quantization_order")
                drawn["tables"].add("quantization_order")
        return drawn

    @property
    def _with_cells(self) -> dict[str, Experiment | QuantizationSpec]:
        return {"quantization": self.quantization, **self.experiments}

    def _chosen(self, target: str) -> dict[str, list[str]]:
        return {
            name: subset.chosen(self._with_cells[name].runs(), f"targets.{target}.runs.{name}")
            for name, subset in self.targets[target].runs.items()
        }

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads.

        Raises:
            KeyError: No experiment has this step.
        """
        for own in (self.quantization, self.controls, self.synthetic, self.masks):
            found = own.step_spec(step, wildcards)
            if found is not None:
                return found
        if step in ("profile_arm", "call_arm"):
            profile = self.counters.step_spec(self.workbench, wildcards)
            return profile if step == "profile_arm" else profile.call()
        verb, _, name = step.partition("_")
        if step in ("collect_records", "state_facts"):
            return self._shared_step(step, wildcards)
        if verb in ("run", "analyse"):
            experiment = self.experiments[name]
            if verb == "analyse":
                return experiment.analyse_spec()
            return experiment.run_spec(self.workbench, wildcards["cell"], int(wildcards["seed"]))
        if verb in ("draw", "tabulate"):
            experiment = self.experiments[self.experiment_of(name)]
            return experiment.draw_spec(name, wildcards["scale"])
        raise KeyError(step)

    def _shared_step(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        if step == "collect_records":
            return CollectSpec(runs=tuple(self.experiments[wildcards["experiment"]].runs()))
        experiment = self.experiments[self.experiment_of(wildcards["artefact"])]
        return FactsSpec(
            scale=wildcards["scale"],
            seeds=experiment.seeds,
            facts=experiment.facts(self.workbench),
        )


SETTINGS = CodesignSpec
