"""Flip-flop language: write a bit, ignore others, read the bit that was written last.

The language of Liu et al. 2023: pairs of an instruction and a bit. The first instruction writes,
the last one reads, the others are independent: ignored with a probability, else written or read
with equal ones. Bits are fair coins but for those behind a read, which equal the bit last written.
Asked is the bit behind each read. With several registers each instruction names one, between itself
and its bit, and the first instructions write all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqlab.data.diagnostic import IGNORE, Batch, Ids
from seqlab.errors import UserError

WRITE, READ, SKIP, ZERO, ONE = range(5)
FLOOR = 0.5


@dataclass(frozen=True)
class FlipFlopLaw:
    """What sequences are drawn from.

    Attributes:
        length: Tokens of a sequence: two per instruction, three with several registers.
        ignored: Probability that an instruction is to be ignored.
        registers: Independent bits.
    """

    length: int
    ignored: float = 0.8
    registers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.ignored < 1:
            raise UserError(f"ignored {self.ignored} is no probability below 1")
        if self.registers < 1:
            raise UserError("there must be at least one register")
        if self.length % self.width or self.instructions < self.registers + 1:
            raise UserError(
                f"length {self.length} is no {self.width} tokens for each of at least "
                f"{self.registers + 1} instructions"
            )

    @property
    def width(self) -> int:
        """Tokens of an instruction."""
        return 2 if self.registers == 1 else 3

    @property
    def instructions(self) -> int:
        """Instructions of a sequence."""
        return self.length // self.width

    @property
    def vocab_size(self) -> int:
        """Five ids, and one per register where there are several."""
        return 5 if self.registers == 1 else 5 + self.registers

    @property
    def expected_reads(self) -> float:
        """Expected queries of a sequence."""
        return 1 + (self.instructions - self.registers - 1) * (1 - self.ignored) / 2


def draw_flip_flop(law: FlipFlopLaw, count: int, rng: np.random.Generator) -> Batch:
    """Draw sequences; `facts["gap"]` is the distance in tokens from a read back to its bit."""
    shape = (count, law.instructions)
    active = (1 - law.ignored) / 2
    operations = rng.choice([WRITE, READ, SKIP], size=shape, p=[active, active, law.ignored])
    registers = rng.integers(law.registers, size=shape)
    first = np.argsort(rng.random((count, law.registers)), axis=1)
    operations[:, : law.registers], registers[:, : law.registers] = WRITE, first
    operations[:, -1] = READ
    bits = rng.integers(2, size=shape)
    written = _last_write(operations, registers, law.registers)
    reads = operations == READ
    bits = np.where(reads, np.take_along_axis(bits, written, 1), bits)

    ids = np.empty((count, law.length), np.int64)
    ids[:, 0 :: law.width] = operations
    if law.registers > 1:
        ids[:, 1 :: law.width] = 5 + registers
    ids[:, law.width - 1 :: law.width] = ZERO + bits
    labels, gap = np.full_like(ids, IGNORE), np.full_like(ids, -1)
    labels[:, law.width - 2 :: law.width] = np.where(reads, ZERO + bits, IGNORE)
    back = law.width * (np.arange(shape[1]) - written) - 1
    gap[:, law.width - 2 :: law.width] = np.where(reads, back, -1)
    return Batch(ids, labels, {"gap": gap})


def automaton_answers(law: FlipFlopLaw, input_ids: Ids) -> Ids:
    """Return (B, T) the bit last written to the register at hand: right for every query.

    It goes through the instructions one after the other with nothing but the registers, unlike
    what draws the sequences.
    """
    operations = input_ids[:, 0 :: law.width]
    registers = np.zeros_like(operations)
    if law.registers > 1:
        registers = input_ids[:, 1 :: law.width] - 5
    bits = input_ids[:, law.width - 1 :: law.width]
    answers = np.full_like(input_ids, ZERO)
    rows = np.arange(len(input_ids))
    held = np.full((len(input_ids), law.registers), ZERO)
    for step, register in enumerate(registers.T):
        writes = operations[:, step] == WRITE
        held[rows[writes], register[writes]] = bits[writes, step]
        answers[:, step * law.width + law.width - 2] = held[rows, register]
    return answers


def _last_write(operations: Ids, registers: Ids, count: int) -> Ids:
    """Return for each instruction the latest one, not after it, that wrote to its register."""
    places = np.arange(operations.shape[1])
    last = np.zeros_like(operations)
    for register in range(count):
        own = registers == register
        writes = np.where(own & (operations == WRITE), places, 0)
        last = np.where(own, np.maximum.accumulate(writes, axis=1), last)
    return last
