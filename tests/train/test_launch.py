"""Who is who among the processes that a launcher started."""

from __future__ import annotations

import pytest

from penjing.train.launch import processes, rank


@pytest.mark.parametrize(
    ("told", "wanted"),
    [({}, (0, 1)), ({"RANK": "1", "WORLD_SIZE": "3"}, (1, 3)), ({"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),
     ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, (2, 4))],
)  # fmt: skip
def test_torchrun_and_mpirun_tell_it_each_in_its_way(told, wanted, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert (rank(), processes()) == wanted
