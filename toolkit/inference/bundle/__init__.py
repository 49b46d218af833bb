"""Bundles: a trained system with all that is needed to use it, in a folder or one .zip, to give away.

Light to import; torch comes in where a system is built.
"""

from toolkit.inference.bundle.config import BundleConfig
from toolkit.inference.bundle.export import export_bundle
from toolkit.inference.bundle.reading import Bundle, read_bundle

__all__ = ["Bundle", "BundleConfig", "export_bundle", "read_bundle"]
