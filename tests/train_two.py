"""Three training steps of a tiny seedling; run by `torchrun`, in as many processes as that starts.

train_two.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))


def main(folder: Path) -> None:
    """Train and log into a folder."""
    from penjing.seedling.losses import Objective
    from penjing.seedling.training import Training
    from penjing.train.launch import new_accelerator
    from tiny_seedling import small_batches, small_cache, small_model, small_schedule

    accelerator = new_accelerator(cpu=True)
    rank, world = accelerator.process_index, accelerator.num_processes
    assert world == int(os.environ["WORLD_SIZE"]) == 2
    torch.manual_seed(0)
    schedule = small_schedule(3, look=1)
    training = Training(folder, schedule, Objective(small_model().train()), accelerator)
    speech = small_cache(folder / f"speech-{rank}")
    training.run(small_batches(speech, schedule, rank, world), lambda step, terms: None, workers=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
