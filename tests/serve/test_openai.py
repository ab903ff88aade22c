"""The official client of the OpenAI API, on real artifacts: what it gets is what the runner says."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile

import penjing
from http_server import listening
from penjing.apps.confidence import builtin_folder
from penjing.apps.search import Embedding, index
from penjing.index.choice import Wanted
from penjing.runtimes.sampling import Style
from penjing.scenes.scene import draw, imagine
from penjing.serve.limits import Limits
from penjing.serve.shelf import Goods, open_shelf
from tiny_speech import voice


def client(running, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    draw(imagine(seed)).save(file, "PNG")
    return file.getvalue()


def uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def wav(seconds: float = 1.5, rate_hz: int = 8000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds, rate_hz), rate_hz, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def runner(seedling_artifact):
    return penjing.load(seedling_artifact, engine="onnxruntime", threads=1, warm_up=False)


@pytest.fixture(scope="module")
def name(seedling_artifact):
    return seedling_artifact.name


def test_models_tell_what_they_can(seedling_server, name):
    (model,) = client(seedling_server).models.list().data
    assert model.id == name
    about = model.model_extra["penjing"]
    assert about["can"] == ["embed", "ask", "caption", "transcribe"]
    assert about["modalities"] == ["image", "text", "audio"]
    assert about["size_bytes"] > 10_000
    assert client(seedling_server).models.retrieve(name).id == name


@pytest.mark.parametrize("form", ["float", "base64"])
def test_vectors_of_texts_pictures_and_sounds(form, seedling_server, runner, name):
    given = ["two red circles", uri(png(1)), uri(wav(), "audio/wav"), "a star"]
    found = client(seedling_server).embeddings.create(model=name, input=given, encoding_format=form)
    vectors = [one.embedding for one in found.data]
    if form == "base64":
        vectors = [np.frombuffer(base64.b64decode(one), "<f4") if isinstance(one, str) else one for one in vectors]
    wanted = [
        runner.embed(["two red circles"], "text"),
        runner.embed([png(1)], "image"),
        runner.embed([wav()], "audio"),
        runner.embed(["a star"], "text"),
    ]
    np.testing.assert_allclose(np.array(vectors), np.concatenate(wanted), atol=1e-5)
    assert [one.index for one in found.data] == [0, 1, 2, 3]


def test_fewer_dimensions_have_length_one(seedling_server, name):
    found = client(seedling_server).embeddings.create(model=name, input="a star", dimensions=4)
    assert len(found.data[0].embedding) == 4
    assert np.linalg.norm(found.data[0].embedding) == pytest.approx(1.0, abs=1e-5)


def asked(picture: bytes, *parts: dict) -> list:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri(picture)}}, *parts]}]


def whole(text: str) -> str:
    """Without the marks of characters that were never finished, which no stream sends."""
    return text.rstrip("\ufffd")


def test_questions_about_pictures(seedling_server, runner, name):
    chat = client(seedling_server).chat.completions
    question = {"type": "text", "text": "how many circles are there?"}
    found = chat.create(model=name, messages=asked(png(2), question))
    assert found.choices[0].message.content == whole(runner.ask(png(2), question["text"]))
    spoken = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav()).decode(), "format": "wav"}}
    heard = chat.create(model=name, messages=asked(png(2), spoken))
    assert heard.choices[0].message.content == whole(runner.ask(png(2), wav()))
    captioned = chat.create(model=name, messages=asked(png(2)))
    assert captioned.choices[0].message.content == whole(runner.caption(png(2)))
    pieces = [*chat.create(model=name, messages=asked(png(2), question), stream=True)]
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == found.choices[0].message.content
    assert pieces[-1].choices[0].finish_reason == found.choices[0].finish_reason
    cut = chat.create(model=name, messages=asked(png(2), question), max_tokens=1)
    assert cut.choices[0].finish_reason == "length"


def test_transcripts_in_every_format(seedling_server, runner, name):
    transcribe = client(seedling_server).audio.transcriptions
    wanted = runner.transcribe(wav()).text
    assert transcribe.create(model=name, file=("a.wav", wav())).text == wanted
    assert transcribe.create(model=name, file=("a.wav", wav()), response_format="text").strip() == wanted
    told = transcribe.create(model=name, file=("a.wav", wav()), response_format="verbose_json")
    assert (told.text, round(float(told.duration), 2)) == (wanted, 1.5)
    assert told.segments[0].end == pytest.approx(1.5, abs=0.01)
    if wanted:
        assert "00:00:01,500" in transcribe.create(model=name, file=("a.wav", wav()), response_format="srt")


def test_a_transcript_streams_window_by_window(seedling_server, runner, name):
    transcribe = client(seedling_server).audio.transcriptions
    long = runner.longest_s * 2.5
    wanted = [part.text for part in runner.transcribe(wav(long)).segments if part.text]
    *deltas, done = transcribe.create(model=name, file=("a.wav", wav(long)), stream=True)
    assert [one.type for one in deltas] == ["transcript.text.delta"] * len(wanted)
    assert "".join(one.delta for one in deltas) == done.text == " ".join(wanted)
    assert (done.type, len(wanted) > 1) == ("transcript.text.done", True)
    with pytest.raises(openai.BadRequestError, match="a stream is json or text, not srt"):
        transcribe.create(model=name, file=("a.wav", wav()), response_format="srt", stream=True)
    with pytest.raises(openai.BadRequestError, match="not a sound"):
        transcribe.create(model=name, file=("a.wav", b"RIFF"), stream=True)


@pytest.fixture(scope="module")
def language_server(language_artifact, tmp_path_factory):
    place = tmp_path_factory.mktemp("served") / "smol"
    shutil.copytree(language_artifact, place)
    document = json.loads((place / "penjing.json").read_text(encoding="utf8"))
    document["settings"]["chat"] = {
        "begin": "", "answer": " ", "again": " ", "end": " it", "system": ["", " "], "special": True,
    }  # fmt: skip
    (place / "penjing.json").write_text(json.dumps(document), encoding="utf8")
    limits = Limits(tokens=40)
    with listening(open_shelf(Goods([str(place)], engine="onnxruntime", threads=1), limits), limits) as running:
        yield running, penjing.load(place, engine="onnxruntime", threads=1, warm_up=False)


def test_conversations_at_once_and_piece_by_piece(language_server):
    running, runner = language_server
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "the river"}]
    chat = client(running).chat.completions
    found = chat.create(model="smol", messages=messages, max_tokens=12)
    from penjing.data.chat import Message

    said = [Message(one["role"], one["content"]) for one in messages]
    assert found.choices[0].message.content == "".join(runner.generate(said, Style(12)))
    pieces = [*chat.create(model="smol", messages=messages, max_tokens=12, stream=True,
                           stream_options={"include_usage": True})]  # fmt: skip
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == found.choices[0].message.content
    assert pieces[-1].usage == found.usage
    assert found.usage.prompt_tokens == len(runner.prompt_tokens(said))
    assert 0 < found.usage.completion_tokens <= 12
    one, again, other = (
        chat.create(model="smol", messages=messages, max_tokens=12, temperature=1.5, seed=seed) for seed in (1, 1, 2)
    )
    assert one.choices[0].message.content == again.choices[0].message.content
    assert one.choices[0].message.content != other.choices[0].message.content
    stopped = chat.create(model="smol", messages=messages, max_tokens=12, stop=text[3:6])
    assert text[3:6] not in stopped.choices[0].message.content
    long = chat.create(model="smol", messages=messages, max_tokens=100_000)
    assert long.usage.completion_tokens <= 40
    full = [{"role": "user", "content": "the river " * 29}]  # the context has room for a few tokens more
    cut = chat.create(model="smol", messages=full)
    assert (cut.choices[0].finish_reason, 0 < cut.usage.completion_tokens < 12) == ("length", True)


def test_the_support_desk_is_a_model_among_others():
    limits, knowledge = Limits(), str(builtin_folder() / "knowledge")
    with listening(open_shelf(Goods([], knowledge=knowledge), limits), limits) as running:
        assert client(running).models.list().data[0].model_extra["penjing"]["can"] == ["assist"]
        chat = client(running).chat.completions
        asked = [{"role": "user", "content": "what are your shipping costs"}]
        found = chat.create(model="assistant", messages=asked).choices[0].message.content
        assert "[1] shipping.md#Shipping costs" in found
        asked += [{"role": "assistant", "content": found}, {"role": "user", "content": "who won the cup in 1974"}]
        assert "hand you over" in chat.create(model="assistant", messages=asked).choices[0].message.content
        pieces = [*chat.create(model="assistant", messages=asked[:1], stream=True)]
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == found
        with pytest.raises(openai.BadRequestError, match="does not see"):
            chat.create(model="assistant", messages=[{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": uri(png(1))}}]}])  # fmt: skip


def test_search_over_the_index(seedling_artifact, tmp_path):
    for seed in range(5):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{seed}.png").write_bytes(png(seed))
    runner = penjing.load(seedling_artifact, engine="onnxruntime", threads=1, warm_up=False)
    index(Embedding(runner, seedling_artifact), [str(tmp_path / "photos")], str(tmp_path / "idx"), Wanted())
    limits = Limits()
    with listening(
        open_shelf(Goods([], str(tmp_path / "idx"), engine="onnxruntime", threads=1), limits), limits
    ) as running:
        found = running.post("/v1/search", {"query": uri(png(3)), "k": 2}).json["data"]
        assert [found[0]["name"], len(found)] == ["3.png", 2]
        assert found[0]["score"] == pytest.approx(1.0, abs=1e-2)
        assert "path" not in found[0]
        small = running.get(f"/v1/search/items/{found[0]['id']}")
        assert (small.status, small.headers["content-type"], small.body[:2]) == (200, "image/jpeg", b"\xff\xd8")
        for number in ("999", "0", "-1"):
            assert running.get(f"/v1/search/items/{number}").status == 404
        assert running.get("/v1/search/items/..%2f..%2fetc%2fpasswd").status in (400, 404)
        assert running.post("/v1/search", {"query": " "}).status == 400
        Path(tmp_path / "photos" / "3.png").unlink()
        assert running.get(f"/v1/search/items/{found[0]['id']}").status == 404
    assert found[1]["score"] <= found[0]["score"]


def test_an_index_is_searched_by_its_artifact_wherever_that_is_by_now(seedling_artifact, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(png(1))
    was, now = tmp_path / "was", tmp_path / "now"
    shutil.copytree(seedling_artifact, was)
    runner = penjing.load(was, engine="onnxruntime", threads=1, warm_up=False)
    index(Embedding(runner, was), [str(tmp_path / "photos")], str(tmp_path / "idx"), Wanted())
    was.rename(now)
    goods = Goods([str(now)], str(tmp_path / "idx"), engine="onnxruntime", threads=1)
    with listening(open_shelf(goods, Limits()), Limits()) as running:
        assert [one["id"] for one in running.get("/v1/models").json["data"]] == ["now"]
        assert running.post("/v1/search", {"query": uri(png(1))}).json["data"][0]["name"] == "1.png"


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        (lambda c, name: c.embeddings.create(model="other", input="x"), 404, "no model called 'other'"),
        (lambda c, name: c.embeddings.create(model=name, input=""), 400, "empty text"),
        (lambda c, name: c.embeddings.create(model=name, input=[]), 400, "0 inputs"),
        (lambda c, name: c.embeddings.create(model=name, input=["x"] * 2049), 400, "2049 inputs"),
        (lambda c, name: c.embeddings.create(model=name, input="x", dimensions=10**6), 400, "dimensions|numbers"),
        (lambda c, name: c.embeddings.create(model=name, input=uri(b"rubbish")), 400, "not an image"),
        (lambda c, name: c.embeddings.create(model=name, input="data:image/png;base64,%%"), 400, "no base64"),
        (lambda c, name: c.embeddings.create(model=name, input="data:text/csv;base64,aGk="), 400, "only data URIs"),
        (lambda c, name: c.embeddings.create(model=name, input="data:image/png;base64 ,aGk="), 400, "only data URIs"),
        (lambda c, name: c.chat.completions.create(model=name, messages=[]), 400, "messages"),
        (lambda c, name: c.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}]), 400,
         "does not chat"),
        (lambda c, name: c.chat.completions.create(model=name, messages=[{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]), 400, "only data URIs"),
        (lambda c, name: c.chat.completions.create(model=name, messages=[{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]}]), 400, "only data URIs"),
        (lambda c, name: c.audio.transcriptions.create(model=name, file=("a.wav", b"RIFF")), 400, "not a sound"),
        (lambda c, name: c.audio.transcriptions.create(model=name, file=("a.wav", wav()), language="xx"), 400, "xx"),
        (lambda c, name: c.audio.transcriptions.create(model=name, file=("a.wav", wav()), response_format="doc"), 400,
         "no format"),
    ],
)  # fmt: skip
def test_mistakes_have_a_status_and_a_sentence(call, status, said, seedling_server, name):
    with pytest.raises(openai.APIStatusError, match=said) as caught:
        call(client(seedling_server), name)
    assert caught.value.status_code == status
    assert caught.value.body["message"]
