"""All checks of a store, in the order in which a report lists them."""

from __future__ import annotations

from collections.abc import Callable

from facegraph.curation.doctor import checks_pictures, checks_points, checks_shape, checks_store
from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import LEVELS, Finding

CHECKS: tuple[Callable[[Examination], list[Finding]], ...] = (
    checks_store.counts,
    checks_store.attributes,
    checks_store.consistency,
    checks_store.problems,
    checks_pictures.photographs,
    checks_pictures.identical,
    checks_pictures.similar,
    checks_points.outside,
    checks_points.missing,
    checks_points.eyes,
    checks_points.annotated_twice,
    checks_points.sizes,
    checks_points.box_statistics,
    checks_shape.mirror_list,
    checks_shape.exchanged,
    checks_shape.shapes,
)


def examine(examination: Examination, begin: Callable[[str], None] = lambda name: None) -> list[Finding]:
    """Findings of all checks, errors first, then warnings; within a level in the order of CHECKS.

    Args:
        begin: called with the name of each check before it.
    """
    findings: list[Finding] = []
    for check in CHECKS:
        begin(check.__name__.replace("_", " "))
        findings += check(examination)
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
