"""The demonstration: a small network trained on scenes whose truth is known, and its scores.

Scenes come from the handwritten digits of scikit-learn (the extra `tfsal[demo]`).
"""
