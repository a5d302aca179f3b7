"""Sheets of small pictures."""

import pytest
from PIL import Image

from zoobot3d_tf.images.stretch import DEFAULT_STRETCH
from zoobot3d_tf.pages.thumbnails import Picture, check_sheet, write_sheet


def test_a_long_row_is_continued_below(tmp_path):
    sizes = []
    for n_pictures in (20, 21):
        write_sheet(tmp_path / "sheet.png", [[Picture("no.png", "galaxy", "note")] * n_pictures], DEFAULT_STRETCH)
        with Image.open(tmp_path / "sheet.png") as sheet:
            sizes.append(sheet.size)
    assert sizes[1][0] == sizes[0][0]
    assert 1.9 < sizes[1][1] / sizes[0][1] <= 2


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"sheet\.png.* folder"):
        check_sheet(tmp_path / "sheet.png", 4)


@pytest.mark.parametrize(
    ("name", "n_pictures", "words"),
    [("n.jpg", 1, r"n\.jpg.*\.png"), ("n.png", 1001, r"n\.png.*\b1000\b.*\b1001\b")],
)
def test_a_sheet_that_could_not_be_written_is_refused(tmp_path, name, n_pictures, words):
    with pytest.raises(ValueError, match=words):
        check_sheet(tmp_path / name, n_pictures)
    check_sheet(tmp_path / "n.png", 1000)
