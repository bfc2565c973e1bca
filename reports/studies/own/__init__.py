"""Calibration of one's own method on any PyMC model: truths and data drawn from its prior, ranked among the method's draws.

The model as a study needs it (`generative`), the draws of a result (`sample`), the scalars that are ranked (`quantities`), the
run (`study`), a model whose posterior is known and faults planted in it (`planted`); ranks are judged as those of mixtures
(`reports.studies.calibration`), the page is `reports.page.calibration_own`.
"""
