"""Where training runs: here, or in as many processes as a launcher started; and what they tell one another."""

from __future__ import annotations

import atexit
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import get_int_from_env
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather

PATIENCE = timedelta(days=7)
"""How long processes wait for one another: one of them may ask a teacher for hours."""


def new_accelerator(cpu: bool = False, bfloat16: bool = False) -> Accelerator:
    """How a loop runs: here, or in as many processes as its launcher started; with `bfloat16`, products in that type.

    While one part learns alone, processes must not wait for gradients of the others.
    """
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True), InitProcessGroupKwargs(timeout=PATIENCE)]
    made = Accelerator(cpu=cpu, mixed_precision="bf16" if bfloat16 else "no", kwargs_handlers=handlers)
    if distributed.is_initialized():
        atexit.register(_leave)
    return made


def _leave() -> None:
    """Let go of the others before Python ends: threads that still listen to them can abort a process that is done."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def processes() -> int:
    """How many processes a launcher (torchrun, accelerate, which may start mpirun) started; 1 without one."""
    return int(get_int_from_env(["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"], 1))


def rank() -> int:
    """Which of them this is."""
    return int(get_int_from_env(["RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK"], 0))


def agreed(number: float) -> float:
    """What the first process says, for all: what each measures by itself may differ."""
    if not distributed.is_initialized():
        return number
    told = torch.tensor(number, dtype=torch.float64)
    distributed.broadcast(told, 0)
    return float(told)


def agreed_folder(own: Path) -> Path:
    """The folder of the first process, where this one can see it; else its own, as on another machine."""
    if not distributed.is_initialized():
        return own
    told: list[str] = [str(own)]
    distributed.broadcast_object_list(told, 0)
    first = Path(told[0])
    return first if first.is_dir() else own


def multiplies_bfloat16() -> bool:
    """Whether the chip has instructions for it; without them bfloat16 is slower than float32 (`muon`)."""
    chip = torch.cpu.get_capabilities()
    return bool(chip.get("avx512_bf16") or chip.get("amx_bf16"))


def gathered(values: Tensor) -> Tensor:
    """The rows of all processes, which hold equally many; gradients flow back to each."""
    return torch.cat(all_gather(values)) if distributed.is_initialized() else values


def mean_over_all(summed: Tensor, count: Tensor) -> Tensor:
    """A mean over the items of all processes, as each process's share: their average is the mean."""
    if distributed.is_initialized():
        count = count.clone().float()
        distributed.all_reduce(count)
        count /= distributed.get_world_size()
    return summed / count.clamp(min=1)
