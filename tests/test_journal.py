"""The journal of a live oracle."""

import pytest

from zoobot3d_tf.active_learning.journal import Entry, open_journal

ABOUT = {"service": "https://www.zooniverse.org", "workflow": "33"}


def test_a_journal_keeps_what_was_written(tmp_path):
    path = tmp_path / "journal.sqlite"
    with open_journal(path, ABOUT) as journal:
        journal.add({"J1": "101", "J2": "102"}, is_asked=False)
        journal.add({"J2": "103"}, is_asked=False)
        journal.mark_asked(["J2"])
        journal.keep_votes({"J2": [3, 0]})
    with open_journal(path, ABOUT) as journal:
        assert journal.entries() == {"J1": Entry("101", False, None), "J2": Entry("103", True, (3, 0))}


def test_a_journal_of_something_else_is_refused(tmp_path):
    with open_journal(tmp_path / "journal.sqlite", ABOUT):
        pass
    with pytest.raises(ValueError, match=r"journal.sqlite: .*workflow 33.*44"):
        with open_journal(tmp_path / "journal.sqlite", {**ABOUT, "workflow": "44"}):
            pass


def test_a_damaged_journal_is_named(tmp_path):
    (tmp_path / "journal.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ValueError, match=r"journal\.sqlite: is no journal"):
        with open_journal(tmp_path / "journal.sqlite", ABOUT):
            pass
    with pytest.raises(OSError, match=r"missing.*journal.sqlite: cannot be read"):
        with open_journal(tmp_path / "missing" / "journal.sqlite", ABOUT):
            pass
