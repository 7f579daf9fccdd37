"""One folder of pictures and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from facegraph.curation.inspection import sheets, statistics
from facegraph.curation.inspection.view import StoreView
from facegraph.curation.shape_residual import shape_residuals
from facegraph.data.balancing import PoseBalancing
from facegraph.data.store.layout import file_name, list_counts
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import landmark_box
from facegraph.reports.html import HtmlTable, Page, Picture, Section, write_page
from facegraph.reports.plots.data_figures import plot_balancing, plot_boxes, plot_landmark_heat
from facegraph.viz.faces import write_png

_NUMBERED, _AUGMENTED, _BY_ATTRIBUTE = 4, 8, 12  # faces at most
_JPEG_QUALITY = 88
_MUCH = 0.01  # of the area of augmented crops
PAGE = "index.html"


@dataclass(frozen=True)
class PictureFolder:
    """Writes pictures as PNG and keeps them, photographs as JPEG, for the page.

    Args:
        written: the files so far; a name that one of them has gets a number.
    """

    folder: Path
    written: list[Path] = field(default_factory=list)

    def sheet(self, name: str, rgb: np.ndarray, caption: str) -> Picture:
        path = self.new_file(name)
        write_png(path, rgb)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
        return Picture(jpeg.tobytes(), f"{path.name}: {caption}")

    def figure(self, name: str, plot: Callable[[Path], Path], caption: str) -> Picture:
        path = self.new_file(name)
        return Picture.of_file(plot(path), f"{path.name}: {caption}")

    def new_file(self, name: str) -> Path:
        """A file of that name or, where it is taken in any case of letters, of the next free one: x.png, x_2.png."""
        taken = {path.name.casefold() for path in self.written}
        path, number = self.folder / name, 1
        while path.name.casefold() in taken:
            number += 1
            path = self.folder / f"{Path(name).stem}_{number}{Path(name).suffix}"
        self.written.append(path)
        return path


def inspect_store(
    view: StoreView,
    count: int,
    out: Path | None = None,
    command: str = "",
    recipe: str = "",
    say: Callable[[str], None] = print,
) -> Path:
    """Write sheets, figures and index.html on the faces of a view.

    Args:
        view: the faces and how they are cut out.
        count: of faces on a sheet.
        out: folder to write to, new or empty; None for outputs/inspect/<data set>/<date>_<time>.
        command: that asked for it, shown on the page.
        recipe: names of augmentation and box, shown on the page.
        say: told what is being drawn.

    Returns:
        The folder.

    Raises:
        DataError: out holds something already, or a damaged crop. ConfigError: count below 1, or an out that cannot be
            made. After an error nothing of the page is left.
    """
    faces = view.choose(count)
    with _pictures(out, view.store.info.dataset) as pictures:
        sections = [_overview(view, command, recipe)]
        for part in (_samples, _network_input, _attributes, _suspicious, _shape, _boxes):
            section = part(view, faces, pictures)
            say(section.title)
            sections.append(section)
        title = f"{view.store.info.dataset}: {view.split}"
        page = Page(title, sections, subtitle=f"{len(view.rows):,} faces, {view.scheme.name}")
        write_page(page, pictures.new_file(PAGE))
    return pictures.folder


@contextmanager
def _pictures(out: Path | None, dataset: str) -> Iterator[PictureFolder]:
    """A new or empty folder to fill. On an error what was written there goes, and the folder if it is new."""
    now = datetime.now()
    named = Path("outputs", "inspect", file_name(dataset), f"{now:%Y-%m-%d_%H-%M-%S}_{now:%f}")
    folder = named if out is None else Path(out).expanduser()
    try:
        existed = folder.exists()
        if existed and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(
                f"{folder} is there already and not an empty folder; nothing is overwritten. Give another --out."
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder {folder} cannot be made: {error}. Give another --out.") from error
    pictures = PictureFolder(folder)
    try:
        yield pictures
    except BaseException:
        for path in pictures.written:
            path.unlink(missing_ok=True)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _overview(view: StoreView, command: str, recipe: str) -> Section:
    info, crop = view.store.info, view.store.info.crop
    form = crop.image_format if crop.quality == 0 else f"{crop.image_format}, quality {crop.quality}"
    facts: list[statistics.Row] = [
        ("store", str(view.store.path)),
        ("data set", f"{info.dataset}, version {info.version}"),
        ("made from", info.source),
        ("by", f"facegraph {info.facegraph}"),
        ("scheme", f"{info.scheme.name}, {info.scheme.num_landmarks} landmarks"),
        ("stored crops", f"{crop.side} px, {crop.scale:g} x the {crop.around}, {form}, EXIF rotation {crop.exif}"),
        ("content hash", info.content_hash),
        ("network input", f"{view.box.description}, margin {view.box.margin:g}, {view.input_size} px"),
        ("recipe", recipe),
        ("seed", str(view.seed)),
    ]
    if view.left_out:
        facts.append(("left out", f"{view.left_out:,} faces whose landmarks are not finite or all coincide"))
    problems = statistics.problem_rows(info.problems)
    tables = [
        HtmlTable("This page", ("what", "value"), facts),
        HtmlTable(
            "Faces found, and as the publisher counts them",
            ("split", "found", "official", "difference"),
            [(*count, count.difference) for count in list_counts(info)],
        ),
    ]
    if problems:
        header = ("kind", "split", "count", "names", "first message")
        tables.append(HtmlTable("What could not be used when the store was prepared", header, problems))
    text = "" if problems else "Everything that the source describes could be used when the store was prepared."
    return Section("Store", text, tables=tables, code=command)


def _samples(view: StoreView, faces: np.ndarray, pictures: PictureFolder) -> Section:
    text = (
        "Landmarks of the left half of the picture are blue, of the right half orange, in the middle green; hidden "
        "ones red. The yellow square is what the network is given, the white frame the official box."
    )
    numbered = sheets.numbered_sheet(view, view.choose(_NUMBERED, faces))
    images = (
        pictures.sheet("samples.png", sheets.stored_sheet(view, faces), "whole stored crops"),
        pictures.sheet("numbered.png", numbered, "index of every landmark, from 0"),
    )
    return Section("Samples", text, images)


def _network_input(view: StoreView, faces: np.ndarray, pictures: PictureFolder) -> Section:
    found = statistics.crop_statistics(view)
    text = (
        "What the network sees, before normalisation. In a mirrored face the blue landmarks must still lie on the "
        "left: orange on the left would mean that landmarks were not renumbered."
    )
    text += (
        f"\n\nOf the area of augmented crops {found.empty:.1%} is grey because the store has no pixels there; the "
        f"photographs do have {found.lost:.1%}."
    )
    if found.lost > _MUCH:
        text += " To see these too, prepare the set again with a larger --scale."
    augmented = sheets.augmented_sheet(view, view.choose(_AUGMENTED, faces))
    points = {"as scored": found.plain, "augmented for training": found.augmented}
    images = (
        pictures.sheet("crops.png", sheets.crop_sheet(view, faces), "without augmentation, as validation and test"),
        pictures.sheet("augmented.png", augmented, f"plain crop, then {sheets.DRAWS} draws of the augmentation"),
        pictures.figure(
            "landmark_heat.png",
            lambda path: plot_landmark_heat(points, view.input_size, path),
            "where landmarks fall in the crop (the frame)",
        ),
    )
    return Section("Network input", text, images)


def _attributes(view: StoreView, faces: np.ndarray, pictures: PictureFolder) -> Section:
    names, flags = view.scored.table.attribute_names, view.scored.table.attributes
    rows: list[statistics.Row] = []
    images = []
    for name, has in zip(names, flags.T, strict=True):
        rows.append((name, int(has.sum()), round(100 * float(has.mean()), 1)))
        if has.any():
            chosen = view.choose(min(_BY_ATTRIBUTE, len(faces)), np.flatnonzero(has))
            file = f"attribute_{file_name(name)}.png"
            images.append(pictures.sheet(file, sheets.face_sheet(view, chosen), f"faces with '{name}'"))
    if not names:
        return Section("Attributes", "The store has no attributes.")
    table = HtmlTable(f"Attributes of {view.split}", ("attribute", "faces", "per cent"), rows)
    return Section("Attributes", "", images, (table,))


def _suspicious(view: StoreView, faces: np.ndarray, pictures: PictureFolder) -> Section:
    title = "Suspicious annotations"
    try:
        residuals = shape_residuals(view.landmarks)
    except DataError as error:
        return Section(title, str(error))
    worst = np.argsort(-residuals.score, kind="stable")[: len(faces)]
    sheet = sheets.suspicious_sheet(view, worst, residuals.score, residuals.per_landmark)
    ordinary = np.median(residuals.score)
    text = (
        f"Faces whose shape the others explain least, worst first; the median of all is {ordinary:.1f}. Extreme poses "
        "and expressions belong here too, so look before you correct. Their worst landmarks are ringed and named."
    )
    return Section(title, text, (pictures.sheet("worst_shapes.png", sheet, "largest shape residuals"),))


def _shape(view: StoreView, faces: np.ndarray, pictures: PictureFolder) -> Section:
    balancing = PoseBalancing()
    scores = balancing.scores(view.landmarks)
    repeats = balancing.repeats_of(scores)
    text = (
        "Grey lines join the landmarks that swap places in a mirrored face; one that does not run parallel to the "
        "others is a wrong pair. Balancing draws faces of rare poses more often; the score's sign means nothing. It is "
        f"shown as it would be with {balancing.bins} bins and at most {balancing.max_repeat} draws of a face, the "
        "defaults, whether or not a training of yours balances."
    )
    images = (
        pictures.sheet("mean_shape.png", sheets.mean_shape_picture(view), "mean of the aligned shapes"),
        pictures.figure(
            "poses.png",
            lambda path: plot_balancing(scores, repeats, balancing.bins, path),
            "pose histogram before and after balancing",
        ),
    )
    return Section("Mean shape and poses", text, images)


def _boxes(view: StoreView, faces: np.ndarray, pictures: PictureFolder) -> Section:
    sides = statistics.longer_side(landmark_box(view.landmarks))
    ratios = statistics.official_ratios(view)
    picture = pictures.figure("boxes.png", lambda path: plot_boxes(sides, ratios, path), "face sizes and boxes")
    table = HtmlTable(
        f"Boxes of {view.split}", ("measured", "median", "smallest", "largest"), statistics.box_rows(view)
    )
    return Section("Boxes", "", (picture,), (table,))
