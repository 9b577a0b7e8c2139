"""Scenes to cubes: product readers, composites, the pipeline with its ledger, and the scene simulator."""

from .gap_stack import dekads_of_scenes
from .pipeline import IngestReport, Progress, run_ingest
from .pixel_years import simulate_pixels
from .plan import IngestPlan, plan_ingest
from .published import import_tiles
from .readers import READERS, Failure, find_scenes, read_scene
from .recipe import Recipe
from .scene import Observation, Reader, Scene
from .simulate import SimulationReport, simulate

__all__ = [
    "READERS",
    "Failure",
    "IngestPlan",
    "IngestReport",
    "Observation",
    "Progress",
    "Reader",
    "Recipe",
    "Scene",
    "SimulationReport",
    "dekads_of_scenes",
    "find_scenes",
    "import_tiles",
    "plan_ingest",
    "read_scene",
    "run_ingest",
    "simulate",
    "simulate_pixels",
]
