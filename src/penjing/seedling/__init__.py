"""The seedling: a small model of our own that sees, reads, hears and writes, and how it is trained.

Importing this package registers it with transformers: `AutoModel`, `AutoConfig` and `AutoProcessor` then open its
folder.
"""

from penjing.extras import workshop

with workshop():
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor

    from penjing.seedling.configuration import SeedlingConfig
    from penjing.seedling.model import SeedlingModel, SeedlingOutput
    from penjing.seedling.processor import SeedlingFeatureExtractor, SeedlingProcessor

AutoConfig.register(SeedlingConfig.model_type, SeedlingConfig, exist_ok=True)
AutoModel.register(SeedlingConfig, SeedlingModel, exist_ok=True)
AutoFeatureExtractor.register(SeedlingConfig, SeedlingFeatureExtractor, exist_ok=True)
AutoProcessor.register(SeedlingConfig, SeedlingProcessor, exist_ok=True)

MODEL = SeedlingModel

__all__ = ["SeedlingConfig", "SeedlingFeatureExtractor", "SeedlingModel", "SeedlingOutput", "SeedlingProcessor"]
