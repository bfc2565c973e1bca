"""Simulation-based calibration: are the stated uncertainties those that data sets drawn from the prior bear out?

The prior and the settings (`prior`), label-free scalars (`quantities`), what each method says as draws (`posteriors`), the run
(`study`), what ranks say (`judgement`); the page is `reports.page.calibration`.
"""
