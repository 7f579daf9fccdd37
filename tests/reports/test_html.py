"""Pages: nothing comes from outside, no text becomes markup, what goes in comes out."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from facegraph.errors import DataError
from facegraph.reports.html import HtmlTable, Page, Picture, Section, render, write_page

EVIL = "\"><script>alert('x')</script><img src=http://a.example/b.png onerror=alert(1)> & Zoë"
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Reader(HTMLParser):
    """Elements with their attributes, the text of each, and whether all were closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture(kind: str = "PNG", size: tuple[int, int] = (7, 5), caption: str = "a picture") -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, kind)
    return Picture(buffer.getvalue(), caption)


def page(text: str) -> Page:
    section = Section(text, text, [picture(caption=text)], [HtmlTable(text, [text, "n"], [[text, 1]])], code=text)
    return Page(text, [section, section], subtitle=text)


def test_no_text_becomes_markup() -> None:
    reader = Reader(render(page(EVIL)))
    assert reader.named("script") == []
    assert len(reader.named("img")) == 2
    for tag in ("title", "h1", "h2", "a", "pre", "caption", "th", "td", "figcaption"):
        assert EVIL in [text.strip() for text in reader.texts[tag]], tag
    assert [image["alt"] for image in reader.named("img")] == [EVIL, EVIL]


def test_nothing_comes_from_outside_and_there_is_no_script() -> None:
    text = render(page("plain"))
    reader = Reader(text)
    assert {tag for tag, _ in reader.elements} & {"script", "link", "iframe", "object", "embed", "base"} == set()
    for _, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert all(attributes[name].startswith("data:image/") for name in ("src",) if name in attributes)
        assert all(attributes[name].startswith("#section-") for name in ("href",) if name in attributes)
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text
    policy = next(m["content"] for m in reader.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_it_fits_phones_and_dark_rooms() -> None:
    text = render(page("plain"))
    assert any(m.get("name") == "viewport" and "device-width" in m["content"] for m in Reader(text).named("meta"))
    assert "prefers-color-scheme: dark" in text


def test_links_lead_to_sections() -> None:
    reader = Reader(render(page("plain")))
    targets = [link["href"].removeprefix("#") for link in reader.named("a")]
    assert targets == [section["id"] for section in reader.named("section")] == ["section-1", "section-2"]


@pytest.mark.parametrize(("kind", "media"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_pictures_are_the_same_bytes_with_their_size(kind: str, media: str) -> None:
    given = picture(kind, (31, 17))
    (image,) = Reader(render(Page("t", [Section("s", images=[given])]))).named("img")
    head, encoded = image["src"].split(",", 1)
    assert head == f"data:{media};base64"
    assert base64.b64decode(encoded, validate=True) == given.data
    assert (image["width"], image["height"]) == ("31", "17")


def test_cells_numbers_and_gaps() -> None:
    table = HtmlTable("t", ["name", "count", "share"], [["a", 12, 0.5], ["b", None, True], ["", 0, -3]])
    reader = Reader(render(Page("t", [Section("s", tables=[table])])))
    assert reader.texts["td"] == ["a", "12", "0.5", "b", "-", "True", "", "0", "-3"]
    assert [cell.get("class") for cell in reader.named("td")] == [
        None, "number", "number", None, None, None, None, "number", "number",
    ]  # fmt: skip
    assert [cell.get("class") for cell in reader.named("th")] == [None, "number", "number"]


def test_paragraphs_and_empty_parts() -> None:
    reader = Reader(render(Page("t", [Section("s", "one\nstill one\n\n\n\ntwo\n\n")])))
    assert reader.texts["p"] == ["one\nstill one", "two"]
    assert not {"nav", "pre", "table", "figure"} & {tag for tag, _ in reader.elements}


def test_what_cannot_be_shown_is_refused_and_the_old_page_stays(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 columns, but a row of 1 cells"):
        HtmlTable("t", ["a", "b"], [["x"]])
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        Picture.of_file(tmp_path / "gone.png", "c")
    good = write_page(page("kept"), tmp_path / "new" / "index.html")
    before = good.read_text(encoding="utf-8")
    assert before == render(page("kept"))
    for bad in (Picture(b"no picture", "broken"), picture("TIFF", caption="broken")):
        with pytest.raises(DataError, match="broken"):
            write_page(Page("t", [Section("s", images=[bad])]), good)
    assert good.read_text(encoding="utf-8") == before
    assert [path.name for path in good.parent.iterdir()] == ["index.html"]
