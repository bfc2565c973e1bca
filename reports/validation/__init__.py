"""Any PyMC model: its methods, results made elsewhere, and how they differ. README.md says what every number means."""
