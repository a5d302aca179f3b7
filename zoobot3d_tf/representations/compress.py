"""Principal components of features: a few numbers per galaxy that keep most of the variance of its features.

The 1280 features of EfficientNet are correlated: 40 components keep about 95 % of their variance (Walmsley et al. 2022,
arXiv 2110.12735).
"""

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from zoobot3d_tf.failures import is_of_machine
from zoobot3d_tf.files import PathLike, check_output, move_into_place, path_of, workspace
from zoobot3d_tf.inference.metadata import metadata_loc, write_metadata
from zoobot3d_tf.representations.vectors import (
    IDENTITY,
    SUFFIXES,
    VectorTable,
    check_other_table,
    open_vectors,
    vector_columns,
    with_source,
)
from zoobot3d_tf.tables.parquet_pieces import write_pieces

log = logging.getLogger(__name__)

_MAX_PCA_BYTES = 2**27

N_COMPONENTS = 40
"""Number of components that `compress` keeps by default."""


@dataclass(frozen=True)
class FittedPca:
    """Principal component analysis (PCA), fitted to features.

    Attributes:
        mean: mean of the features, float64 (features,).
        components: orthonormal rows in order of decreasing variance, float64 (components, features).
        variance: variance of the galaxies along each component, float64 (components,).
        total_variance: variance of the galaxies summed over all features, including components that are not kept.
        source: SHA-256 of the weights and level of the features; '' if unknown.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    total_variance: float
    source: str

    def keep(self, n_components: int) -> "FittedPca":
        """Keep the first components only."""
        return FittedPca(
            self.mean, self.components[:n_components], self.variance[:n_components], self.total_variance, self.source
        )

    def transform(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compress features to components.

        Args:
            features: features, shape (galaxies, features).

        Returns:
            Components, float64 (galaxies, components), and residuals, float64 (galaxies,): the Euclidean distance of
            the features from what the components reproduce.
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
    """Compress a table of features to principal components.

    The table is read twice: to fit the PCA, and to compress the features. Memory does not grow with the number of
    galaxies. The PCA is stored beside the new table as `<table>_pca.npz`, to compress other galaxies with.

    Args:
        features_loc: table of features that `write_features` wrote.
        out: table to write, .parquet, with the columns `id_str`, `file_loc`, `component_0000` and following, and
            `residual`, the distance of the features from what the components reproduce.
        n_components: number of components to keep; by default `N_COMPONENTS`, or all if there are fewer.
        share: share of the variance to keep, between 0 and 1; excludes `n_components`.
        pca_loc: fitted PCA of other galaxies, so that both sets of components can be compared; excludes `n_components`
            and `share`.

    Returns:
        Path of the table. Its metadata are the metadata of the features, and `pca`: the number of components, the share
        of the variance of these galaxies that they keep, and the file that the PCA was fitted to.

    Raises:
        ValueError: more than one of the three arguments is given, or a value is impossible for this table; a table or
            the PCA is damaged; or the PCA was fitted to other features.
        OSError: a file does not exist or cannot be written.
    """
    out = path_of(out).absolute()
    if sum(choice is not None for choice in (n_components, share, pca_loc)) > 1:
        raise ValueError("n_components, share and pca_loc exclude each other; give one of them")
    if share is not None and not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, such as 0.95; received {share}")
    check_output(out, "table", SUFFIXES)
    check_other_table(out, features_loc)
    features = open_vectors(features_loc, "feature")
    if pca_loc is None:
        pca = _choose(features, fit_pca(features), n_components, share)
    else:
        pca = load_pca(pca_loc)
        _check_source(features, pca, pca_loc)
    squares = _Squares()
    with workspace(out) as folder:
        table = folder / out.name
        write_pieces(table, with_source(_compressed(features, pca, squares), features.metadata))
        pca.save(pca_path(table))
        about = {
            "n_components": len(pca.variance),
            "share": squares.share_kept,
            "fitted_to": str(path_of(features_loc if pca_loc is None else pca_loc).absolute()),
        }
        write_metadata(table, {**features.metadata, "pca": about})
        # The table appears last, when its PCA and its metadata are complete.
        for made in (pca_path(table), metadata_loc(table), table):
            move_into_place(made, out.with_name(made.name))
    log.info("%d components keep %.1f %% of the variance: %s", len(pca.variance), 100 * squares.share_kept, out)
    return out


def pca_path(table_loc: Path) -> Path:
    """Path of the PCA of a table of components: `<table>_pca.npz`, beside it."""
    return table_loc.with_name(f"{table_loc.stem}_pca.npz")


def fit_pca(features: VectorTable) -> FittedPca:
    """Fit all principal components of a table of features, in one pass.

    The covariance is summed piece by piece; its eigenvectors are the components. This is exact, and memory does not
    grow with the number of galaxies. The IncrementalPCA of scikit-learn is an approximation and takes ten times as
    long.

    Args:
        features: table of features.

    Raises:
        ValueError: there are fewer than two galaxies, or all have the same features.
    """
    if features.n_galaxies < 2:
        raise ValueError(f"{features.path}: has one galaxy; principal components need at least 2")
    n_features = len(features.names)
    # Sums of squares about a point near the mean do not lose digits.
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
    n_components = min(n_features, features.n_galaxies - 1)  # further components have no variance
    # Rounding may make a variance of zero negative.
    variance, components = np.maximum(variance[::-1][:n_components], 0), directions.T[::-1][:n_components]
    # The sign of a component is arbitrary. Its largest element is made positive, so that all machines agree.
    components = components * np.sign(np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1))
    # For identical galaxies only rounding errors are left.
    if variance.sum() <= (np.finfo(np.float32).eps * np.abs(mean).max()) ** 2:
        raise ValueError(f"{features.path}: all {features.n_galaxies} galaxies have the same features")
    return FittedPca(mean, components, variance, float(variance.sum()), features.source)


def load_pca(path: PathLike) -> FittedPca:
    """Read a PCA that `FittedPca.save` wrote.

    Args:
        path: .npz file, such as `components_pca.npz`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a PCA, or is damaged.
    """
    if not path_of(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; `zoobot3d compress` writes a PCA beside its table")
    try:
        if not zipfile.is_zipfile(path):  # NumPy would recommend to allow pickled objects, which is unsafe
            raise ValueError("not an .npz file")
        with zipfile.ZipFile(path) as archive:
            if (n_bytes := sum(member.file_size for member in archive.infolist())) > _MAX_PCA_BYTES:
                raise ValueError(f"its content has {n_bytes} bytes, more than {_MAX_PCA_BYTES}, those of 4000 features")
        with np.load(path, allow_pickle=False) as stored:
            mean, components, variance = (stored[name] for name in ("mean", "components", "variance"))
            if {mean.dtype, components.dtype, variance.dtype} != {np.dtype(np.float64)}:
                raise ValueError("its arrays must hold float64")
            pca = FittedPca(mean, components, variance, float(stored["total_variance"]), str(stored["source"]))
    except Exception as error:  # damaged archives raise errors of nearly every kind
        if isinstance(error, OSError) and is_of_machine(error):
            raise
        raise ValueError(f"{path}: cannot be read as a PCA written by `zoobot3d compress`: {error}") from error
    is_consistent = mean.ndim == variance.ndim == 1 and components.shape == (variance.size, mean.size)
    if not (is_consistent and 1 <= variance.size <= mean.size):
        raise ValueError(
            f"{path}: is not a PCA: the shapes of mean, components and variance must be (features,), (components, "
            "features) and (components,), with at most as many components as features; "
            f"received {mean.shape}, {components.shape} and {variance.shape}"
        )
    if not all(np.isfinite(numbers).all() for numbers in (mean, components, variance, pca.total_variance)):
        raise ValueError(f"{path}: is not a PCA: its numbers must be finite")
    if not np.allclose(components @ components.T, np.eye(len(components)), atol=1e-6):
        raise ValueError(f"{path}: is not a PCA: its components must be orthonormal")
    return pca


@dataclass
class _Squares:
    """Sums over galaxies of the squared distance from the mean, and of the squared residual."""

    total: float = 0.0
    left_out: float = 0.0

    @property
    def share_kept(self) -> float:
        return 1 - self.left_out / self.total if self.total else 1.0


def _choose(features: VectorTable, pca: FittedPca, n_components: int | None, share: float | None) -> FittedPca:
    """Keep the number of components that was requested."""
    if share is not None:
        shares = np.cumsum(pca.variance) / pca.total_variance
        return pca.keep(min(int(np.searchsorted(shares, share)) + 1, len(shares)))
    most = len(pca.variance)
    wanted = min(N_COMPONENTS, most) if n_components is None else n_components
    if not 1 <= wanted <= most:
        raise ValueError(
            f"{features.path}: n_components must be 1 to {most} for {features.n_galaxies} galaxies with "
            f"{len(features.names)} features; received {wanted}"
        )
    return pca.keep(wanted)


def _compressed(features: VectorTable, pca: FittedPca, squares: _Squares) -> Iterator[pa.Table]:
    """Compress the features piece by piece, and sum the squares."""
    for others, vectors in features.pieces():
        components, residual = pca.transform(vectors)
        squares.left_out += float((residual**2).sum())
        squares.total += float((components**2).sum() + (residual**2).sum())
        columns = vector_columns("component", components) | {"residual": residual.astype(np.float32)}
        yield pa.table({name: others[name] for name in IDENTITY} | columns)


def _check_source(features: VectorTable, pca: FittedPca, pca_loc: PathLike) -> None:
    if len(features.names) != len(pca.mean):
        raise ValueError(
            f"{pca_loc}: was fitted to {len(pca.mean)} features, but {features.path} has {len(features.names)}; "
            "compute both tables of features with the same model and level"
        )
    source = features.source
    if source and pca.source and source != pca.source:
        raise ValueError(
            f"{pca_loc}: was fitted to features of other weights or another level ({pca.source}) than "
            f"{features.path} ({source}); compute both tables of features with the same model and level"
        )
