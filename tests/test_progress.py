"""Progress in a notebook: one line for each thing that is done, which changes in its place."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

PROGRAM = """
import diffusionblend as db
import diffusionblend.progress
diffusionblend.progress.CELL_SECONDS = 0.0
made = db.reconstruct({scan!r}, "sbtv", iterations=200)
"""


@pytest.fixture
def outputs(data):
    """What a cell shows that reconstructs a scan in 200 steps."""
    cell = nbformat.v4.new_code_cell(PROGRAM.format(scan=str(data.scan)))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    updates = []
    process = client.process_message

    def counted(message, *more):
        updates.append(message["msg_type"])
        return process(message, *more)

    client.process_message = counted
    client.execute()
    return cell["outputs"], updates


def test_a_reconstruction_shows_one_line_that_changes(outputs):
    shown, messages = outputs
    lines = [output["data"]["text/plain"] for output in shown if "data" in output]
    assert len(lines) == 1
    assert re.match(r"sbtv: 100%.* 200/200 \[", lines[0])
    assert messages.count("update_display_data") > 10
    assert [output for output in shown if output["output_type"] == "stream"] == []
