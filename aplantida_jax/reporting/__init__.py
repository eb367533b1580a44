"""The report's parts: gather what stages left, judge it, draw it, write it."""
