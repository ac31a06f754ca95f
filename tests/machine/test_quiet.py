"""Remarks of other packages are kept back, and afterwards everything is heard as before."""

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from diffusionblend.io.volumes import read_volume
from diffusionblend.machine.quiet import FAMILIES, LOGGERS, quiet, quiet_families
from support.small_volumes import datasets, save, stored_values


def heard():
    """Return what the process hears: its filters of warnings, and the state of loggers."""
    loggers = [logging.getLogger(name) for name in (*LOGGERS, *FAMILIES)]
    return [*warnings.filters], [(logger.disabled, logger.level) for logger in loggers]


def test_remarks_are_kept_back(caplog):
    with quiet_families():
        warnings.warn("a remark", stacklevel=1)
        logging.getLogger("pydicom").error("a remark")
        logging.getLogger("huggingface_hub.file_download").error("a remark")
    assert caplog.text == ""
    with pytest.warns(UserWarning, match="a word"):
        warnings.warn("a word", stacklevel=1)
    logging.getLogger("pydicom").error("a word")
    assert "a word" in caplog.text


def test_the_last_thread_puts_back_what_the_first_one_found():
    before, first_is_in, second_is_in = heard(), threading.Event(), threading.Event()

    def first():
        with quiet_families():
            first_is_in.set()
            assert second_is_in.wait(10)

    def second():
        assert first_is_in.wait(10)
        with quiet_families():
            second_is_in.set()
            ends.result(10)
            assert heard() != before

    with ThreadPoolExecutor(2) as pool:
        ends = pool.submit(first)
        pool.submit(second).result(10)
    assert heard() == before


def test_an_error_puts_it_back_too():
    before = heard()
    with pytest.raises(ValueError, match="damage"), quiet(), quiet():
        raise ValueError("damage")
    assert heard() == before


def test_volumes_that_threads_read_at_once_leave_no_silence(place):
    folders = [save(place / f"{k}", datasets(stored_values())) for k in range(4)]
    read_volume(folders[0])  # what it imports may change filters itself
    before = heard()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(read_volume, folders))
    assert heard() == before
