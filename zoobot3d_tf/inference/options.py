"""Options that all jobs have in common. Imports nothing heavy, so that `--help` is instant."""

ENGINES = ("auto", "tf", "openvino")
"""Choices of the program that runs the network; "auto" takes OpenVINO if it is installed and there is no GPU."""

DEFAULT_ENGINE = "auto"
DEFAULT_BATCH_SIZE = 64
