"""The ladder: error and accuracy against bytes, of codecs and of classical ones on the same held-out pixel-years.

Classical codecs are fitted to the training groups of the same fold, cloudy pixel-years left out, which lowers their error
on clear values.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from esd.errors import EncoderError

from .adapter import Runtime
from .baselines import Classical, PrincipalComponents
from .evaluate import Score, cloudy, score
from .fidelity import HIDDEN_SHARE, TEST_SEED, kinds
from .harness import raw_features
from .protocol import CLASSIFIERS, standardized
from .sampling import Source, hide_dekads, split
from .transforms import Transform

__all__ = ["CLASSICAL", "SIZES", "Rung", "classical_scores", "drawn", "rungs"]

Floats = npt.NDArray[np.float32]
Method = Callable[[Source, Source, npt.NDArray[np.uint8]], "Answer"]

SIZES = (6, 12, 24, 36)
CLASSIFIER = "logistic"
OURS = "esd"
"""Family of the codecs on the figure; refined ones are one of their own."""

CLASSICAL: dict[str, Callable[[Floats, npt.NDArray[np.uint8], int], Classical]] = {
    "PCA": PrincipalComponents.fit,
    "cosines": Transform.cosines,
    "harmonics": Transform.harmonics,
}
"""Classical codecs by name: how each is fitted to values, weights and a size in bytes."""


@dataclass(frozen=True)
class Answer:
    """What a method makes of a fold: reconstructions with nothing and with a fifth hidden, and standardised features."""

    whole: Floats
    partly: Floats
    train_features: Floats
    test_features: Floats


@dataclass(frozen=True)
class Rung:
    """One method at one size: errors on observations of blue up to 0.2, and overall accuracy of a logistic regression.

    `mae`, `rmse` and `cc` with nothing hidden, `hidden` the MAE on a fifth of the dekads kept from the encoder;
    `accuracy` is NaN without labels.
    """

    name: str
    family: str
    bytes: float
    mae: float
    rmse: float
    cc: float
    hidden: float
    accuracy: float

    def summary(self) -> dict[str, Any]:
        """Return it as plain numbers."""
        return asdict(self)


def _by_codec(runtime: Runtime, training: Source, test: Source, shown: npt.NDArray[np.uint8]) -> Answer:
    codes = runtime.encode(test.values, test.weights)
    known = runtime.encode(training.values, training.weights)
    partly = runtime.decode(runtime.encode(test.values, shown))
    return Answer(runtime.decode(codes), partly, *standardized(runtime.embed(known), runtime.embed(codes), weighed=True))


def _by_classical(name: str, size: int, training: Source, test: Source, shown: npt.NDArray[np.uint8]) -> Answer:
    method = fitted(name, size, training)
    whole, known = method.reconstruct(test.values, test.weights), method.reconstruct(training.values, training.weights)
    first, second = (
        raw_features(Source("", values, np.ones_like(source.weights), source.groups))
        for values, source in ((known, training), (whole, test))
    )
    return Answer(whole, method.reconstruct(test.values, shown), *standardized(first, second))


def fitted(name: str, size: int, training: Source) -> Classical:
    """Fit a classical codec of CLASSICAL to the pixel-years without a cloudy value, to all where hardly any is left."""
    calm = ~cloudy(training.values, training.weights)
    source = training.take(calm) if calm.sum() > 1 else training
    return CLASSICAL[name](source.values, source.weights, size)


def classical_scores(name: str, size: int, source: Source, folds: Sequence[int]) -> dict[str, Score]:
    """Score a classical codec on the held-out pixel-years of some folds together, each fitted to the fold's other groups.

    Returns scores by kind of observation (see `fidelity.kinds`).
    """
    whole, partly, values, weights, kept = [], [], [], [], []
    for fold in folds:
        training, test = split(source, fold=fold)
        method, shown = fitted(name, size, training), hide_dekads(test.weights, HIDDEN_SHARE, TEST_SEED)
        whole.append(method.reconstruct(test.values, test.weights))
        partly.append(method.reconstruct(test.values, shown))
        values.append(test.values)
        weights.append(test.weights)
        kept.append(shown)
    truth, observed = np.concatenate(values, axis=2), np.concatenate(weights, axis=2)
    seen = kinds(truth, observed, observed)
    gaps = {kind: mask for kind, mask in kinds(truth, observed, np.concatenate(kept, axis=2)).items() if kind[:3] == "hid"}
    found = {kind: score(np.concatenate(whole, axis=2), truth, mask) for kind, mask in seen.items()}
    return found | {kind: score(np.concatenate(partly, axis=2), truth, mask) for kind, mask in gaps.items()}


@dataclass
class _Pooled:
    """Reconstructions of several folds' test pixel-years, to be scored together."""

    predicted: list[Floats] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    chosen: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def add(self, predicted: Floats, values: Floats, chosen: npt.NDArray[np.bool_]) -> None:
        """Add a fold, [36, 6, n] all."""
        self.predicted.append(predicted)
        self.values.append(values)
        self.chosen.append(chosen)

    def score(self) -> Score:
        """Score all folds together."""
        arrays = np.concatenate(self.predicted, axis=2), np.concatenate(self.values, axis=2)
        return score(*arrays, np.concatenate(self.chosen, axis=2))


def _classified(answer: Answer, training: Source, test: Source) -> npt.NDArray[np.bool_]:
    """Return for which test pixel-years the class is found; empty without labels."""
    if training.labels is None or test.labels is None:
        return np.zeros(0, dtype=bool)
    classes, target = np.unique(training.labels.astype(str), return_inverse=True)
    guess = classes[CLASSIFIERS[CLASSIFIER](answer.train_features, target.astype(np.int64), answer.test_features)]
    return np.asarray(guess == test.labels.astype(str))


def _rung(
    name: str, family: str, size: float, source: Source, folds: Sequence[int], method: Callable[[int], Method]
) -> Rung:
    visible, hidden, right = _Pooled(), _Pooled(), []
    for fold in folds:
        training, test = split(source, fold=fold)
        shown = hide_dekads(test.weights, HIDDEN_SHARE, TEST_SEED)
        answer = method(fold)(training, test, shown)
        visible.add(answer.whole, test.values, kinds(test.values, test.weights, test.weights)["visible_clear"])
        gaps = kinds(test.values, test.weights, shown)
        hidden.add(answer.partly, test.values, gaps.get("hidden_clear", np.zeros(test.values.shape, dtype=bool)))
        right.append(_classified(answer, training, test))
    found, correct = visible.score(), np.concatenate(right)
    accuracy = float(correct.mean()) if correct.size else float("nan")
    return Rung(name, family, size, found.mae, found.rmse, found.cc, hidden.score().mae, accuracy)


def rungs(encoders: Sequence[Sequence[Runtime]], source: Source, fold: int = 0, sizes: Sequence[int] = SIZES) -> list[Rung]:
    """Measure codecs and classical ones on held-out pixel-years: of all folds where every codec comes as five, else `fold`.

    Raises EncoderError if some codecs come as five and others do not, or the source has one group only.
    """
    counts = {len(found) for found in encoders}
    if len(counts) > 1:
        raise EncoderError("some encoders come as one a fold and others do not; a ladder compares them on the same pixels")
    many = counts.pop() > 1 if counts else False
    folds = tuple(range(len(encoders[0]))) if many else (fold,)

    def codec_method(found: Sequence[Runtime]) -> Callable[[int], Method]:
        return lambda number: lambda *given: _by_codec(found[number if many else 0], *given)

    def classical_method(name: str, size: int) -> Callable[[int], Method]:
        return lambda _number: lambda *given: _by_classical(name, size, *given)

    result = [_rung(found[0].id, _family(found[0]), found[0].size, source, folds, codec_method(found)) for found in encoders]
    for name in CLASSICAL:
        result += [_rung(f"{name} {size}", name, size, source, folds, classical_method(name, size)) for size in sizes]
    return result


def _family(runtime: Runtime) -> str:
    return f"{OURS}, refined {runtime.refine}" if runtime.refine else OURS


def drawn(found: Sequence[Rung], title: str) -> bytes:
    """Draw error, error where nothing was seen, and accuracy against bytes a pixel-year: the bytes of a PNG.

    Of several members of a family at one size, the line runs through the one of the least MAE; the others are hollow.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {"mae": "MAE, visible", "rmse": "RMSE, visible", "hidden": "MAE, hidden", "accuracy": "land cover, overall"}
    labelled = any(not np.isnan(rung.accuracy) for rung in found)
    shown = [key for key in panels if key != "accuracy" or labelled]
    figure = Figure(figsize=(3.6 * len(shown), 3.8), layout="constrained")
    figure.suptitle(f"{title}: held-out pixel-years, blue <= 0.2")
    for number, key in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        for family in dict.fromkeys(rung.family for rung in found):
            members = sorted((rung for rung in found if rung.family == family), key=lambda rung: (rung.bytes, -rung.mae))
            best = {rung.bytes: getattr(rung, key) for rung in members}
            others = [(rung.bytes, getattr(rung, key)) for rung in members if best[rung.bytes] != getattr(rung, key)]
            width = 2 if family.startswith(OURS) else 1
            (line,) = axes.plot(list(best), list(best.values()), marker="o", label=family, linewidth=width)
            for size, figure_of_it in others:
                axes.plot(size, figure_of_it, marker="o", fillstyle="none", color=line.get_color())
        sizes = sorted({rung.bytes for rung in found})
        axes.set(xlabel="bytes a pixel-year", title=panels[key], xscale="log")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
        if key != "accuracy":
            axes.set_ylim(bottom=0)
        if number == 0:
            axes.legend()
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})
    return data.getvalue()
