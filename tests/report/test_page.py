"""The HTML report: whole, self-contained, escaped, the same every time."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from penjing.report import plots
from penjing.report.document import parse
from penjing.report.html import render, write_report

VOID = {"meta", "path", "ellipse", "br", "link"}


class Reader(HTMLParser):
    """Collects tags, text and attributes, and checks that every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_a_published_result_says_what_a_person_asks_first(published):
    words = Reader(render(published)).words
    for expected in (
        "✓ Published Every goal was met, judged on 60 items no step had seen.",
        "wer<=+0.01 : not proven at n=60.",
        "size of model files 41.9 MB was 151 MB · 3.60× smaller",
        "word error rate 4.5% was 4.1% · +0.3 points",
        "PyTorch float32",
        "Left alone: tied to model.decoder.embed_tokens: one copy on disk",
        "judge 60 rows, not read before the gate",
        "the 24 largest of 67 compressed sites",
    ):
        assert expected in words, expected


def test_a_refusal_is_unmistakable(refused):
    words = Reader(render(refused)).words
    assert "✗ Refused: nothing was published recall@1 is 11.5%" in words
    assert "missed by 49.0 points" in words
    assert "Worth knowing: not faster" in words
    assert "Published" not in words
    assert "Transcripts" not in words


@pytest.mark.parametrize("name", ["published", "refused"])
def test_the_page_is_well_formed_and_loads_nothing(name, request):
    page = render(request.getfixturevalue(name))
    reader = Reader(page)
    assert reader.open == []
    assert "script" not in reader.tags
    assert "img" not in reader.tags
    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"url\((?!#)|@import", page)
    assert reader.tags.count("svg") == 5


def test_hostile_text_is_escaped_everywhere(hostile):
    page = render(hostile)
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 100
    assert Reader(page).open == []


def test_differing_words_are_marked(published):
    page = render(published)
    assert "<mark>Chevon</mark> whether the invoice for the <mark>scan</mark> arrived?" in page
    assert "to a new server <del>on</del> Thursday night." in page
    assert "leaves from platform 9 at <mark>745.</mark>" in page


def test_many_samples_are_cut_and_said_so(published_json):
    published_json["samples"] *= 30
    assert "The first 60 of 120." in Reader(render(parse(published_json))).words


def test_samples_without_a_truth_are_compared_with_the_source(published_json):
    published_json["samples"] = [{"source": "a red bus", "result": "a red car"}]
    page = render(parse(published_json))
    assert "a red <mark>car</mark>" in page
    assert "<td>said</td>" not in page


def test_same_document_same_page(published):
    assert render(published) == render(published)


def test_plots_take_their_colours_from_the_page(published):
    drawings = [
        plots.quality_plot(published),
        plots.bytes_plot(published),
        plots.ms_plot(published),
        plots.sites_plot(published),
    ]
    for svg in drawings:
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?!\")", re.sub(r'(xlink:href|clip-path|id)="[^"]*"', "", svg))
        assert all("var(--" in text for text in re.findall(r"<text [^>]*>", svg))
        assert svg.startswith("<svg role=")
        assert "<metadata>" not in svg


def test_plots_of_nothing_are_empty():
    nothing = parse({"published": False})
    assert [draw(nothing) for draw in (plots.quality_plot, plots.bytes_plot, plots.ms_plot, plots.sites_plot)] == [
        ""
    ] * 4
    page = Reader(render(nothing))
    assert page.open == []
    assert "svg" in page.tags
    assert "Towers" not in page.words


def test_a_plot_shows_the_largest_errors_first(published):
    svg = plots.sites_plot(published)
    names = re.findall(r">(model\.[\w.]+)<", svg)
    errors = {site.site: site.error for site in published.coverage}
    assert len(names) == plots.MOST_SITES
    assert [errors[name] for name in names] == sorted(errors.values(), reverse=True)[: plots.MOST_SITES]


def test_a_user_style_does_not_leak_in_or_out(published):
    import matplotlib as mpl

    expected = plots.bytes_plot(published)
    with mpl.rc_context({"text.color": "red", "font.size": 30}):
        assert plots.bytes_plot(published) == expected
        assert mpl.rcParams["font.size"] == 30


def test_a_metric_that_is_not_finite_is_left_out_of_the_plot(published_json):
    published_json["result"]["metrics"]["wer"] = {"value": float("nan"), "low": None, "high": None, "n": 60}
    document = parse(published_json)
    assert "word error rate" in plots.quality_plot(document)
    assert Reader(render(document)).open == []


def test_writing(tmp_path, published):
    write_report(published, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf8").startswith("<!doctype html>")
