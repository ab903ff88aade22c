"""The seedling that ships, damaged and healed within a minute: it gets measurably better on rows it never saw."""

from __future__ import annotations

import torch

from penjing.calibrate.proxy import Proxy
from penjing.calibrate.runner import reference_runner
from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.evaluate.interval import measure_all
from penjing.judge.quality import judge
from penjing.methods import Aids, make
from penjing.models.open import open_model

JUDGED = 100


@torch.no_grad()
def metrics(model, rows) -> dict[str, float]:
    scores = judge(reference_runner(model), rows, lambda done, total: None).scores
    return {name: metric.value for name, metric in measure_all(scores).items()}


def test_a_damaged_seedling_heals(tmp_path):
    model, parts = open_model("seedling"), split(load_dataset("scenes"))
    items, held, unseen = (
        [*model.family.batches(model.settings, model.folder, rows)]
        for rows in (parts.calibrate, parts.select[:25], parts.judge[:60])
    )
    proxy = Proxy(model, unseen)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tower in model.towers:
            for site in tower.sites.values():
                if site.kind == "linear":
                    noise = torch.randn(site.weight.shape, generator=source)
                    site.weight.add_(0.35 * site.weight.std() * noise)
    damaged, lost = metrics(model, parts.judge[:JUDGED]), proxy.lost()
    method = make("distill", {"steps": 30, "rate": 2e-3, "check_every": 10, "average": 0.8, "task_share": 0.3})
    notes = list(method.apply_all(model.towers, items, Aids(model, held, 0, tmp_path)))
    healed, left = metrics(model, parts.judge[:JUDGED]), proxy.lost()
    assert len(notes) > 80
    assert left < 0.6 * lost
    assert healed["speech/wer"] < 0.7 * damaged["speech/wer"]
    assert healed["vqa/accuracy"] >= damaged["vqa/accuracy"]
