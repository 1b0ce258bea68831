"""For pip versions that need it; everything is in setup.cfg."""

from setuptools import setup

setup()
