"""pipeline.upkeep.recompute: the rows that the records make are those that a worker made."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline import Events, Table, hours, seconds
from pipeline.batch import Batch, Records, Source
from pipeline.declaration import Pipeline
from pipeline.declaration import Scores as ScoresTopic
from pipeline.recall import believed, formats
from pipeline.settings import StateSettings
from pipeline.state.predictions import FRESH, PREDICTION
from pipeline.upkeep.recompute import feature_rows, last_scores
