"""Whisper's own ways: what its decoder hears while it is measured and taught."""

from __future__ import annotations

import torch


def test_the_decoder_hears_silence_after_the_clip(fresh):
    model = fresh("whisper")
    longest = 2 * model.net.config.max_source_positions
    batch = model.family.probe(model.net, 0)
    clip = torch.randn(1, batch["input_features"].shape[1], longest - 200)
    decoder = next(tower for tower in model.towers if tower.name == "decoder")
    words = batch["decoder_input_ids"]
    found = decoder.run({"input_features": clip, "decoder_input_ids": words})
    silence = clip.min().expand(*clip.shape[:2], 200)
    wanted = model.net(input_features=torch.cat([clip, silence], 2), decoder_input_ids=words).logits
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, decoder.run({"input_features": clip[:, :, :-20], "decoder_input_ids": words}))
