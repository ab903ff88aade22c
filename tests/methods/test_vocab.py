"""A smaller vocabulary on whole models: same texts, same answers over what is kept, and files that say the same."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import penjing
from engine_rack import bits_of
from penjing.artifact.checkpoint import load_network, save_network
from penjing.errors import DataError, ModelError, PenjingError, RecipeError
from penjing.methods import Aids, Gptq, make
from penjing.models.family import Model
from penjing.models.open import open_model, refreshed
from penjing.recipe import parse_recipe
from penjing.values import Note
from tiny_models import IMAGE, TEXT, save
from tiny_tokenizers import CORPUS, KINDS, wrapped

READ = " ".join(CORPUS[:3])
"""What calibration data holds: the English lines."""


def build(folder: Path, kind: str, architecture: str, config: str, **given: Any) -> Path:
    """A tiny network with a tokenizer that was learned, as transformers saves both."""
    made = KINDS[kind]()
    rows = made.get_vocab_size()
    names = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]"}
    special = {f"{key}_token_id": made.token_to_id(token) for key, token in names.items()}
    sizes = {**TEXT, "vocab_size": rows, **special}
    kind_of = getattr(transformers, config)
    if architecture == "CLIPModel":
        settings = kind_of(text_config=sizes, vision_config=IMAGE, projection_dim=16)
    else:
        settings = kind_of(**{**sizes, **given})
    save(architecture, settings, folder)
    wrapped(made).save_pretrained(folder)
    return folder


KEYS = {"num_key_value_heads": 1}
MADE = {
    "llama": ("byte_bpe", "LlamaForCausalLM", "LlamaConfig", KEYS),
    "llama_tied": ("byte_bpe", "LlamaForCausalLM", "LlamaConfig", {**KEYS, "tie_word_embeddings": True}),
    "gpt2": ("byte_bpe", "GPT2LMHeadModel", "GPT2Config", {}),
    "bert": ("wordpiece", "BertModel", "BertConfig", {}),
    "bert_masked": ("wordpiece", "BertForMaskedLM", "BertConfig", {}),
    "roberta": ("unigram", "RobertaModel", "RobertaConfig", {}),
    "clip": ("ending_bpe", "CLIPModel", "CLIPConfig", {}),
}  # fmt: skip


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Any:
    """The folder of a tiny model with its tokenizer; do not write to it."""
    root, found = tmp_path_factory.mktemp("vocabularies"), {}

    def folder(name: str) -> Path:
        if name not in found:
            kind, architecture, config, given = MADE[name]
            found[name] = build(root / name, kind, architecture, config, **given)
        return found[name]

    return folder


def words_of(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def tokens_of(folder: Path, text: str, most: int = 48) -> torch.Tensor:
    return torch.tensor([words_of(folder)(text)["input_ids"][:most]])


def trim(folder: Path, scratch: Path, **given: Any) -> tuple[Model, list[Note]]:
    """Trim to the English lines, or to what is asked for; the model as the pipeline would go on with it."""
    model = open_model(str(folder))
    batch = {"input_ids": tokens_of(folder, READ, 999)}
    method = make("vocab", given)
    notes = list(method.apply_all(model.towers, [batch], Aids(model, [], 0, scratch)))
    return refreshed(model, folder=method.folder(model, scratch)), notes


@torch.no_grad()
def answer(net: Any, ids: torch.Tensor) -> torch.Tensor:
    if hasattr(net, "get_text_features"):
        found = net.get_text_features(input_ids=ids)
        return found if isinstance(found, torch.Tensor) else found.pooler_output
    found = net(input_ids=ids)
    return found.logits if hasattr(found, "logits") else found.last_hidden_state


@pytest.mark.parametrize("name", MADE)
def test_kept_tokens_answer_as_before(name, made, tmp_path):
    source = open_model(str(made(name)))
    text = CORPUS[1]
    before = answer(source.net, tokens_of(made(name), text))
    model, notes = trim(made(name), tmp_path)
    ids = tokens_of(model.folder, text)
    after = answer(model.net, ids)
    old, new = words_of(made(name)), words_of(model.folder)
    assert new.convert_ids_to_tokens(ids[0].tolist()) == old.tokenize(text, add_special_tokens=True)[: ids.shape[1]]
    if after.shape[-1] != before.shape[-1]:  # logits: the columns of kept tokens
        kept = new.convert_ids_to_tokens(list(range(after.shape[-1])))
        before = before[..., old.convert_tokens_to_ids(kept)]
    assert torch.allclose(after, before, atol=1e-5)
    assert any(note.change for note in notes)


@pytest.mark.parametrize("name", MADE)
def test_rows_notes_and_configurations_fit(name, made, tmp_path):
    model, notes = trim(made(name), tmp_path)
    tokenizer = words_of(model.folder)
    count = len(tokenizer)
    for note in notes:
        site = next(tower.sites[note.site] for tower in model.towers if note.site in tower.sites)
        assert site.weight.shape[0] == count
        assert note.size_bytes == 4 * site.weight.numel()
        assert note.change.endswith(f"→ {count} × {site.weight.shape[1]}")
    assert {note.site for note in notes} == {
        name for tower in model.towers for name, site in tower.sites.items() if site.weight.shape[0] == count
    }
    text = getattr(model.config, "text_config", model.config)
    assert text.vocab_size == count
    for key, word in (("pad", "[PAD]"), ("bos", "[CLS]"), ("eos", "[SEP]")):
        assert getattr(text, f"{key}_token_id") == tokenizer.convert_tokens_to_ids(word)
    if name == "clip":
        assert model.net.text_model.eos_token_id == tokenizer.convert_tokens_to_ids("[SEP]")


@pytest.mark.parametrize("name", ["llama_tied", "bert_masked", "clip"])
def test_saved_and_opened_again_it_is_the_same(name, made, tmp_path):
    model, _ = trim(made(name), tmp_path / "scratch")
    save_network(model.net, model.folder, tmp_path / "kept")
    ids = tokens_of(tmp_path / "kept", CORPUS[0])
    wanted = answer(model.net, ids)
    assert torch.equal(answer(load_network(tmp_path / "kept"), ids), wanted)
    opened = open_model(str(tmp_path / "kept"))  # a plain checkpoint: transformers alone opens it
    assert torch.equal(answer(opened.net, ids), wanted)
    again, _ = trim(made(name), tmp_path / "again")
    assert bits_of(again.net) == bits_of(model.net)


def test_it_writes_the_same_text_where_all_needed_tokens_are_kept(made, tmp_path):
    folder = made("llama_tied")
    source = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    words = words_of(folder)
    prompt = tokens_of(folder, "the quick")
    written = source.generate(prompt, max_new_tokens=12, do_sample=False)[0]
    (tmp_path / "needed.txt").write_text(words.decode(written, skip_special_tokens=True), encoding="utf8")
    model = open_model(str(folder))
    needed = [{"input_ids": written[None]}]
    method = make("vocab", {"file": str(tmp_path / "needed.txt")})
    list(method.apply_all(model.towers, needed, Aids(model, [], 0, tmp_path)))
    after = words_of(tmp_path / "vocabulary")
    assert len(after) < len(words)
    found = model.net.generate(tokens_of(tmp_path / "vocabulary", "the quick"), max_new_tokens=12, do_sample=False)[0]
    assert after.decode(found) == words.decode(written)


@pytest.mark.parametrize(
    ("languages", "stays", "goes"),
    [(["en", "de"], "quick", "лисица"), (["ru"], "лисица", "quick"), (["de", "ru"], "реки", "")],
)
def test_languages_are_told_by_their_letters(languages, stays, goes, made, tmp_path):
    model, _ = trim(made("bert"), tmp_path, languages=languages, corpus=False)
    before, after = words_of(made("bert")), words_of(model.folder)
    assert after.tokenize(stays) == before.tokenize(stays)
    assert len(after.tokenize(goes)) == len(goes)  # spelled by its letters, but still read
    assert len(after) < len(before) or not goes


def test_rare_tokens_and_small_shares_go(made, tmp_path):
    counts = {}
    for name, given in (("all", {}), ("least", {"least": 2}), ("coverage", {"coverage": 0.5})):
        model, _ = trim(made("bert"), tmp_path / name, **given)
        counts[name] = model.config.vocab_size
    assert counts["least"] < counts["all"]
    assert counts["coverage"] < counts["all"]


def test_positions_counted_from_behind_the_padding_stay(made, tmp_path):
    model, _ = trim(made("roberta"), tmp_path)
    before = open_model(str(made("roberta")))
    assert model.net.embeddings.padding_idx == before.net.embeddings.padding_idx


def test_whisper_keeps_languages_tasks_and_what_is_suppressed(whisper_folder, tmp_path):
    model = open_model(str(whisper_folder))
    seen = {"decoder_input_ids": torch.tensor([[1, 2, 4, 6, 8, 11]])}  # the prompt, "the", "one"
    method = make("vocab", {})
    list(method.apply_all(model.towers, [seen], Aids(model, [], 0, tmp_path)))
    after = refreshed(model, folder=tmp_path / "vocabulary")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(after.folder)
    found = after.settings["generation"]
    assert {name: f"<|{name}|>" for name in found["languages"]} == {
        name: tokenizer.convert_ids_to_tokens(token) for name, token in found["languages"].items()
    }
    assert tokenizer.convert_ids_to_tokens(found["start"]) == "<|startoftranscript|>"
    assert tokenizer.convert_ids_to_tokens(found["no_timestamps"]) == "<|notimestamps|>"
    assert tokenizer.convert_ids_to_tokens(list(found["tasks"].values())) == [f"<|{task}|>" for task in found["tasks"]]
    assert after.net.proj_out.weight is after.net.model.decoder.embed_tokens.weight
    written = json.loads((after.folder / "generation_config.json").read_text())
    assert written["decoder_start_token_id"] == found["start"]
    assert after.config.vocab_size == len(tokenizer) == 10


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"corpus": False}, "nothing would be kept"),
        ({"languages": ["xx"]}, "no language called 'xx'"),
        ({"coverage": 0}, "coverage"),
        ({"least": 0}, "least"),
    ],
)
def test_bad_settings_are_named(given, words):
    with pytest.raises(RecipeError, match=words):
        make("vocab", given)


def test_what_cannot_be_trimmed_is_refused_before_any_work(folder_of, made, fresh, tmp_path):
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        make("vocab", {}).refuse(fresh("clip"), ())
    with pytest.raises(RecipeError, match="cannot read nowhere"):
        make("vocab", {"file": "nowhere.txt"}).refuse(open_model(str(made("bert"))), ())
    small = save("BertModel", transformers.BertConfig(**TEXT), tmp_path / "small")
    wrapped(KINDS["wordpiece"]()).save_pretrained(small)
    with pytest.raises(ModelError, match="its table has 96 rows"):
        make("vocab", {}).refuse(open_model(str(small)), ())
    model = open_model(str(made("bert")))
    with pytest.raises(DataError, match="vocab needs calibration data"):
        list(make("vocab", {}).apply_all(model.towers, [], Aids(model, [], 0, tmp_path)))
    recipe = parse_recipe("{version: 1, steps: [{method: rtn}, {method: vocab}]}", "mine")
    with pytest.raises(RecipeError, match="vocab after rtn: weights are rounded already"):
        recipe.check(model.towers)


RECIPE = """version: 1
steps:
  - {method: vocab}
  - {method: gptq, bits: 4, group: 32}
goals: ["size_bytes<=80%", "perplexity<=+30%"]
"""


@pytest.fixture(scope="session")
def sentences(tmp_path_factory) -> Path:
    """Forty texts of the English words, one a line."""
    dice, words = random.Random(0), READ.split()
    path = tmp_path_factory.mktemp("data") / "sentences.jsonl"
    lines = [{"text": " ".join(dice.choices(words, k=dice.randint(12, 24)))} for _ in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def hashes(folder: Path) -> dict[str, str]:
    skipped = {"penjing.json", "report.json", "report.html", "README.md"}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped
    }


def test_a_run_that_broke_goes_on_and_ends_alike(made, sentences, tmp_path, monkeypatch):
    """Later steps read data by the new tokenizer; graphs, tokenizer and settings of the artifact fit each other."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    given: dict[str, Any] = {"data": sentences, "recipe": str(recipe), "threads": 1, "formats": ["onnx", "checkpoint"]}
    given["quick"] = True
    found = penjing.compress(made("llama_tied"), tmp_path / "whole", **given)
    row = next(row for row in found["coverage"] if "vocab" in row["method"])
    count = int(row["change"].rpartition("→")[2].split()[0])
    runner = penjing.load(tmp_path / "whole")
    logits = runner.logits(runner.tokens(CORPUS[0]))
    assert logits.shape[1] == count == json.loads((tmp_path / "whole/config.json").read_text())["vocab_size"]
    assert max(runner.tokens(CORPUS[0])) < count
    assert not (tmp_path / "whole/notes.json").exists()

    with monkeypatch.context() as broken:
        broken.setattr(Gptq, "apply", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises((KeyboardInterrupt, PenjingError)):
            penjing.compress(made("llama_tied"), tmp_path / "again", **given)
    assert any((tmp_path / ".again.penjing").glob("steps/*/notes.json"))
    with monkeypatch.context() as kept:
        kept.setattr("penjing.methods.vocab.Vocab.apply_all", lambda *given: pytest.fail("the finished step was kept"))
        penjing.compress(made("llama_tied"), tmp_path / "again", resume=True, **given)
    assert hashes(tmp_path / "again") == hashes(tmp_path / "whole")


def test_without_data_there_is_nothing_to_judge_by(made, sentences, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: vocab, languages: [en]}]\n")
    with pytest.raises(RecipeError, match="outputs cannot be compared"):
        penjing.compress(made("llama_tied"), tmp_path / "out", calibration=sentences, recipe=str(recipe), threads=1)
