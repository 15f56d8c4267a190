"""From a request of the kernel to its answer."""
