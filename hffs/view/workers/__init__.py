"""Rendering in processes of their own, which a hostile image can take down, but not over."""
