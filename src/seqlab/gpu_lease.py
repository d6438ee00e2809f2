"""Give each job of this machine GPUs of its own.

Snakemake counts GPUs but tells no job which ones are its own. A lease holds one lock file per
device for as long as the job runs and sets CUDA_VISIBLE_DEVICES; the kernel frees the lock of a
killed job. Devices that a scheduler has assigned already are the only ones leased from.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from seqlab.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
# What a scheduler that gives each job its own devices sets beside CUDA_VISIBLE_DEVICES.
_ASSIGNED = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "GPU_DEVICE_ORDINAL", "PBS_GPUFILE")
_POLL_S = 0.2
_QUERY_TIMEOUT_S = 20


@contextmanager
def lease(
    count: int,
    *,
    wait_s: float = 24 * 3600,
    folder: Path | None = None,
    devices: Sequence[str] | None = None,
) -> Iterator[list[str]]:
    """Hold `count` devices while the body runs and make only them visible.

    With `count` 0 nothing is leased or hidden: the step itself decides about its device. Devices
    of a job under slurm or PBS belong to that job alone and are used as they are.

    Args:
        count: Number of devices.
        wait_s: How long to wait for devices that other jobs hold, in seconds.
        folder: Where the lock files lie; one place per user of the machine unless told.
        devices: Ids to lease from; asked of the environment and of nvidia-smi unless told.

    Raises:
        UserError: There are fewer devices than asked for, or the wait was too long.
    """
    if count < 0:
        raise ValueError(f"cannot lease {count} devices")
    if count == 0:
        yield []
        return
    before = os.environ.get(VISIBLE)
    known = list(devices) if devices is not None else visible_devices()
    if len(known) < count:
        shown = f" ({VISIBLE}={before!r})" if before is not None else ""
        raise UserError(
            f"{count} GPU(s) asked for, {len(known)} visible{shown}",
            fix="run with `--config device=cpu`, or ask for fewer with `--resources gpu=N`",
        )
    if devices is None and before and any(os.environ.get(name) for name in _ASSIGNED):
        yield known
        return
    held = _acquire(known, count, wait_s, folder or lock_folder())
    os.environ[VISIBLE] = ",".join(held)
    try:
        yield list(held)
    finally:
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before
        for handle in held.values():
            os.close(handle)


def visible_devices() -> list[str]:
    """Return the ids of the devices this process may use: indices or UUIDs, as CUDA reads them.

    CUDA_VISIBLE_DEVICES decides where it is set, even if empty; CUDA ignores what follows the
    first invalid id, so does this.
    """
    text = os.environ.get(VISIBLE)
    if text is None:
        return _installed()
    found: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", part) or part in found:
            break
        found.append(part)
    return found


def lock_folder() -> Path:
    """Return the folder of the lock files: the same for all projects of one user and machine."""
    return Path(tempfile.gettempdir()) / f"seqlab-gpus-{os.getuid()}"


def _installed() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_QUERY_TIMEOUT_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise UserError(
            f"nvidia-smi does not answer: {error}", fix="check the driver with `seqlab doctor`"
        ) from None
    return [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()]


def _acquire(known: Sequence[str], count: int, wait_s: float, folder: Path) -> dict[str, int]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    while True:
        held: dict[str, int] = {}
        # All or nothing: a job that keeps one device while it waits for a second can block
        # another that does the same.
        for device in known:
            handle = _try(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', device)}.lock")
            if handle is not None:
                held[device] = handle
            if len(held) == count:
                return held
        for handle in held.values():
            os.close(handle)
        if time.monotonic() >= deadline:
            raise UserError(
                f"no {count} free GPU(s) among {', '.join(known)} within {wait_s:g} s",
                where=str(folder),
                fix="let the jobs that hold them end, or lower `--resources gpu=N`",
            )
        time.sleep(_POLL_S)


def _try(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
