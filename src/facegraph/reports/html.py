"""One HTML page that holds everything it shows: pictures, tables and text, without script or outside resource."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, UnidentifiedImageError

from facegraph.errors import DataError
from facegraph.files.atomic import write_atomically

_MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file beside or below the page.

    Args:
        target: relative path with forward slashes.

    Raises:
        DataError: a target that is absolute or has a scheme: a page shows nothing from elsewhere.
    """

    text: str
    target: str

    def __post_init__(self) -> None:
        if self.target.startswith(("/", "\\")) or ":" in self.target:
            raise DataError(f"link '{self.target}' leads away from the page's folder; pass a relative path.")


Cell = str | int | float | Link | None


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Args:
        data: bytes of a PNG, JPEG, GIF or WebP file.
        caption: shown below, and read out in the picture's place.
    """

    data: bytes
    caption: str

    @classmethod
    def of_file(cls, path: Path, caption: str) -> Picture:
        """Raises DataError: the file cannot be read."""
        try:
            return cls(Path(path).read_bytes(), caption)
        except OSError as error:
            raise DataError(f"picture {path} cannot be read: {error}. Write it before the page.") from error


@dataclass(frozen=True)
class HtmlTable:
    """A table. Numbers are set flush right, None as a dash; text is shown as it is, markup included.

    Args:
        header: names of the columns.
        rows: one cell per column.

    Raises:
        DataError: a row of another length than the header.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise DataError(
                    f"table '{self.caption}' has {len(self.header)} columns, but a row of {len(row)} cells: "
                    f"{list(row)}. Pass one cell per column, None where there is nothing."
                )


@dataclass(frozen=True)
class Section:
    """A titled part of a page: text, tables, pictures, in this order.

    Args:
        text: paragraphs, separated by blank lines.
        code: shown as typed, such as a command.
    """

    title: str
    text: str = ""
    images: Sequence[Picture] = ()
    tables: Sequence[HtmlTable] = ()
    code: str = ""

    @property
    def paragraphs(self) -> list[str]:
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


@dataclass(frozen=True)
class Page:
    """A page of HTML that needs no other file.

    Args:
        title: of the page.
        sections: in their order.
        subtitle: one line below the title.
    """

    title: str
    sections: Sequence[Section]
    subtitle: str = ""


def render(page: Page) -> str:
    """The page as HTML. All text is escaped; the page allows itself neither script nor anything from elsewhere.

    Raises:
        DataError: bytes that are no picture a browser shows.
    """
    environment = Environment(
        loader=PackageLoader("facegraph.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["figure"] = lambda cell: isinstance(cell, int | float) and not isinstance(cell, bool)
    environment.tests["link"] = lambda cell: isinstance(cell, Link)
    environment.filters["inlined"] = _inlined
    return environment.get_template("page.html.j2").render(page=page)


def write_page(page: Page, path: Path) -> Path:
    """Write the page as UTF-8; an existing file is replaced, and only by a whole page.

    Raises:
        DataError: as `render`.
    """
    path = Path(path)
    text = render(page)
    write_atomically(path, text.encode())
    return path


def _inlined(picture: Picture) -> dict[str, str | int]:
    try:
        with Image.open(io.BytesIO(picture.data)) as image:
            (width, height), kind = image.size, image.format or "unknown"
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"picture '{picture.caption}' cannot be read: {error}. Pass the bytes of a PNG.") from error
    if kind not in _MEDIA:
        raise DataError(f"picture '{picture.caption}' is a {kind}; browsers show {', '.join(_MEDIA)}. Convert it.")
    encoded = base64.b64encode(picture.data).decode("ascii")
    return {"source": f"data:{_MEDIA[kind]};base64,{encoded}", "width": width, "height": height}
