"""A report in the terminal, in Markdown and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.box import HORIZONTALS
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from facegraph.files.plain_text import printable
from facegraph.reports.table.cells import Report
from facegraph.reports.table.layout import INDENT, Block, Unfinished, Words, blocks, command_text, unfinished

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "\u00d7": r"$\times$", "ε": r"$\epsilon$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$",
}  # fmt: skip


def subtitle(report: Report) -> str:
    """Source, scale and checkpoint in a line."""
    scale = f"scale={report.scale}" if report.scale else ""
    return "; ".join(part for part in (report.table.source, scale, f"checkpoint {report.checkpoint}") if part)


def to_rich(report: Report, width: int = 120) -> RenderableType:
    """For a terminal of a width in characters: as many columns side by side as fit it."""
    parts: list[RenderableType] = [Text(report.table.title, style="bold"), Text(subtitle(report), style="dim")]
    parts += [_rich_block(block) for block in blocks(report, width)]
    open_ones = unfinished(report)
    if open_ones:
        parts.append(Text("Not done:", style="bold"))
        parts += [Padding(Text(_unfinished_text(entry)), (0, 0, 0, 2)) for entry in open_ones]
    parts += [Text(_note_text(note.mark, note.text), style="dim") for note in report.notes]
    return Group(*parts)


def to_markdown(report: Report) -> str:
    """A section: tables of pipes, unfinished trainings, footnotes. Best in bold, what is not measured in italics."""
    lines = [f"## {markdown(report.table.title)}", "", markdown(subtitle(report)), ""]
    if command := command_text(report):
        fence = "`" * (1 + max(map(len, re.findall("`+", command)), default=2))
        lines += [fence, printable(command), fence, ""]
    for block in blocks(report):
        if block.title:
            lines += [f"### {markdown(block.title)}", ""]
        lines += ["| " + " | ".join(map(markdown, block.header)) + " |"]
        lines += ["|" + "|".join(["---", *["---:"] * (len(block.header) - 1)]) + "|"]
        lines += ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in block.rows]
        lines += [""]
    open_ones = unfinished(report)
    if open_ones:
        lines += ["Not done:", "", *(f"- {markdown(_unfinished_text(entry))}" for entry in open_ones), ""]
    lines += [f"- {f'<sup>{note.mark}</sup> ' if note.mark else ''}{markdown(note.text)}" for note in report.notes]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(report: Report) -> str:
    """A table environment per block with the rules of booktabs, and the footnotes of all below the last one."""
    name = re.sub(r"[^A-Za-z0-9:.-]+", "-", report.table.name.replace("/", ":"))
    found = blocks(report)
    lines = [r"% \usepackage{booktabs} in the preamble"]
    for number, block in enumerate(found):
        caption = report.table.title + (f": {block.title}" if block.title else "")
        suffix = f":{number + 1}" if len(found) > 1 else ""
        lines += [r"\begin{table}[tb]", r"\centering\small\setlength{\tabcolsep}{4pt}"]
        lines += [rf"\caption{{{latex(caption)}. {latex(subtitle(report))}.}}", rf"\label{{tab:{name}{suffix}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(block.header) - 1)}}}", r"\toprule"]
        lines += [_latex_row(map(latex, block.header)), r"\midrule"]
        for line, row in enumerate(block.rows):
            lines.append(_latex_row(map(_latex_cell, row)) + (r"\addlinespace" if block.divides(line) else ""))
        lines += [r"\bottomrule", r"\end{tabular}"]
        if number == len(found) - 1:
            lines += _latex_notes(report)
        lines += [r"\end{table}", ""]
    return "\n".join(lines)


def latex(text: str) -> str:
    """Text with what LaTeX takes for a command escaped; leading blanks become an indent.

    >>> latex("LAB & co_1: 5 %")
    'LAB \\\\& co\\\\_1: 5 \\\\%'
    """
    indent = r"\quad " if text.startswith(INDENT) else ""
    return indent + "".join(_LATEX.get(character, character) for character in _plain_line(text))


def _rich_block(block: Block) -> RichTable:
    table = RichTable(
        title=block.title or None, title_justify="left", box=HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False
    )
    for i, header in enumerate(block.header):
        table.add_column(escape(header), justify="right" if i else "left", overflow="fold", no_wrap=bool(i))
    for line, row in enumerate(block.rows):
        table.add_row(*(_rich_cell(words) for words in row), end_section=block.divides(line))
    return table


def _rich_cell(words: Words) -> Text:
    style = "bold" if words.best else "dim" if words.faint else ""
    return Text(words.text + (f" [{words.mark}]" if words.mark else ""), style=style)


def _markdown_cell(words: Words) -> str:
    indent = "&nbsp;&nbsp;" if words.text.startswith(INDENT) else ""
    text = markdown(words.text.strip())
    text = f"**{text}**" if words.best else f"*{text}*" if words.faint and text != "-" else text
    return indent + text + (f"<sup>{words.mark}</sup>" if words.mark else "")


def markdown(text: str) -> str:
    """Text in a line, with what Markdown takes for its own escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#" else c for c in _plain_line(text))


def _plain_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _latex_cell(words: Words) -> str:
    # a number's hyphen would be printed as one; in a label it may be one
    text = re.sub(r"(^|\[|, )-(?=\d)", r"\1$-$", latex(words.text))
    text = rf"\textbf{{{text}}}" if words.best else rf"\textit{{{text}}}" if words.faint and text != "-" else text
    return text + (rf"\textsuperscript{{{words.mark}}}" if words.mark else "")


def _latex_row(cells: Iterable[str]) -> str:
    line = " & ".join(cells)
    # after \\ a bracket or a star would be read as an argument of the line break
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def _latex_notes(report: Report) -> list[str]:
    notes = [(note.mark, note.text) for note in report.notes]
    notes += [("", f"Not done: {_unfinished_text(entry)}") for entry in unfinished(report)]
    if not notes:
        return []
    texts = [(rf"\textsuperscript{{{mark}}}" if mark else "") + latex(_plain_line(text)) for mark, text in notes]
    return [r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize", *_paragraphs(texts), r"\end{minipage}"]


def _paragraphs(texts: Sequence[str]) -> list[str]:
    return [text + (r"\par" if i < len(texts) - 1 else "") for i, text in enumerate(texts)]


def _unfinished_text(entry: Unfinished) -> str:
    return f"{entry.label}{'' if entry.seed is None else f', seed {entry.seed}'}: {_plain_line(entry.why)}"


def _note_text(mark: str, text: str) -> str:
    return f"[{mark}] {text}" if mark else text
