"""The overfitting study: when maximum likelihood overfits few data, whether VB does too, and where VB loses.

The grid (`grid`), the data (`truths`), the methods (`fits`), the numbers (`measure`), the run (`study`), what they say
(`summary`); the page is `reports.page.overfit`.
"""
