"""Finding: the catalog of scenes and cubes, similarity search over codes, and sampling at points."""

from .catalog import Catalog, Item, SceneLike, frame_of
from .filters import parse_filters
from .points import embedding_columns, features_of, read_points, sample_cube
from .similarity import Query, query_at, similar, similarity_image
from .stac import add_stac

__all__ = [
    "Catalog",
    "Item",
    "Query",
    "SceneLike",
    "add_stac",
    "embedding_columns",
    "features_of",
    "frame_of",
    "parse_filters",
    "query_at",
    "read_points",
    "sample_cube",
    "similar",
    "similarity_image",
]
