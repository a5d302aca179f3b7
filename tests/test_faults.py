"""A day of faults: kills, full disks, read-only folders and second owners, for each command that writes files.

`make test-faults` runs these tests. After each fault, the same command must give the same files as a run without
faults, or the error must be one sentence; nothing that was finished may be lost.
"""

import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from archive_server import ArchiveServer, archive_server
from astropy.io import fits

pytestmark = pytest.mark.faults

COMMAND = (sys.executable, str(Path(__file__).with_name("fault_command.py")))
KILLS = 10
# Files that tell of a run rather than of its result: logs, and what was written when by which command.
NOT_COMPARED = ("tensorboard", "metadata.json", "config.json", "checkpoints")


@dataclass(frozen=True)
class Stage:
    """A command, whose output is the folder `{out}`; `{base}` has the outputs of the stages before it."""

    name: str
    command: str


STAGES = (
    Stage("simulate", "simulate --n 40 --seed 3 --out {out}/survey --workers 2"),
    Stage(
        "shards",
        "shards --labelled-catalog {base}/simulate/survey/catalog.csv --shard-dir {out}/shards --schema decals "
        "--img-size 64 --eval-size 0.3 --shard-size 4 --workers 2 --resume",
    ),
    Stage("catalog", "catalog build --images {base}/absolute.csv --schema decals --split --out {out}/c.csv"),
    Stage("partition", "partition {base}/simulate/survey/catalog.csv --out {out}/cells"),
    Stage("masks", "masks draw --catalog {base}/marks.csv --marks {base}/simulate/survey/marks --out {out}/masks"),
    Stage("download", "gz3d download --out {out}/gz3d --base-url {url}"),
    Stage(
        "train",
        "train --experiment-dir {out}/run --train-dir {base}/shards/shards/train_shards --eval-dir "
        "{base}/shards/shards/eval_shards --resize-size 32 --epochs 4 --batch-size 8",
    ),
    Stage(
        "finetune",
        "finetune --catalog {base}/simulate/survey/catalog.csv --save-dir {out}/run --base {base}/train/run "
        "--schema decals --epochs 3 --n-blocks 1 --batch-size 8",
    ),
    *(
        Stage(
            f"predict-{suffix}",
            "predict --checkpoint-dir {base}/train/run --folder {base}/simulate/survey/images --n-samples 2 "
            f"--engine tf --masks-dir {{out}}/masks --overlays --save-loc {{out}}/table.{suffix}",
        )
        for suffix in ("csv", "parquet", "hdf5")
    ),
    Stage(
        "representations",
        "representations {base}/train/run {base}/simulate/survey/images --engine tf --out {out}/features.parquet",
    ),
    Stage("compress", "compress {base}/representations/features.parquet --n-components 3 --out {out}/pca.parquet"),
    Stage("map", "map {base}/compress/pca.parquet --method pca --out {out}/map.html"),
    Stage("show", "predictions show {base}/predict-csv/table.csv --out {out}/page.html"),
    Stage(
        "evaluate",
        "evaluate --predictions {base}/predict-csv/table.csv --catalog {base}/simulate/survey/catalog.csv "
        "--schema decals --out {out}/report",
    ),
    Stage("export", "export {base}/train/run --format keras --out {out}/model.keras"),
    Stage("pack", "pack {base}/train/run --out {out}/packed"),
)
EVERY_STAGE = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


@dataclass(frozen=True)
class Workplace:
    """Folder with the output of each stage, made without faults, and the duration of each stage in seconds."""

    base: Path
    server: ArchiveServer
    seconds: dict[str, float]

    def command(self, stage: Stage, out: Path) -> list[str]:
        """Return the command line of a stage."""
        return [*COMMAND, *stage.command.format(base=self.base, out=out, url=self.server.url).split()]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Iterator[Workplace]:
    base = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(0)
    files = {f"gz3d_{i}.fits.gz": gzipped_fits(rng) for i in range(30)}
    with archive_server(files) as server:
        place = Workplace(base, server, {})
        for stage in STAGES:
            if stage.name == "shards":
                write_catalogs(base)
            (base / stage.name).mkdir()
            started = time.monotonic()
            finish(place.command(stage, base / stage.name))
            place.seconds[stage.name] = time.monotonic() - started
        yield place


def gzipped_fits(rng: np.random.Generator) -> bytes:
    """A gzipped FITS file of 100 kB of noise."""
    file = io.BytesIO()
    fits.PrimaryHDU(rng.integers(0, 2**31, 25_000, dtype=np.int32)).writeto(file)
    return gzip.compress(file.getvalue(), mtime=0)


def write_catalogs(base: Path) -> None:
    """Write the catalogue of the survey with absolute paths, and with the columns that `masks draw` needs."""
    catalog = pd.read_csv(base / "simulate" / "survey" / "catalog.csv", dtype={"id_str": str})
    for name in catalog.filter(like="_loc"):
        catalog[name] = [str(base / "simulate" / "survey" / loc) if loc else "" for loc in catalog[name].fillna("")]
    catalog.to_csv(base / "absolute.csv", index=False)
    columns = ["id_str", "file_loc", "ra", "dec", "pixscale", "wcs_ra", "wcs_dec"]
    catalog.assign(wcs_ra=catalog["ra"], wcs_dec=catalog["dec"])[columns].to_csv(base / "marks.csv", index=False)


def finish(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


def contents(folder: Path, written_at: Path, base: Path) -> dict[str, object]:
    """Content of each file of a result, with words in place of the folder that it was written to and of its inputs.

    Of models and HDF5 files the arrays are compared, since the files may hold times.
    """
    places = {str(written_at): "{out}", os.path.relpath(base / "simulate", written_at): "{survey}"}
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or any(part in name for part in NOT_COMPARED):
            continue
        if path.suffix in (".h5", ".hdf5"):
            arrays = arrays_in(path)
        elif path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                arrays = arrays_in(io.BytesIO(archive.read("model.weights.h5")))
        elif path.suffix == ".parquet":  # paths of another length are compressed in another way
            arrays = {"": pd.read_parquet(path).to_csv().encode()}
        else:
            arrays = {"": path.read_bytes()}
        for place, word in places.items():
            arrays = {key: value.replace(place.encode(), word.encode()) for key, value in arrays.items()}
        found[name] = arrays
    return found


def arrays_in(file: Path | io.BytesIO) -> dict[str, bytes]:
    arrays: dict[str, bytes] = {}

    def add(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and "optimizer" not in name:
            values = np.asarray(item[()])
            arrays[name] = b"\0".join(values.ravel()) if values.dtype == object else values.tobytes()

    with h5py.File(file) as content:
        content.visititems(add)
    return arrays


def assert_same(out: Path, workplace: Workplace, stage: Stage, written_at: Path | None = None) -> None:
    whole = workplace.base / stage.name
    received = contents(out, written_at or out, workplace.base)
    expected = contents(whole, whole, workplace.base)
    assert received.keys() == expected.keys()
    assert [name for name in expected if received[name] != expected[name]] == []


def assert_one_sentence(result: subprocess.CompletedProcess, fact: str) -> None:
    """Assert that a command ended with one line of error that contains a fact."""
    assert result.returncode == 2, result.stderr[-3000:]
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), result.stderr[-3000:]
    assert fact in last
    assert "Traceback" not in result.stderr


@EVERY_STAGE
def test_after_ten_kills_the_same_command_gives_the_same_files(workplace, tmp_path, stage):
    command, moments = workplace.command(stage, tmp_path), random.Random(stage.name)
    n_killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Most of the time passes before the first file: the interpreter starts and TensorFlow is imported.
        time.sleep(moments.uniform(0.3, 1.0) * workplace.seconds[stage.name])
        process.send_signal(signal.SIGKILL)
        n_killed += process.wait() == -signal.SIGKILL
        if process.returncode == 0 and n_killed < KILLS // 2:  # it was faster than before
            shutil.rmtree(tmp_path)
            tmp_path.mkdir()
    assert n_killed
    result = subprocess.run(command, capture_output=True, text=True)
    # Some commands refuse to write over the result of a process that was killed after its last step.
    assert result.returncode == 0 or ": already " in result.stderr, result.stderr[-3000:]
    assert_same(tmp_path, workplace, stage)


def in_namespace(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run a script of bash that may mount file systems, which vanish with it."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "bash", "-c", script, "bash", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def namespaces():
    """Skip where file systems cannot be mounted."""
    if shutil.which("unshare") is None or in_namespace('mount -t tmpfs tmpfs "$1"', "/mnt").returncode:
        pytest.skip("file systems cannot be mounted on this machine (unshare --mount)")


@EVERY_STAGE
@pytest.mark.usefixtures("namespaces")
def test_a_full_disk_is_one_sentence_and_with_space_the_same_command_gives_the_same_files(workplace, tmp_path, stage):
    size = sum(path.stat().st_size for path in (workplace.base / stage.name).rglob("*") if path.is_file())
    disk, log = tmp_path / "disk", tmp_path / "full.log"
    disk.mkdir()
    result = in_namespace(
        """
        disk=$1 size=$2 log=$3; shift 3
        mount -t tmpfs -o size=$size tmpfs "$disk"
        "$@" 2> "$log"; code=$?
        mount -o remount,size=4G "$disk"
        "$@" > "$log.again" 2>&1 || exit 100
        cp -r "$disk/." "$disk.copy"
        exit $code
        """,
        disk,
        max(4096, size // 3),
        log,
        *workplace.command(stage, disk),
    )
    assert result.returncode != 100, log.with_name("full.log.again").read_text()[-3000:]
    result.stderr = log.read_text()
    assert_one_sentence(result, "No space left on device")
    assert_same(tmp_path / "disk.copy", workplace, stage, written_at=disk)


@EVERY_STAGE
@pytest.mark.usefixtures("namespaces")
def test_a_read_only_folder_is_one_sentence(workplace, tmp_path, stage):
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"; shift; "$@"'
    result = in_namespace(script, tmp_path, *workplace.command(stage, tmp_path))
    assert_one_sentence(result, str(tmp_path))
    assert not list(tmp_path.iterdir())


@EVERY_STAGE
def test_of_two_owners_one_finishes_and_the_other_is_refused_in_words_or_finds_it_finished(workplace, tmp_path, stage):
    command = workplace.command(stage, tmp_path)
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert 0 in codes, errors
    for code, error in zip(codes, errors, strict=True):
        assert code in (0, 2)
        assert code == 0 or error.strip().splitlines()[-1].startswith("error: ")
    assert_same(tmp_path, workplace, stage)
