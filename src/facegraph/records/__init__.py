"""What a finished run leaves behind: predictions.parquet with every face, result.json with card, metrics, provenance.

Reports read these files and nothing else; this package needs neither torch nor the data. All errors are fractions of a
normalising distance.
"""

from facegraph.metrics.names import CONFIDENCE, SAID
from facegraph.records.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    prediction_frame,
    predictions_of,
    read_predictions,
    summarise,
    write_predictions,
)
from facegraph.records.provenance import Provenance, collect_provenance
from facegraph.records.results import RESULT_FILE, SCHEMA_VERSION, ProtocolCard, RunResult

__all__ = [
    "CONFIDENCE",
    "PREDICTIONS_FILE",
    "RESULT_FILE",
    "SAID",
    "SCHEMA_VERSION",
    "Predictions",
    "ProtocolCard",
    "Provenance",
    "RunResult",
    "collect_provenance",
    "prediction_frame",
    "predictions_of",
    "read_predictions",
    "summarise",
    "write_predictions",
]
