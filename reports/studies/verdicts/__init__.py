"""Calibration of the verdict: how often it is wrong about methods that are right, and how often it finds planted defects.

Data whose posterior is known exactly (`problems`), draws with a defect of known size (`defects`), the run (`study`) and the
rates (`rates`); the page is `reports.page.verdicts`.
"""
