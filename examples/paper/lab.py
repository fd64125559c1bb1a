"""What the experiments share: the trained networks, and studies of them with one store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmp_lava.errors import ConversionError, UsageError
from rmp_lava.progress import Progress
from rmp_lava.sources.models import load_trained
from rmp_lava.study.grid import Plan
from rmp_lava.study.job import Job
from rmp_lava.study.jobs import dataset
from rmp_lava.study.pool import Pool
from rmp_lava.study.store import Store
from rmp_lava.study.study import Source, Study
from rmp_lava.study.sweep import Row, Sweep

_OF_TRAINING = (
    "model",
    "options",
    "epochs",
    "start",
    "optimizer",
    "learning_rate",
    "batch_size",
    "augmentation",
    "mixing",
    "precision",
    "seed",
    "train_accuracy",
    "validation_accuracy",
    "seconds",
    "torch_version",
    "restored_from",
)
BLOCK = 250
"""Images of one job."""


@dataclass(frozen=True)
class Trained:
    """A trained network: its name in tables, its file, its data set, and the metadata of its training."""

    name: str
    path: Path
    data: str
    metadata: dict[str, Any]

    @property
    def training(self) -> dict[str, Any]:
        """What the page tells of the training."""
        return {name: self.metadata.get(name) for name in _OF_TRAINING}


def load_network(name: str, path: Path) -> Trained:
    """A finished checkpoint of `rmp-lava train`, or the float network restored from a `.net` file."""
    found = load_trained(str(path))
    if found.dataset is None:
        raise UsageError(f"{path} does not record its data set, so images cannot be loaded; give a checkpoint")
    metadata = dict(found.checkpoint) if found.kind == "checkpoint" else {"restored_from": path.name}
    done, epochs = metadata.get("epochs_done"), metadata.get("epochs")
    if done != epochs:
        raise UsageError(
            f"{path} holds {done} of {epochs} epochs; finish its training with `rmp-lava train ... --resume`"
        )
    return Trained(name, path, found.dataset, metadata)


@dataclass(frozen=True)
class Lab:
    """Studies with the same data.

    Parameters
    ----------
    store : Store
    pool : Pool
    data_dir : Path or None
    images : int or None
        Test images, None: all.
    calibration : int
        Training images for thresholds and biases.
    """

    store: Store
    pool: Pool
    data_dir: Path | None
    images: int | None
    calibration: int

    def plan(
        self,
        trained: Trained,
        *,
        images: int | None = None,
        calibration: int | None = None,
        nets: Sequence[Path] = (),
        only_nets: bool = False,
        **grid: Any,
    ) -> Plan:
        """The jobs of a grid; at most so many `images` and images for `calibration`; `nets` are tuned networks."""
        available = len(dataset(trained.data, self._data_dir).test_images)
        study = Study(
            trained.name,
            {} if only_nets else {trained.name: Source(str(trained.path))},
            {path.name: str(path) for path in nets},
            data=trained.data,
            data_dir=self._data_dir,
            calibration=min(each for each in (calibration, self.calibration) if each is not None),
            images=(0, min(each for each in (available, images, self.images) if each is not None)),
            block=BLOCK,
            grid={
                axis: tuple(values) if isinstance(values, list | tuple) else (values,) for axis, values in grid.items()
            },
        )
        return Plan(study, self.store.folder)

    def rows(self, trained: Trained, what: str, **options: Any) -> list[Row]:
        """What `plan(trained, **options)` measures; raises `ConversionError` if one of its jobs fails."""
        sweep = Sweep(self.plan(trained, **options), self.store)
        outlook = sweep.outlook()
        with Progress(f"{trained.name}, {what}, jobs", outlook.jobs, shown=True, done=outlook.stored) as bar:
            sweep.run(self.pool, lambda *_: bar.advance())
        for failure in sweep.failures:
            raise ConversionError(f"{failure.job}: {failure.error}")
        return sweep.rows()

    def made(self, job: Job) -> tuple[dict[str, Any], str]:
        """The result of a job that makes a network, and its file."""
        (result,) = self.each([job])
        return result, str(self.store.path(job.key).with_suffix(".net").resolve())

    def accuracy(self, trained: Trained, images: int | None = None) -> float:
        """Of the trained network on at most so many test images."""
        parts = self.each(self.plan(trained, images=images).trained(trained.name))
        return sum(part["correct"] for part in parts) / sum(part["images"] for part in parts)

    def source(self, trained: Trained) -> str:
        """What the data set is."""
        return dataset(trained.data, self._data_dir).source

    @property
    def _data_dir(self) -> str | None:
        return None if self.data_dir is None else str(self.data_dir.resolve())

    def each(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """The results of an experiment's own jobs."""
        for job in jobs:
            self.pool.submit(job)
        found = {}
        for job, outcome in self.pool.finished():
            if outcome.content is None:
                raise ConversionError(f"{job}: {outcome.error}")
            found[job.key] = outcome.content["result"]
        return [found[job.key] for job in jobs]


def curve(row: Row) -> dict[str, Any]:
    """JSON values of a row with one seed: "accuracy" after 1 .. T steps, "images", "rates", and sums over all images or means."""
    shared = {name: getattr(row, name) for name in ("images", "rates", "spikes", "operations")}
    return {"accuracy": list(row.accuracy[0]), **shared, "saturated": round(row.saturated * row.images)}
