"""The training configuration: a TOML file, read into frozen dataclasses, every fault told in one line."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from esd.dekad import STEPS
from esd.errors import EncoderError

from .sampling import Augmentation, Hiding

__all__ = ["Config", "Data", "Model", "Settling", "SourceConfig", "Training"]

Row = TypeVar("Row")
Layers = tuple[tuple[str | int, ...], ...]
TABLES = ("model", "data", "training", "settling", "hiding", "augmentation")


@dataclass(frozen=True)
class Model:
    """Levels of the quantizer, steps a year and the layers of each network (see `esd.encoder.model.ESDNet`).

    `start` names a codec, shipped or a path, whose normalisation, and whose weights of the same name and shape, this one
    starts from; where it is `frozen`, encoder and full decoder stay as they start, and only what reads the codes learns.
    Numbers weigh in the embedding what they change in reflectance, to the power `slope_power`; at 0 they stay as they
    are, which suits numbers that a land-cover loss has shaped.
    """

    levels: tuple[int, ...]
    encoder: Layers
    full: Layers
    fast: Layers = ()
    uncertainty: Layers = ()
    steps: int = STEPS
    start: str = ""
    frozen: bool = False
    slope_power: float = 1.0


@dataclass(frozen=True)
class SourceConfig:
    """A source of pixels: `kind` says how `path` is read, `options` are for that kind, `licence` goes on the card.

    Kinds are "table" (Parquet, `esd.encoder.sources.table_source`), "cube" (Zarr, `esd.encoder.cube_source`), "collection2"
    (raw digital numbers of Landsat), and in `esd train` "scenes" (a folder of products) and "simulator".

    A batch has its `share`; with `even` "class" or "place" its classes or groups, not its pixels, are drawn equally often.
    """

    name: str
    kind: str
    share: float
    path: str = ""
    licence: str = ""
    even: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def given(self, **defaults: Any) -> dict[str, Any]:
        """Return the options, those that are not given as in `defaults`.

        Raises EncoderError for an option that is not among these, or is of another type.
        """
        unknown = sorted(set(self.options) - set(defaults))
        if unknown:
            takes = ", ".join(defaults) or "no options"
            raise EncoderError(f"source {self.name!r} has an unknown option {unknown[0]!r}; {self.kind} takes {takes}")
        for name, value in self.options.items():
            if type(value) is not type(defaults[name]):
                raise EncoderError(f"source {self.name!r}: {name} is {value!r}; it has to be like {defaults[name]!r}")
        return {**defaults, **self.options}


@dataclass(frozen=True)
class Data:
    """Sources, and the fold of their groups that is held out."""

    sources: tuple[SourceConfig, ...]
    folds: int = 5
    fold: int = 0


@dataclass(frozen=True)
class Training:
    """How long and how the weights are trained.

    `learning_rate` rises over `warmup` steps and falls along a cosine to a hundredth. `average` is the decay of the
    moving average of the weights that is shipped; 0 ships the last weights. `error_bend` is the reflectance error
    where the loss turns from squared to absolute, so that clouds left in the data do not rule. `band_balance` says how
    bands are weighed: 0 counts errors of reflectance, 1 errors relative to a band's spread. `hidden_weight` is
    what an observation hidden from the encoder counts beside a visible one. `consistency` weighs how far the embedding
    of a partly hidden pixel-year lies from that of all its observations, by the averaged network; `usage` weighs
    how far each number of the embedding, sorted over the pixels of a source, lies from even use of its levels;
    both count until step `shaping_until` only (0: to the end), after which the weights settle on the errors alone;
    `land_cover` the cross entropy of a linear classifier on the embedding, thrown away afterwards. `precision` "bf16"
    halves the time on processors that have it, and is float32 on others. `minutes` stops a run early (0: never); a run
    that it stopped is not reproducible. `patience` stops it after as many reports without a lower error on the calibration
    pixels (0: never).
    """

    steps: int
    batch: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 200
    average: float = 0.999
    error_bend: float = 0.01
    band_balance: float = 0.2
    hidden_weight: float = 1.0
    consistency: float = 0.0
    usage: float = 0.0
    shaping_until: int = 0
    land_cover: float = 0.0
    seed: int = 0
    precision: str = "bf16"
    minutes: float = 0.0
    patience: int = 0
    report_every: int = 250


@dataclass(frozen=True)
class Settling:
    """A second run down to a learning rate of zero, on the errors alone: nothing shapes the embedding any more.

    It takes `steps` more from `learning_rate`; `band_balance` and `error_bend` are as in `Training`.
    """

    steps: int = 0
    learning_rate: float = 1e-3
    band_balance: float = 0.0
    error_bend: float = 0.01


@dataclass(frozen=True)
class Config:
    """All of a training run; `limits` are sentences that its card adds to those it knows. Read it with `Config.load`."""

    id: str
    model: Model
    data: Data
    training: Training
    settling: Settling = field(default_factory=Settling)
    hiding: Hiding = field(default_factory=Hiding)
    augmentation: Augmentation = field(default_factory=Augmentation)
    limits: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.training.steps + self.settling.steps

    def at(self, step: int) -> Training:
        """Return how a step is trained: what shapes the embedding ends at `shaping_until`, and settling has its own way."""
        training, settling = self.training, self.settling
        if step >= training.steps:
            return dataclasses.replace(
                training,
                steps=settling.steps,
                warmup=0,
                learning_rate=settling.learning_rate,
                band_balance=settling.band_balance,
                error_bend=settling.error_bend,
                consistency=0.0,
                usage=0.0,
            )
        if 0 < training.shaping_until <= step:
            return dataclasses.replace(training, consistency=0.0, usage=0.0)
        return training

    def holding_out(self, fold: int) -> Config:
        """Return the config of the same codec without another fold, named ID_foldN. Raises EncoderError if there is none."""
        other = dataclasses.replace(self, id=f"{self.id}_fold{fold}", data=dataclasses.replace(self.data, fold=fold))
        _check(other)
        return other

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read a TOML file. Raises EncoderError if it is not there, not TOML, or says something that cannot be."""
        path = Path(path)
        if not path.is_file():
            raise EncoderError(f"training config {str(path)!r} is not there; give the path of a TOML file")
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise EncoderError(f"training config {path.name} is not TOML: {error}") from error
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Config:
        """Make a config of parsed TOML. Raises EncoderError as `load` does."""
        unknown = sorted(set(document) - {item.name for item in dataclasses.fields(cls)})
        if unknown:
            raise EncoderError(f"training config: {unknown[0]} is unknown; known are {', '.join(TABLES)}, id and limits")
        data = _table(document, "data")
        rows = data.get("sources", [])
        if not isinstance(rows, list) or not rows:
            raise EncoderError("training config has no [[data.sources]]; name at least one source of pixels")
        sources = tuple(_row(SourceConfig, row, "data.sources") for row in rows)
        config = cls(
            id=str(document.get("id", "")),
            model=_row(Model, _table(document, "model"), "model"),
            data=_row(Data, {**data, "sources": sources}, "data"),
            training=_row(Training, _table(document, "training"), "training"),
            settling=_row(Settling, document.get("settling", {}), "settling"),
            hiding=_row(Hiding, document.get("hiding", {}), "hiding"),
            augmentation=_row(Augmentation, document.get("augmentation", {}), "augmentation"),
            limits=tuple(map(str, document.get("limits", []))),
        )
        _check(config)
        return config


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = document.get(name)
    if not isinstance(table, Mapping):
        raise EncoderError(f"training config has no table [{name}]; it needs [model], [data] and [training]")
    return table


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _row(kind: type[Row], table: Mapping[str, Any], name: str) -> Row:
    """Make a dataclass of a TOML table, checking names and the types of plain numbers and text."""
    if not isinstance(table, Mapping):
        raise EncoderError(f"training config: {name} is {table!r}; it has to be a table")
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise EncoderError(f"training config: {name}.{unknown[0]} is unknown; {name} takes {', '.join(fields)}")
    required = [key for key, item in fields.items() if item.default is item.default_factory is dataclasses.MISSING]
    missing = [key for key in required if key not in table]
    if missing:
        raise EncoderError(f"training config: {name}.{missing[0]} is missing; add it")
    hints = get_type_hints(kind)
    for key, value in table.items():
        accepted = {int: (int,), float: (int, float), str: (str,)}.get(hints[key])
        if accepted and (not isinstance(value, accepted) or isinstance(value, bool)):
            raise EncoderError(f"training config: {name}.{key} is {value!r}; it has to be of type {hints[key].__name__}")
    return kind(**{key: _frozen(value) for key, value in table.items()})


def _check(config: Config) -> None:
    training, data = config.training, config.data
    shares = [share for row in (config.hiding, config.augmentation) for share in dataclasses.astuple(row)]
    rules = (
        (config.id.isidentifier(), f"id is {config.id!r}; give a name of letters and digits, such as 'esd24'"),
        (config.model.start or not config.model.frozen, "model.frozen needs model.start, which it keeps"),
        (training.steps >= 1, f"training.steps is {training.steps}; it has to be at least 1"),
        (training.batch >= len(data.sources), f"training.batch is {training.batch}; every source needs a pixel in it"),
        (training.learning_rate > 0, f"training.learning_rate is {training.learning_rate}; it has to be above 0"),
        (0 <= training.average < 1, f"training.average is {training.average}; it has to be at least 0 and below 1"),
        (training.error_bend > 0, f"training.error_bend is {training.error_bend}; it has to be above 0"),
        (training.precision in ("bf16", "f32"), f"training.precision is {training.precision!r}; use 'bf16' or 'f32'"),
        (config.model.slope_power >= 0, "slope_power of [model] is negative"),
        (min(training.consistency, training.usage, training.land_cover) >= 0, "a weight in [training] is negative"),
        (training.shaping_until >= 0, f"training.shaping_until is {training.shaping_until}; it has to be a step, or 0"),
        (config.settling.steps >= 0, f"settling.steps is {config.settling.steps}; it has to be 0 or more"),
        (config.settling.learning_rate > 0 and config.settling.error_bend > 0, "settling has a rate or bend of 0 or less"),
        (training.patience >= 0, f"training.patience is {training.patience}; it has to be 0 or more reports"),
        (training.report_every >= 1, f"training.report_every is {training.report_every}; it has to be at least 1"),
        (0 <= data.fold < data.folds, f"data.fold is {data.fold}; it has to be from 0 to data.folds - 1"),
        (data.folds >= 2, f"data.folds is {data.folds}; it has to be at least 2"),
        (all(0 <= share <= 1 for share in shares), "a share in [hiding] or [augmentation] is outside of 0 to 1"),
    )
    for holds, complaint in rules:
        if not holds:
            raise EncoderError(f"training config: {complaint}")
