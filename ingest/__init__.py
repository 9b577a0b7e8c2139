"""Scenes to cubes: product readers, composites, the pipeline with its ledger, and the scene simulator."""

from .append import plan_append
from .gap_stack import dekads_of_scenes
from .mtl import landsat_properties
from .pipeline import IngestReport, Progress, run_append, run_ingest
from .pixel_years import simulate_pixels
from .plan import IngestPlan, plan_ingest
from .published import import_tiles
from .readers import READERS, Failure, find_scenes, read_scene
from .recipe import Recipe
from .scene import Observation, Reader, Scene
from .simulate import SimulationReport, simulate
from .verify import Verified, run_verify
from .workers import ProcessExecutor

__all__ = [
    "READERS",
    "Failure",
    "IngestPlan",
    "IngestReport",
    "Observation",
    "ProcessExecutor",
    "Progress",
    "Reader",
    "Recipe",
    "Scene",
    "SimulationReport",
    "Verified",
    "dekads_of_scenes",
    "find_scenes",
    "import_tiles",
    "landsat_properties",
    "plan_append",
    "plan_ingest",
    "read_scene",
    "run_append",
    "run_ingest",
    "run_verify",
    "simulate",
    "simulate_pixels",
]
