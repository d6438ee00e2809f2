"""A progress bar for people; nothing at all where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    steps: int, done: int, shown: bool = True
) -> Iterator[Callable[[int, float], None]]:
    """Show steps done, loss and remaining time on standard error if it is a terminal.

    Args:
        steps: Steps of the whole run.
        done: Steps done before (a resumed run).
        shown: False keeps quiet whatever standard error is (other ranks).

    Yields:
        `update(step, loss)`.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda _step, _loss: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=steps, completed=done, loss=float("nan"))
        yield lambda step, loss: bar.update(task, completed=step, loss=loss)
