"""Bundles: a trained system with everything needed to use it elsewhere, in a folder or one .zip.

Importing this package is light; torch is imported when a system is built.
"""

from toolkit.inference.bundle.reading import read_bundle

__all__ = ["read_bundle"]
