"""Stubs, builders and fixtures that more than one module of tests uses."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
