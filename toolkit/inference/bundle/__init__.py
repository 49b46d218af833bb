"""Bundles: a trained system with all that is needed to use it elsewhere, in a folder or one .zip.

Light to import; torch is imported when a system is built.
"""

from toolkit.inference.bundle.reading import read_bundle

__all__ = ["read_bundle"]
