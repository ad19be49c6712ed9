"""The versions that this package was built with."""

COSDT: str
TORCH: str
MUJOCO: str
