"""Principal components of features: a few numbers a galaxy that hold nearly all of what the features say.

1280 features of EfficientNet are far from independent: published, 40 components keep about 95 % of their variance
(Walmsley et al. 2022, arXiv 2110.12735).
"""

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoobot3d_tf.files import PathLike, check_output, whole_file
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.representations.vectors import (
    IDENTITY,
    SUFFIXES,
    VectorTable,
    check_other_table,
    open_vectors,
    vector_columns,
)
from zoobot3d_tf.tables.parquet_pieces import write_pieces

log = logging.getLogger(__name__)

N_COMPONENTS = 40


@dataclass(frozen=True)
class FittedPca:
    """Principal components.

    Attributes:
        mean: of the features, float64 (features,).
        components: orthonormal rows, of falling variance, float64 (components, features).
        variance: of the galaxies along each component, float64 (components,).
        total_variance: of the galaxies, over all features; those along the components are a part of it.
        source: which features these are: the SHA-256 of the weights, and the level; '' if unknown.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    total_variance: float
    source: str

    def keep(self, n_components: int) -> "FittedPca":
        """The same with the first components only."""
        return FittedPca(
            self.mean, self.components[:n_components], self.variance[:n_components], self.total_variance, self.source
        )

    def transform(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compresses features.

        Args:
            features: (galaxies, features).

        Returns:
            The components, float64 (galaxies, components), and the length of what they leave out, (galaxies,).
        """
        centred = features.astype(np.float64) - self.mean
        compressed = centred @ self.components.T
        return compressed, np.linalg.norm(centred - compressed @ self.components, axis=1)

    def save(self, path: Path) -> None:
        """Write the components to an .npz file of plain arrays, without pickled objects."""
        np.savez(path, **vars(self))


def compress(
    features_loc: PathLike,
    out: PathLike,
    *,
    n_components: int | None = None,
    share: float | None = None,
    pca_loc: PathLike | None = None,
) -> Path:
    """Compresses a table of features to principal components; memory does not grow with the number of galaxies.

    The table is read twice: to fit, and to compress. The PCA is stored beside the new table, as `<table>_pca.npz`, to
    compress other galaxies with later.

    Args:
        features_loc: as `write_features` leaves it.
        out: table to write, .parquet: `id_str`, `file_loc`, `component_0000` and on, and `residual`, the length of
            what the components leave out of the features.
        n_components: how many to keep; by default `N_COMPONENTS`, or all where there are fewer.
        share: or keep as many as hold this share of the variance, between 0 and 1.
        pca_loc: or take the stored PCA of other galaxies, so that both lie in one space.

    Returns:
        Path of the table. Its metadata are those of the features, and `pca`: the number of components, the share that
        they keep of the variance of these galaxies, and what the PCA was fitted to.

    Raises:
        ValueError: more than one of the three is given, or it is impossible for this table; a table or PCA is damaged,
            or they are of different features.
        OSError: a file is missing or cannot be written.
    """
    out = Path(out).absolute()
    if sum(choice is not None for choice in (n_components, share, pca_loc)) > 1:
        raise ValueError("n_components, share and pca_loc exclude each other: give one of them")
    if share is not None and not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1; received {share}")
    check_output(out, "table", SUFFIXES)
    check_other_table(out, features_loc)
    features = open_vectors(features_loc, "feature")
    if pca_loc is None:
        pca = _choose(features, fit_pca(features), n_components, share)
    else:
        pca = load_pca(pca_loc)
        _check_source(features, pca, pca_loc)
    squares = _Squares()
    # The table gets its name last, when its PCA and metadata are whole.
    with whole_file(out) as partial:
        write_pieces(partial, _compressed(features, pca, squares))
        with whole_file(pca_path(out)) as partial_pca:
            pca.save(partial_pca)
            about = {
                "n_components": len(pca.variance),
                "share": squares.share_kept,
                "fitted_to": str(Path(features_loc if pca_loc is None else pca_loc).absolute()),
            }
            write_metadata(out, {**features.metadata, "pca": about})
    log.info("%d components keep %.1f %% of the variance: %s", len(pca.variance), 100 * squares.share_kept, out)
    return out


def pca_path(table_loc: Path) -> Path:
    """Where the PCA of a compressed table is: `<table>_pca.npz`, beside it."""
    return table_loc.with_name(f"{table_loc.stem}_pca.npz")


def fit_pca(features: VectorTable) -> FittedPca:
    """All principal components of a table of features, in one pass.

    The covariance is summed piece by piece, and its eigenvectors are the components: exact, and in flat memory.
    scikit-learn's IncrementalPCA approximates them, and takes ten times as long.

    Raises:
        ValueError: there are fewer than two galaxies, or all have the same features.
    """
    if features.n_galaxies < 2:
        raise ValueError(f"{features.path}: has one galaxy; principal components take two at least")
    n_features = len(features.names)
    # Sums of squares about some place near the mean lose no digits.
    pieces = (vectors for _, vectors in features.pieces())
    first = next(pieces)
    near_mean = first.mean(axis=0, dtype=np.float64)
    sums, products = np.zeros(n_features), np.zeros((n_features, n_features))
    for vectors in chain([first], pieces):
        centred = vectors - near_mean
        sums += centred.sum(axis=0)
        products += centred.T @ centred
    shift = sums / features.n_galaxies
    mean = near_mean + shift
    covariance = (products - np.outer(shift, sums)) / (features.n_galaxies - 1)
    variance, directions = np.linalg.eigh(covariance)
    n_components = min(n_features, features.n_galaxies - 1)  # no more than these have any variance
    # Where there is no variance, rounding may leave less than none.
    variance, components = np.maximum(variance[::-1][:n_components], 0), directions.T[::-1][:n_components]
    # A component may point either way: let its largest part be positive, whatever the machine.
    components = components * np.sign(np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1))
    # What is left of identical galaxies is rounding.
    if variance.sum() <= (np.finfo(np.float32).eps * np.abs(mean).max()) ** 2:
        raise ValueError(f"{features.path}: all {features.n_galaxies} galaxies have the same features")
    return FittedPca(mean, components, variance, float(variance.sum()), _source_of(features))


def load_pca(path: PathLike) -> FittedPca:
    """Reads what `FittedPca.save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such PCA; `zoobot3d compress` leaves one beside its table")
    try:
        if not zipfile.is_zipfile(path):  # NumPy would advise to open it unsafely
            raise ValueError("it is no .npz file")
        with np.load(path, allow_pickle=False) as stored:
            mean, components, variance = (
                stored[name].astype(np.float64) for name in ("mean", "components", "variance")
            )
            pca = FittedPca(mean, components, variance, float(stored["total_variance"]), str(stored["source"]))
    except Exception as error:  # damaged archives raise errors of nearly every kind
        raise ValueError(f"{path}: cannot be read as a PCA, as `zoobot3d compress` leaves it: {error}") from error
    if not (mean.ndim == variance.ndim == 1 and components.shape == (variance.size, mean.size) and variance.size):
        raise ValueError(
            f"{path}: is no PCA: mean, components and variance have the shapes {mean.shape}, {components.shape} and "
            f"{variance.shape}"
        )
    if not all(np.isfinite(numbers).all() for numbers in (mean, components, variance, pca.total_variance)):
        raise ValueError(f"{path}: is no PCA: its numbers are not finite")
    if not np.allclose(components @ components.T, np.eye(len(components)), atol=1e-6):
        raise ValueError(f"{path}: is no PCA: its components are not orthonormal")
    return pca


@dataclass
class _Squares:
    """Sums over galaxies of the squared distance from the mean, and of what of it the components leave out."""

    total: float = 0.0
    left_out: float = 0.0

    @property
    def share_kept(self) -> float:
        return 1 - self.left_out / self.total if self.total else 1.0


def _choose(features: VectorTable, pca: FittedPca, n_components: int | None, share: float | None) -> FittedPca:
    """The components wanted."""
    if share is not None:
        shares = np.cumsum(pca.variance) / pca.total_variance
        return pca.keep(min(int(np.searchsorted(shares, share)) + 1, len(shares)))
    most = len(pca.variance)
    wanted = min(N_COMPONENTS, most) if n_components is None else n_components
    if not 1 <= wanted <= most:
        raise ValueError(
            f"{features.path}: {features.n_galaxies} galaxies of {len(features.names)} features have 1 to {most} "
            f"components; received {wanted}"
        )
    return pca.keep(wanted)


def _compressed(features: VectorTable, pca: FittedPca, squares: _Squares) -> Iterator[pa.Table]:
    """The rows of the new table, while the squares are summed."""
    for others, vectors in features.pieces():
        components, residual = pca.transform(vectors)
        squares.left_out += float((residual**2).sum())
        squares.total += float((components**2).sum() + (residual**2).sum())
        columns = vector_columns("component", components) | {"residual": residual.astype(np.float32)}
        yield pa.table({name: others[name] for name in IDENTITY} | columns)


def _source_of(features: VectorTable) -> str:
    known = [str(features.metadata.get(name, "")) for name in ("weights_sha256", "level")]
    return " ".join(known).strip()


def _check_source(features: VectorTable, pca: FittedPca, pca_loc: PathLike) -> None:
    if len(features.names) != len(pca.mean):
        raise ValueError(
            f"{pca_loc}: is of {len(pca.mean)} features, {features.path} has {len(features.names)}; "
            "compute both with one model and one level"
        )
    source = _source_of(features)
    if source and pca.source and source != pca.source:
        raise ValueError(
            f"{pca_loc}: is of features of other weights or another level ({pca.source}) than {features.path} "
            f"({source}); compute both with one model and one level"
        )
