"""Settings, each declared once: types, what a setting is, and all of them in groups.

Free of torch, and below every room that takes settings.
"""
