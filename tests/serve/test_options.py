"""Options of the OpenAI API: honoured, or refused by name, or ignored because they change no answer."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from openai.types.audio import TranscriptionSegment, TranscriptionVerbose
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.create_embedding_response import CreateEmbeddingResponse

from penjing.data.languages import language_code
from penjing.errors import DataError
from penjing.runtimes.transcription import SPEECH_FILTER, Segment, Transcription
from tiny_runners import Answerer, Captioner, Slow

HI = [{"role": "user", "content": "hi there"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def client(running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(int(seconds * 16000), 0.1), 16000, format="WAV")
    return file.getvalue()


def chat(running, **more: Any):
    return running.post("/v1/chat/completions", {"model": "model", "messages": HI, "max_tokens": 2, **more})


class Hears:
    """Hears what it is asked to do: the task and the language."""

    task = "speech-seq2seq"
    sampling_rate_hz = 16000
    tells_times = True

    def __init__(self, *tasks: str, knows_languages: bool = True) -> None:
        self.settings: dict[str, Any] = {}
        self.tasks = tasks
        self.knows_languages = knows_languages

    def check_language(self, language):
        if language not in (None, "en", "zh"):
            raise DataError(f"this model does not know the language {language!r}")

    def transcribing(self, samples, language, times=False, task="transcribe", speech_filter=SPEECH_FILTER):
        seconds = samples.size / 16000
        text = f"{task} {language}" + ("" if speech_filter.vad_filter else " unfiltered")
        guessed = (language or "zh") if self.knows_languages else None
        yield Transcription(text, guessed, seconds, (Segment(0, seconds, text, guessed, (7, 8), -0.5, 0.25),))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tools", [TOOL]), ("tool_choice", "required"), ("tool_choice", {"type": "function"}),
        ("functions", [{"name": "f"}]), ("function_call", {"name": "f"}), ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}), ("logprobs", True),
        ("top_logprobs", 3), ("n", 2), ("n", 0), ("logit_bias", {"1": 5}), ("frequency_penalty", 0.5),
        ("presence_penalty", -1), ("modalities", ["text", "audio"]), ("audio", {"voice": "a", "format": "wav"}),
        ("web_search_options", {}), ("verbosity", "low"), ("reasoning_effort", "high"), ("top_k", 5),
        ("max_token", 5), ("stream_options", {"include_usage": True}), ("x" * 100_000, 1),
    ],
)  # fmt: skip
def test_what_would_change_an_answer_is_refused_by_name(option, value, serving):
    answer = chat(serving(Slow(0.0)), **{option: value})
    assert answer.status == 400
    assert answer.json["error"]["param"] == option[:64]
    assert option[:64] in answer.json["error"]["message"]
    assert len(answer.body) < 2500


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tools", []), ("tools", None), ("tool_choice", "none"), ("response_format", {"type": "text"}),
        ("logprobs", False), ("n", 1), ("logit_bias", {}), ("frequency_penalty", 0.0), ("presence_penalty", 0),
        ("modalities", ["text"]), ("user", "me"), ("metadata", {"a": "b"}), ("store", True), ("service_tier", "auto"),
        ("parallel_tool_calls", True), ("seed", 3), ("stop", ["x"]), ("stream", False), ("stream_options", None),
        ("prompt_cache_key", "a"), ("safety_identifier", "b"), ("prediction", {"type": "content", "content": "a"}),
    ],
)  # fmt: skip
def test_what_changes_none_is_let_through(option, value, serving):
    assert chat(serving(Slow(0.0)), **{option: value}).status == 200


def test_messages_and_streams_have_options_too(serving):
    running = serving(Slow(0.0))
    called = {"role": "assistant", "content": "x", "tool_calls": [{"id": "1", "type": "function"}]}
    answer = chat(running, messages=[*HI, called, *HI])
    assert (answer.status, answer.json["error"]["param"]) == (400, "messages.1.tool_calls")
    assert chat(running, messages=[{**HI[0], "name": "Anna"}]).status == 200
    hidden = chat(running, stream=True, stream_options={"include_obfuscation": True})
    assert (hidden.status, hidden.json["error"]["param"]) == (400, "stream_options.include_obfuscation")
    for path, body in (("embeddings", {"model": "model", "input": "x"}), ("search", {"query": "x"})):
        answer = running.post(f"/v1/{path}", {**body, "inputs": 1})
        assert (answer.status, answer.json["error"]["param"]) == (400, "inputs"), path


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": 3}, "messages"), ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages.0.content"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"), ({"messages": ["x"]}, "messages.0"),
        ({"stop": [1]}, "stop"), ({"temperature": "hot"}, "temperature"), ({"stream_options": 1}, "stream_options"),
    ],
)  # fmt: skip
def test_errors_name_fields_and_nothing_of_the_code(body, param, serving):
    answer = chat(serving(Slow(0.0)), **body)
    assert answer.status == 400
    assert answer.json["error"]["param"].startswith(param)
    for word in ("list[", "function-", "whole", "constrained", "Text", "Part", "Said", "Value error", "penjing"):
        assert word not in answer.body.decode(), word
    assert not set(answer.json["error"]["param"]) & set("[](), ")


def test_usage_is_in_every_answer_and_in_the_last_piece(serving):
    picture = {"role": "user", "content": [
        {"type": "text", "text": "how many?"},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="}},
    ]}  # fmt: skip
    for runner, messages in ((Slow(0.0), HI), (Answerer(), [picture]), (Captioner(), [picture])):
        create = client(serving(runner)).chat.completions.create
        usage = create(model="model", messages=messages, max_tokens=2).usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        pieces = [*create(model="model", messages=messages, max_tokens=2, stream=True,
                          stream_options={"include_usage": True})]  # fmt: skip
        assert pieces[-1].usage == usage
        assert [piece.usage for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert client(serving(Slow(0.0))).embeddings.create(model="model", input=["a b", "c"]).usage.prompt_tokens == 3


def test_answers_have_the_types_that_the_client_declares(serving):
    running = serving(Slow(0.0))
    whole = ChatCompletion.model_validate(chat(running).json, strict=True)
    assert whole.choices[0].message.content == "a a "
    stream = chat(running, stream=True, stream_options={"include_usage": True}).body.decode()
    lines = [json.loads(line.removeprefix("data: ")) for line in stream.strip().split("\n\n")[:-1]]
    pieces = [ChatCompletionChunk.model_validate(line, strict=True) for line in lines]
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "a a "
    embedded = running.post("/v1/embeddings", {"model": "model", "input": ["x"] * 40}).json
    assert len(CreateEmbeddingResponse.model_validate(embedded, strict=True).data) == 40


def heard(running, path: str = "transcriptions", **fields: Any):
    create = getattr(client(running).audio, path).create
    return create(model="model", file=("a.wav", wav(1)), **fields)


@pytest.mark.parametrize(
    ("given", "code"),
    [("en", "en"), ("EN", "en"), ("English", "en"), ("en-US", "en"), ("en_GB", "en"), ("zh-Hant-TW", "zh"),
     ("Mandarin", "zh"), ("chinese", "zh"), ("auto", None), ("", None), (" en ", "en")],
)  # fmt: skip
def test_languages_as_people_write_them(given, code, serving):
    assert language_code(given) == code
    assert heard(serving(Hears("transcribe")), language=given).text == f"transcribe {code}"


def test_languages_that_are_none_are_refused_as_they_were_given(serving):
    assert language_code("Klingon") == "Klingon"
    assert language_code(None) is None
    with pytest.raises(openai.BadRequestError, match="'Klingon'"):
        heard(serving(Hears("transcribe")), language="Klingon")


def test_a_segment_has_the_fields_of_the_api(serving):
    (segment,) = heard(serving(Hears("transcribe")), response_format="verbose_json").segments
    assert TranscriptionSegment.model_validate(segment.model_dump(), strict=True) == segment
    assert (segment.tokens, segment.avg_logprob, segment.no_speech_prob, segment.seek) == ([7, 8], -0.5, 0.25, 0)
    assert segment.compression_ratio == pytest.approx(len("transcribe None") / len(zlib.compress(b"transcribe None")))


def test_the_voice_filter_can_be_turned_off(serving):
    running = serving(Hears("transcribe"))
    assert heard(running, extra_body={"vad_filter": False}).text == "transcribe None unfiltered"
    assert heard(running, extra_body={"vad_filter": True}).text == "transcribe None"
    with pytest.raises(openai.BadRequestError):
        heard(running, extra_body={"vad_filter": "perhaps"})


def test_translations_are_of_models_that_translate(serving):
    running = serving(Hears("transcribe", "translate"))
    assert heard(running, "translations").text == "translate None"
    told = heard(running, "translations", response_format="verbose_json")
    assert (told.text, told.language) == ("translate None", "en")
    assert client(running).models.list().data[0].model_extra["penjing"]["can"] == ["transcribe", "translate"]
    with pytest.raises(openai.BadRequestError, match="does not translate"):
        heard(serving(Hears("transcribe")), "translations")
    with pytest.raises(openai.BadRequestError, match="no option"):
        heard(running, "translations", extra_body={"language": "de"})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "Penjing"}, "prompt"), ({"temperature": 0.7}, "temperature"),
        ({"include": ["logprobs"]}, "include"),
        ({"timestamp_granularities": ["word"], "response_format": "verbose_json"}, "timestamp_granularities"),
        ({"timestamp_granularities": ["segment"]}, "timestamp_granularities"),
        ({"timestamp_granularities": ["year"], "response_format": "verbose_json"}, "timestamp_granularities"),
        ({"chunking_strategy": {"type": "server_vad"}}, "chunking_strategy"), ({"extra_body": {"hot": "x"}}, "hot"),
    ],
)  # fmt: skip
def test_what_would_change_a_transcript_is_refused_by_name(fields, param, serving):
    with pytest.raises(openai.BadRequestError) as caught:
        heard(serving(Hears("transcribe")), **fields)
    assert caught.value.param.startswith(param)


def test_what_changes_no_transcript_is_let_through(serving):
    running = serving(Hears("transcribe", knows_languages=False))
    found = heard(running, temperature=0, prompt="", chunking_strategy="auto", timestamp_granularities=["segment"],
                  response_format="verbose_json")  # fmt: skip
    assert isinstance(found, TranscriptionVerbose)
    assert found.language == "en"
    assert (found.usage.type, found.usage.seconds) == ("duration", pytest.approx(1.0))
    assert heard(running).usage.seconds == pytest.approx(1.0)
    done = [*heard(running, stream=True)][-1]
    assert (done.type, done.usage.seconds) == ("transcript.text.done", pytest.approx(1.0))


def test_token_ids_and_their_text_have_the_same_vector(encoder_artifact):
    import penjing
    from http_server import listening
    from penjing.serve.limits import Limits
    from penjing.serve.shelf import Goods, open_shelf

    runner = penjing.load(encoder_artifact, engine="onnxruntime", threads=1, warm_up=False)
    texts = ["a red bus", "the river", "a red bus stands in front of the old station " * 40]
    read = [runner.read(text, "text") for text in texts]
    whole = [[one for one, mask in zip(r.ids, r.attention_mask, strict=True) if mask] for r in read]
    plain = [[one for one, mask in zip(r.ids, r.special_tokens_mask, strict=True) if not mask] for r in read]
    limits, goods = Limits(), Goods([str(encoder_artifact)], engine="onnxruntime", threads=1)
    with listening(open_shelf(goods, limits), limits) as running:
        create = client(running).embeddings.create
        name = client(running).models.list().data[0].id
        wanted = np.array([one.embedding for one in create(model=name, input=texts).data])
        for given in (whole, plain):
            found = create(model=name, input=given)
            np.testing.assert_allclose(np.array([one.embedding for one in found.data]), wanted, atol=1e-6)
        single = create(model=name, input=plain[0]).data
        np.testing.assert_allclose(single[0].embedding, wanted[0], atol=1e-6)
        with pytest.raises(openai.BadRequestError, match="token ids of this model"):
            create(model=name, input=[1_000_000])
