"""Vision-language models and BLIP from checkpoint to answer: compressed, judged, asked; and what they refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache

import pytest
from PIL import Image

from penjing.artifact.manifest import read_manifest
from penjing.scenes.scene import draw, imagine
from tiny_scenes import save_scenes
from tiny_vision_language import save_blip, save_vision_language

QUESTION = "how many red circles are there ?"
METRICS = {
    "smolvlm": {"caption/bleu", "caption/chrf", "vqa/accuracy"},
    "llava": {"caption/bleu", "caption/chrf", "vqa/accuracy"},
    "captioner": {"caption/bleu", "caption/chrf"},
    "answerer": {"vqa/accuracy"},
}
TASKS = {
    "smolvlm": "image-text-to-text",
    "llava": "image-text-to-text",
    "captioner": "image-to-text",
    "answerer": "visual-question-answering",
}
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] if kind in ("llava", "captioner") else []) for kind in TASKS]
"""Every export of a graph takes seconds: a kind with tiles and one that listens stand for all in a quick run."""
SHOP = """
import sys
from penjing.cli.run import run
code = run(sys.argv[1:])
wrong = [name for name in ("torch", "transformers", "onnx", "onnxscript", "datasets") if name in sys.modules]
print(wrong, file=sys.stderr)
sys.exit(code)
"""


def save(kind, folder):
    if kind in ("captioner", "answerer"):
        return save_blip(folder, asks=kind == "answerer")
    return save_vision_language(folder, kind, {"size": {"longest_edge": 64}} if kind == "smolvlm" else None)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return save_scenes(tmp_path_factory.mktemp("data") / "scenes", 8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: save(kind, root / kind) for kind in TASKS}


@pytest.fixture(scope="module")
def artifact(models, scenes, tmp_path_factory):
    """A function from a kind to its artifact after the default recipe, made when it is first asked for."""
    import penjing

    root = tmp_path_factory.mktemp("artifacts")

    @cache
    def made(kind):
        penjing.compress(models[kind], root / kind, data=scenes, goals=["size_bytes<=70%"], threads=1)
        return root / kind

    return made


@pytest.fixture
def picture(tmp_path):
    draw(imagine(1)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_tells_of_task_metrics_and_towers(kind, artifact):
    manifest = read_manifest(artifact(kind))
    assert manifest["task"] == TASKS[kind]
    for side in ("source", "result"):
        shifted = {f"shifted/{name}" for name in (*METRICS[kind], "out_of_range")}
        assert set(manifest[side]["metrics"]) == METRICS[kind] | shifted
        assert manifest[side]["p50_ms"] > 0
    methods = {row["tower"]: row["method"] for row in manifest["coverage"] if row["kind"] == "linear"}
    assert methods["image"] == "static_int8"
    assert methods["decoder"] == "rtn"
    assert "{" not in json.dumps(manifest["settings"].get("prompt", {}).get("segments", []))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", KINDS)
def test_ask_and_caption(kind, engine, artifact, picture, penjing):
    if kind != "answerer":
        (found,) = penjing("caption", artifact(kind), picture, "--engine", engine).json["results"]
        assert list(found) == ["file", "text", "seconds"]
        assert found["text"]
    if kind != "captioner":
        found = penjing("ask", artifact(kind), picture, QUESTION, "--engine", engine).json
        assert found["question"] == QUESTION
        assert found["text"]


def test_text_alone_is_written_on_from(artifact, penjing):
    found = penjing("generate", artifact("smolvlm"), "the red circle", "--max-tokens", 4).json
    assert found["pieces"] <= 4


def test_one_table_for_reading_and_writing(artifact):
    files = {path.name: path.stat().st_size for path in (artifact("smolvlm") / "onnx").iterdir()}
    assert set(files) == {"vision_encoder.onnx", "embed_tokens.onnx", "decoder_model_merged.onnx", "shared.onnx_data"}
    assert files["embed_tokens.onnx"] < files["shared.onnx_data"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_shop_imports_no_workshop(kind, artifact, picture):
    arguments = ["ask", picture, QUESTION] if kind == "answerer" else ["caption", picture]
    verb, *rest = arguments
    command = [sys.executable, "-c", SHOP, verb, str(artifact(kind)), *map(str, rest)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout.strip()


def test_evaluate_agrees_with_the_report(artifact, scenes, penjing):
    found = penjing("evaluate", artifact("smolvlm"), "--data", scenes, "--engine", "onnxruntime").json
    assert found["measures"]["metrics"]["caption/bleu"]["n"] == 4


@pytest.mark.parametrize(
    "method",
    ["gptq", pytest.param("autoround", marks=pytest.mark.slow), pytest.param("awq", marks=pytest.mark.slow)],
)
def test_four_bits_in_the_decoder(method, models, scenes, tmp_path, penjing):
    steps = [
        {
            "method": method,
            "bits": 4,
            "group": 32,
            "towers": ["decoder"],
            **({"steps": 5} if method == "autoround" else {}),
        },
        {"method": "rtn", "bits": 8},
    ]
    (tmp_path / "recipe.yaml").write_text(json.dumps({"version": 1, "steps": steps}))
    ran = penjing(
        "compress", models["llava"], "-o", tmp_path / "out", "--data", scenes, "--recipe", tmp_path / "recipe.yaml",
        "--goal", "size_bytes<=70%",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    bits = {row["bits"] for row in ran.json["coverage"] if row["tower"] == "decoder" and row["kind"] == "linear"}
    assert bits == {5.0}  # and a scale in 32 bits for every 32 of them


FEWER = ("--goal", "size_bytes<=120%", "--format", "onnx", "--format", "checkpoint")


def test_fewer_tokens_of_a_picture(models, scenes, picture, tmp_path, penjing):
    """From the recipe to an answer: the shop writes the prompts that the step made shorter."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: tokens, towers: [connector], keep: 2}]")
    source = shutil.copytree(models["smolvlm"], tmp_path / "source")
    (source / "processor_config.json").write_text(
        json.dumps({"image_seq_len": 4, "processor_class": "SmolVLMProcessor"})
    )
    made = ("compress", source, "-o", tmp_path / "out", "--recipe", recipe, *FEWER)
    said, hint = penjing(*made).check_refused()
    assert said == "tokens lets a picture take fewer tokens, so outputs cannot be compared"
    assert hint == "give --data to judge the task"
    ran = penjing(*made, "--data", scenes)
    assert ran.code == 0, ran.err
    changes = {row["site"]: row["change"] for row in ran.json["coverage"] if row["change"]}
    assert changes == {"model.connector": "4 → 2 tokens"}
    manifest = read_manifest(tmp_path / "out")
    assert manifest["settings"]["prompt"]["image"]["count"] == 2
    assert "merging of tokens" in manifest["checkpoint"]["note"]
    for folder in (tmp_path / "out", tmp_path / "out" / "checkpoint"):
        assert json.loads((folder / "processor_config.json").read_text())["image_seq_len"] == 2
    for engine in ("onnxruntime", "openvino"):
        assert penjing("ask", tmp_path / "out", picture, QUESTION, "--engine", engine).json["text"]
    assert penjing("inspect", tmp_path / "out").code == 0


@pytest.mark.parametrize("keep", [4, 5])
def test_as_many_tokens_as_there_are(keep, models, scenes, tmp_path, penjing):
    (tmp_path / "recipe.yaml").write_text(f"version: 1\nsteps: [{{method: tokens, towers: [connector], keep: {keep}}}]")
    ran = penjing(
        "compress", models["smolvlm"], "-o", tmp_path / "out", "--data", scenes, "--recipe", tmp_path / "recipe.yaml"
    )
    assert f"it gives 4 tokens of a picture: to keep {keep} takes none away" in ran.check_refused()[0]


@pytest.mark.parametrize("goal", ["caption/bleu>=+50", pytest.param("vqa/accuracy>=+0.9", marks=pytest.mark.slow)])
def test_each_task_is_gated_by_itself(goal, models, scenes, tmp_path, penjing):
    ran = penjing(
        "compress", models["llava"], "-o", tmp_path / "out", "--data", scenes, "--recipe", "weights", "--goal", goal
    )
    assert ran.code == 1, ran.err
    assert [one["goal"] for one in ran.json["goals"] if not one["met"]] == [goal]
    shifted = {f"shifted/{name}" for name in METRICS["llava"]}
    assert set(ran.json["result"]["metrics"]) == METRICS["llava"] | shifted
    assert not (tmp_path / "out").exists()


ROWS = {
    "a row without a picture": ({"text": "a red circle"}, "has no image"),
    "a question without an answer": ({"question": "how many ?"}, "has no 'answer'"),
    "nothing said": ({"label": "red"}, "has no 'text'"),
}


def table(folder, row, with_pictures=True):
    """A folder of twenty pictures that all have such a row; without pictures the table alone."""
    lines = []
    for place in range(20):
        Image.new("RGB", (64, 64), (9 * place, 0, 0)).save(folder / f"{place}.png")
        lines.append({**row, "id": str(place), **({"file_name": f"{place}.png"} if with_pictures else {})})
    path = folder / ("metadata.jsonl" if with_pictures else "rows.jsonl")
    told = [{**line, "text": f"{line['text']} {place}"} if "text" in line else line for place, line in enumerate(lines)]
    path.write_text("".join(json.dumps(line) + "\n" for line in told))
    return folder if with_pictures else path


@pytest.mark.parametrize("kind", ["llava", "captioner"])
@pytest.mark.parametrize("case", ROWS)
def test_rows_that_are_for_nothing(case, kind, models, tmp_path, penjing):
    row, message = ROWS[case]
    data = table(tmp_path, row, "text" not in row)
    assert message in penjing("compress", models[kind], "-o", tmp_path / "o", "--data", data).check_refused()[0]


def test_rows_of_the_other_use(models, tmp_path, penjing):
    data = table(tmp_path, {"text": "a red picture"})
    said, hint = penjing("compress", models["answerer"], "-o", tmp_path / "o", "--data", data).check_refused()
    assert said == "no row to judge visual-question-answering by"
    assert hint == "give pictures with a `question` and an `answer`"


REFUSED = {
    "a question that is empty": (["scene.png", " "], "an empty question"),
    "a question that is too long": (["scene.png", "red " * 600], "this model reads 512 at most"),
    "a token of pictures": (["scene.png", "what is <image> ?"], "holds <image>, a token of the model's own"),
    "a picture that is none": (["words.png", QUESTION], "words.png is not an image"),
    "a picture cut short": (["cut.png", QUESTION], "cut.png is cut short"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_ask_refuses(case, artifact, picture, tmp_path, penjing, monkeypatch):
    given, message = REFUSED[case]
    (tmp_path / "words.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:200])
    monkeypatch.chdir(tmp_path)
    assert message in penjing("ask", artifact("smolvlm"), *given).check_refused()[0]


@pytest.mark.slow
def test_a_captioner_does_not_answer(artifact, picture, penjing):
    assert "does not answer questions" in penjing("ask", artifact("captioner"), picture, QUESTION).check_refused()[0]


def test_an_answerer_does_not_caption(artifact, picture, penjing):
    assert "does not write captions" in penjing("caption", artifact("answerer"), picture).check_refused()[0]


def test_a_model_without_its_template_says_what_to_do(models, tmp_path, penjing):
    bare = shutil.copytree(models["smolvlm"], tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    message, hint = penjing("compress", bare, "-o", tmp_path / "out").check_refused()
    assert "no chat_template.jinja" in message
    assert "--format checkpoint" in hint
