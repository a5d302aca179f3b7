"""Units and descriptions of columns of predictions."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u

from zoobot3d_tf.predictions.column_metadata import describe, to_astropy, to_qtable
from zoobot3d_tf.predictions.measurements import COLUMNS, UNITS
from zoobot3d_tf.predictions.results import column_names
from zoobot3d_tf.schemas import get_schema


def test_every_column_is_described_and_every_unit_is_known_to_astropy():
    names = [*column_names(get_schema("decals"), 2, ["spiral_mask", "bar_mask"]), *COLUMNS]
    assert all(describe(name)[1] for name in names)
    assert set(UNITS) <= set(COLUMNS)
    assert [u.Unit(describe(name)[0]) for name in ("ra", "bar_length_arcsec", "pixscale", "spiral_area_px")] == [
        u.deg,
        u.arcsec,
        u.arcsec / u.pix,
        u.pix**2,
    ]


@pytest.mark.parametrize("answer", ["smooth-or-featured_smooth", "smooth_or_featured_smooth"])
def test_columns_of_answers_name_the_answer(answer):
    unit, text = describe(f"{answer}_low")
    assert unit == ""
    assert text.startswith(f"{answer}: ")
    assert "90%" in text
    assert describe("redshift") == ("", "")


def test_tables_have_units_and_quantities():
    table = pd.DataFrame(
        {
            "id_str": ["a", "β"],
            "ra": [10.0, np.nan],
            "plate": pd.array([1, None], "Int64"),
            "z_km": [1.0, 2.0],
            "bar_length_arcsec": np.float32([5, np.nan]),
        }
    )
    plain = to_astropy(table, {"z_km": "km / s", "plate": "no unit"})
    assert plain["z_km"].unit == u.km / u.s
    assert plain["plate"].mask.tolist() == [False, True]
    assert str(plain["plate"].unit) == "no unit"
    assert plain["bar_length_arcsec"].dtype == np.float32
    quantities = to_qtable(table, {"run": "shipped"})
    assert quantities["bar_length_arcsec"][0] == 5 * u.arcsec
    assert np.isnan(quantities["ra"][1])
    assert quantities["ra"].info.description.startswith("right ascension")
    assert quantities["id_str"].tolist() == ["a", "β"]
    assert quantities.meta == {"run": "shipped"}
