"""Distortions of audio, images and text, at fixed strengths for the gate and at random strengths for calibration.

The gate judges every test row once more under one distortion (`rows.shifted_rows`): a compressed model that is good on
clean inputs alone is noticed. Activation ranges are calibrated on distorted copies too (`augment.augmented_rows`).
`registry` lists both sets; `docs/shift.md` says why they are what they are.
"""
