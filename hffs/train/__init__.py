"""The bundled tool: it scans a folder of images, plans buckets and batches, and loads them.

Reads any folder, a mount or not; it must not know what is behind one. What needs torch is imported
when it is used.
"""

from __future__ import annotations
