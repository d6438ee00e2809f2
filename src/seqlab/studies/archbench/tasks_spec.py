"""Settings of the diagnostic tasks: what is trained on, and every condition that is tested.

Conditions repeat only what differs from the training condition, which is tested always.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from seqlab.spec import Spec, setting

# The condition under which a task is trained, and tested like all others.
TRAINED = "trained"

Range = tuple[int, int]


class _Condition(Spec):
    """What all laws have."""

    @property
    @abstractmethod
    def level(self) -> int:
        """What makes the task harder the more there is of it."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The law in a few characters, for axes and tables."""


class MqarCondition(_Condition):
    """A law of multi-query associative recall."""

    vocab_size: int = setting("Ids; 0 is neither key nor value.", ge=4)
    length: int = setting("Tokens of a sequence.", unit="tokens", ge=4)
    pairs: int = setting("Pairs of key and value; every key is asked once.", ge=1)
    filler: Literal["nonkey", "uniform", "zero"] = setting(
        "What stands where nothing is asked.", source="archbench.md 2.4, 9", default="nonkey"
    )
    power: float = setting(
        "Exponent of the law of query slots; 1 spreads queries evenly.",
        source="archbench.md 2.2",
        default=0.01,
        gt=0,
    )
    keys: Range | None = setting(
        "First id of a key and one past the last; null for the lower half.", default=None
    )
    values: Range | None = setting(
        "First id of a value and one past the last; null for the upper half.", default=None
    )
    subset: int | None = setting(
        "Ids that one sequence draws from; null for all.", default=None, ge=2
    )

    @property
    def level(self) -> int:
        """Pairs."""
        return self.pairs

    @property
    def label(self) -> str:
        """Length and pairs, and whether queries are spread evenly."""
        return f"T{self.length} kv{self.pairs}" + (" even" if self.power == 1 else "")


class MarkedMqarCondition(_Condition):
    """The original study's layout of associative recall, with a marker after each query."""

    pairs: int = setting("Pairs of key and value.", ge=1)
    queries: int = setting("Queries, drawn with replacement.", ge=1)

    @property
    def level(self) -> int:
        """Pairs."""
        return self.pairs

    @property
    def label(self) -> str:
        """Pairs."""
        return f"kv{self.pairs}"


class FlipFlopCondition(_Condition):
    """A law of flip-flop language."""

    length: int = setting("Tokens of a sequence.", unit="tokens", ge=4)
    ignored: float = setting("Probability that an instruction is ignored.", default=0.8, ge=0, lt=1)
    registers: int = setting("Independent bits.", default=1, ge=1)

    @property
    def level(self) -> int:
        """Registers."""
        return self.registers

    @property
    def label(self) -> str:
        """Length, share of ignored instructions, and registers where there are several."""
        several = f" k{self.registers}" if self.registers > 1 else ""
        return f"T{self.length} p{self.ignored:g}{several}"


class KnapsackCondition(_Condition):
    """A law of knapsack instances: uniform integers, both ends included."""

    items: int = setting("Items.", ge=1)
    capacity: Range = setting("Least and largest capacity.", default=(10, 20))
    weight: Range = setting("Least and largest weight.", default=(1, 10))
    value: Range = setting("Least and largest value.", default=(1, 10))

    @property
    def level(self) -> int:
        """Items."""
        return self.items

    @property
    def label(self) -> str:
        """Items and the largest value."""
        return f"n{self.items} v{self.value[1]}"


class KnapsackIdsSpec(Spec):
    """Largest numbers that have an id; those of the largest condition tested."""

    capacity: int = setting("Largest capacity.", ge=1)
    weight: int = setting("Largest weight.", ge=1)
    value: int = setting("Largest value.", ge=1)
    answer: int = setting("Largest best value.", ge=1)


class _Task(Spec):
    """What all tasks have; their laws are those of the concrete ones."""

    steps: int = setting("Training steps at most.", unit="steps", ge=1)
    batch: int = setting("Sequences of a training step.", unit="sequences", ge=1)
    stop_at: float | None = setting(
        "Training stops when three evaluations in a row reach this accuracy; null never stops.",
        source="archbench.md 8",
        default=None,
        gt=0,
        le=1,
    )
    valid: int = setting("Validation sequences.", unit="sequences", default=512, ge=1)
    sequences: int = setting("Test sequences of every condition.", unit="sequences", ge=1)
    more: dict[str, int] = setting(
        "Condition -> test sequences, where they are others.", default={}
    )
    rate_of: str | None = setting(
        "Task whose learning rates are used; null chooses them on this one.", default=None
    )

    @model_validator(mode="before")
    @classmethod
    def _repeat_training(cls, values: Any) -> Any:
        """Complete conditions and mixture by the training law, and test that one, too."""
        if not isinstance(values, Mapping) or not isinstance(values.get("train"), Mapping):
            return values
        train = values["train"]

        def full(law: Any) -> Any:
            return {**train, **law} if isinstance(law, Mapping) else law

        tests, mixture = values.get("tests", {}), values.get("mixture", ())
        if not isinstance(tests, Mapping) or not isinstance(mixture, list | tuple):
            return values
        tests = {TRAINED: {}, **tests}
        return {
            **values,
            "tests": {name: full(law) for name, law in tests.items()},
            "mixture": [full(law) for law in mixture],
        }

    @model_validator(mode="after")
    def _conditions_exist(self) -> _Task:
        if self.tests[TRAINED] != self.train:  # type: ignore[attr-defined]
            raise ValueError(f"tests.{TRAINED} is the law of `train`, and no other")
        unknown = sorted({*self.more} - {*self.tests})  # type: ignore[attr-defined]
        if unknown:
            raise ValueError(f"more: no condition {unknown[0]!r} is tested")
        return self

    def laws(self) -> list[Any]:
        """Return every law that is drawn from."""
        return [self.train, *self.mixture, *self.tests.values()]  # type: ignore[attr-defined]

    def tested(self, condition: str) -> int:
        """Return the test sequences of a condition."""
        return self.more.get(condition, self.sequences)


_MIXTURE = "Laws of training steps, one of them at random each; that of `train` where empty."
_TESTS = "Condition -> law."


class MqarTask(_Task):
    """Multi-query associative recall."""

    kind: Literal["mqar"] = setting("The task.")
    train: MqarCondition = setting("What is validated on, and trained on without a mixture.")
    mixture: tuple[MqarCondition, ...] = setting(_MIXTURE, default=())
    tests: dict[str, MqarCondition] = setting(_TESTS, default={})
    frozen_embeddings: bool = setting(
        "Whether embeddings stay random directions.", source="archbench.md 5.2", default=False
    )


class MarkedMqarTask(_Task):
    """Associative recall in the original study's layout."""

    kind: Literal["marked_mqar"] = setting("The task.")
    train: MarkedMqarCondition = setting("What is validated on, and trained on.")
    mixture: tuple[MarkedMqarCondition, ...] = setting(_MIXTURE, default=())
    tests: dict[str, MarkedMqarCondition] = setting(_TESTS, default={})


class FlipFlopTask(_Task):
    """Flip-flop language."""

    kind: Literal["flip_flop"] = setting("The task.")
    train: FlipFlopCondition = setting("What is validated on, and trained on without a mixture.")
    mixture: tuple[FlipFlopCondition, ...] = setting(_MIXTURE, default=())
    tests: dict[str, FlipFlopCondition] = setting(_TESTS, default={})


class KnapsackTask(_Task):
    """0-1 knapsack."""

    kind: Literal["knapsack"] = setting("The task.")
    train: KnapsackCondition = setting("What is validated on, and trained on without a mixture.")
    mixture: tuple[KnapsackCondition, ...] = setting(_MIXTURE, default=())
    tests: dict[str, KnapsackCondition] = setting(_TESTS, default={})
    ids: KnapsackIdsSpec = setting("Which numbers have an id.")


Task = Annotated[
    MqarTask | MarkedMqarTask | FlipFlopTask | KnapsackTask, Field(discriminator="kind")
]
