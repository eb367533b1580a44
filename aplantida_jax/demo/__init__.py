"""An invented flora and its photographs: a fresh clone runs without downloads."""
