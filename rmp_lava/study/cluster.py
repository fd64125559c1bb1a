"""Jobs on Dask's workers: processes of this machine, those of a running scheduler, or jobs of a batch system such as SLURM.

Dask distributes jobs, and executes those of a lost worker again. Workers write to the store themselves, so it lies on a file
system that all of them share. Parts of a conversion are sent to them instead, and their results back. Scheduler and workers trust
each other: whoever reaches their ports can run code there.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from asyncio import CancelledError as AsyncCancelledError
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BackendError, BackendUnavailableError, UsageError, first_line
from ..threads import usable_cores
from .job import Job, Outcome

BATCH_SYSTEMS = {name.lower(): f"{name}Cluster" for name in ("SLURM", "PBS", "LSF", "SGE", "HTCondor", "OAR", "Moab")}
"""As users name them -> class of dask-jobqueue."""
PLACES = f"local, local:N, tcp://HOST:PORT, tls://HOST:PORT, or {', '.join(BATCH_SYSTEMS)}"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**26, "MALLOC_MMAP_THRESHOLD_": 2**25}
"""Of glibc, which adjusts the two up to these by itself (mallopt(3)) unless one is set. Dask sets the first one to 64 KiB for its
workers; then each tensor above 128 KiB is mapped anew, and the system fills its pages with zeros."""
RESTART = "10 minutes"
"""In which a worker of this machine that died has to be there again, on a machine that is busy with other things."""
_ANEW = "nothing is kept of the conversion, so call again"
_KEPT = "what was measured is kept, so call again with --resume"
_MORE_MEMORY = "give workers more memory, or measure fewer images in a job"
_Function = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Cluster:
    """What each worker is given, the table [cluster] of a study.

    Parameters
    ----------
    workers : int or None
        Processes; None: as many as the cores allow on this machine, 1 in a batch system.
    threads : int
        Of PyTorch in each process, also without a cluster.
    memory : str or None
        Of each worker, such as "4GB"; Dask restarts a worker that takes more. None: an equal share of this machine; batch systems
        need it, here or in Dask's configuration.
    queue, account, walltime, interface : str or None
        Of a batch system, such as walltime "02:00:00"; None: as in Dask's configuration (jobqueue.yaml).
    directives, prologue : tuple of str
        Further lines of its job script: directives such as "--constraint=cpu", and commands before the worker starts.

    Raises
    ------
    UsageError
        If a number is below 1.
    """

    workers: int | None = None
    threads: int = 1
    memory: str | None = None
    queue: str | None = None
    account: str | None = None
    walltime: str | None = None
    interface: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise UsageError(f"{name} of [cluster] is {value}; give at least 1")


class DaskPool:
    """Workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    folder : Path
        Of the store, as the workers see it.
    threads : int
        Of PyTorch in each worker.
    expected : int
        Workers that were asked for.
    """

    def __init__(self, client: Any, folder: Path, threads: int, expected: int = 1) -> None:
        from distributed import as_completed

        self._client, self._arguments, self._expected = client, (str(folder.resolve()), threads), expected
        self._jobs: dict[str, Job] = {}
        self._completed = as_completed(loop=client.loop)

    @property
    def workers(self) -> int:
        """Processes that were asked for, or more that are there."""
        return max(self._expected, self.present)

    @property
    def present(self) -> int:
        """Processes that are there at present."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def submit(self, job: Job) -> None:
        """Send a job to the scheduler."""
        from .jobs import execute

        with _connected(_KEPT):
            future = self._client.submit(execute, job, *self._arguments, key=job.key, pure=False)
        self._jobs[future.key] = job
        self._completed.add(future)

    def finished(self) -> Iterator[tuple[Job, Outcome]]:
        """Jobs as workers finish them.

        Raises
        ------
        BackendError
            If the scheduler is lost; what workers finished is in the store.
        """
        for future in self._completed:
            job = self._jobs[future.key]
            with _connected(_KEPT):
                error = future.exception()
                outcome = future.result() if error is None else Outcome(None, _reason(error))
            yield job, outcome


class DaskCalls:
    """`rmp_lava.conversion.calls.Calls` on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    threads : int
        Of PyTorch in each worker.
    """

    def __init__(self, client: Any, threads: int) -> None:
        self._client, self._threads = client, threads
        self._shared: object = None
        self._sent: Any = None

    def __call__(self, function: _Function, shared: Any, items: Iterable[Any]) -> Iterator[Any]:
        """Results in the order of the items; what is shared is sent to the scheduler once.

        Raises
        ------
        BackendError
            If the scheduler is lost, or all workers that tried a call died.
        """
        from distributed import KilledWorker

        from .jobs import call, itself

        with _connected(_ANEW), warnings.catch_warnings():
            if shared is not self._shared:
                # A task, and no scattered data: these would be lost with the last worker that has them.
                warnings.filterwarnings("ignore", "Sending large graph")
                self._shared, self._sent = shared, self._client.submit(itself, shared, pure=False)
            futures = [
                self._client.submit(call, function, self._sent, item, self._threads, pure=False) for item in items
            ]
        for future in futures:
            with _connected(_ANEW):
                error = future.exception()
                if error is None:
                    result = future.result()
            if isinstance(error, CancelledError | AsyncCancelledError):
                raise _lost(_ANEW, error)
            if error is not None:
                raise BackendError(_reason(error)) if isinstance(error, KilledWorker) else error
            yield result


@contextmanager
def _connected(remedy: str) -> Iterator[None]:
    """Nothing that asks the scheduler fails for another reason than that it is gone: jobs return their errors."""
    try:
        yield
    except (Exception, AsyncCancelledError) as error:
        raise _lost(remedy, error) from None


def _lost(remedy: str, error: BaseException) -> BackendError:
    return BackendError(f"the connection to the scheduler is lost; {remedy} ({type(error).__name__})")


def _reason(error: Exception) -> str:
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return f"all workers that tried it died, the last one was {error.last_worker.address}; {_MORE_MEMORY}"
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def pool(place: str, options: Cluster, folder: Path) -> Iterator[tuple[DaskPool, str]]:
    """Workers at a place of `PLACES`, and the address of their dashboard; those that were started for it end afterwards.

    Raises
    ------
    UsageError
        If the place is not one of them.
    BackendUnavailableError
        If Dask is missing, or the scheduler cannot be reached.
    """
    with _client(place, options) as (client, workers):
        yield DaskPool(client, folder, options.threads, workers), client.dashboard_link


@contextmanager
def calls(place: str, options: Cluster) -> Iterator[tuple[DaskCalls, str]]:
    """Calls at a place of `PLACES`, and the address of its dashboard; raises as `pool`."""
    with _client(place, options) as (client, _):
        yield DaskCalls(client, options.threads), client.dashboard_link


@contextmanager
def _client(place: str, options: Cluster) -> Iterator[tuple[Any, int]]:
    """A client, and how many workers were asked for."""
    workers = expected_workers(place, options)
    distributed = _dask()
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is said in one sentence
    with ExitStack() as stack:
        if place in BATCH_SYSTEMS:
            started = stack.enter_context(_batch(place, options))
            started.scale(jobs=workers)
        else:
            started = stack.enter_context(_local(workers, options)) if place.startswith("local") else place
        try:
            client = stack.enter_context(distributed.Client(started, timeout="20s", set_as_default=False))
        except (OSError, TimeoutError, ValueError) as error:
            raise BackendUnavailableError(
                f"no scheduler answers at {place} ({first_line(error)}); start one with `dask scheduler`, and workers with "
                f"`dask worker {place} --nthreads 1`"
            ) from None
        yield client, workers


def expected_workers(place: str, options: Cluster) -> int:
    """How many processes a place would have, without starting any; 1 where a running scheduler knows.

    Raises
    ------
    UsageError
        If the place is not one of `PLACES`.
    """
    kind, _, rest = place.partition(":")
    if kind == "local" and (not rest or rest.isdecimal() and int(rest)):
        return int(rest) if rest else options.workers or max(1, usable_cores() // options.threads)
    if kind in ("tcp", "tls") or place in BATCH_SYSTEMS:
        return options.workers or 1
    raise UsageError(f"--cluster is {place!r}; choose {PLACES}")


def job_script(place: str, options: Cluster) -> str:
    """The script that a batch system would run for each worker; nothing is submitted.

    Raises
    ------
    UsageError
        If the place is no batch system, or something is missing that it needs.
    """
    if place not in BATCH_SYSTEMS:
        raise UsageError(f"--print-script is for batch systems, not for {place!r}; choose {', '.join(BATCH_SYSTEMS)}")
    with _batch(place, options) as cluster:
        script: str = cluster.job_script()
        return script


@contextmanager
def _local(workers: int, options: Cluster) -> Iterator[Any]:
    distributed = _dask()
    import dask

    environment = dict.fromkeys(_THREADS, str(options.threads))
    configuration: dict[str, Any] = {
        f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in MALLOC.items()
    }
    # A worker that died is started again. Dask gives it up for good where that takes longer than 15 seconds.
    configuration["distributed.deploy.lost-worker-timeout"] = RESTART
    with dask.config.set(configuration):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a port that is taken: another one is found
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,  # jobs at once; PyTorch's threads belong to the process
                memory_limit=options.memory or "auto",
                env=environment,
                dashboard_address="127.0.0.1:0",
            )
        with cluster:
            yield cluster


@contextmanager
def _batch(kind: str, options: Cluster) -> Iterator[Any]:
    _dask()
    import dask
    import dask_jobqueue

    where = "in [cluster] of the study, or in Dask's configuration"
    # Without it, dask_jobqueue leaves half a cluster behind, whose end is a warning.
    if options.memory is None and dask.config.get(f"jobqueue.{kind}.memory", None) is None:
        raise UsageError(f"{kind} cannot be used without the memory of a worker; give memory {where}")
    given: dict[str, Any] = {
        "memory": options.memory,
        "queue": options.queue,
        "account": options.account,
        "walltime": options.walltime,
        "interface": options.interface,
        "job_extra_directives": list(options.directives) or None,
    }
    environment = MALLOC | dict.fromkeys(_THREADS, options.threads)
    given = {name: value for name, value in given.items() if value is not None}
    if kind == "slurm":
        given["job_cpu"] = options.threads
    try:
        cluster = getattr(dask_jobqueue, BATCH_SYSTEMS[kind])(
            cores=1,  # jobs at once; PyTorch's threads belong to the process
            processes=1,
            job_script_prologue=[*(f"export {name}={value}" for name, value in environment.items()), *options.prologue],
            python=sys.executable,
            **given,
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"{kind} cannot be used ({first_line(error)}); give walltime and queue {where}") from None
    with cluster:
        yield cluster


def _dask() -> Any:
    handler = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue  # noqa: F401 - one extra has both
        import distributed
    except ImportError as error:
        raise BackendUnavailableError(
            f"--cluster needs Dask ({first_line(error)}); install it with: pip install '.[cluster]'"
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)  # dask_jobqueue makes Ctrl-C a successful exit
    return distributed
