"""Settings of the co-design study; each experiment's are in a module of their own."""

from __future__ import annotations

from collections.abc import Mapping

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.backends.spec import BackendsSpec
from seqlab.studies.codesign.controls.spec import ControlsSpec
from seqlab.studies.codesign.experiment import CollectSpec, Experiment, FactsSpec
from seqlab.studies.codesign.intervention.spec import InterventionSpec
from seqlab.studies.codesign.layouts.spec import LayoutsSpec
from seqlab.studies.codesign.main.spec import MainSpec
from seqlab.studies.codesign.profiles.spec import ProfilesSpec
from seqlab.studies.codesign.quantization.spec import QuantizationSpec
from seqlab.studies.codesign.synthetic.spec import SyntheticSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec


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
    intervention: InterventionSpec = setting("Table 4: layouts where the hit rate is forced.")
    backends: BackendsSpec = setting("Tables 2 and 6: layouts under compilers.")
    profiles: ProfilesSpec = setting("Figure 5: layouts in the simulated caches of devices.")

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The experiments on the workbench, by name."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Experiment)}

    @property
    def claim_tables(self) -> list[str]:
        """Tables that claims are judged by, below `results/<scale>/codesign/`."""
        names = ("quantization", "controls", "synthetic", *self.experiments)
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

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads.

        Raises:
            KeyError: No experiment has this step.
        """
        for own in (self.quantization, self.controls, self.synthetic):
            found = own.step_spec(step, wildcards)
            if found is not None:
                return found
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
