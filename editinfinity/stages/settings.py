"""Aliases of settings that have moved to ``editinfinity.settings.groups``."""

from editinfinity.settings.groups import LoraSettings as LoraSettings
from editinfinity.settings.groups import ModelSettings as ModelSettings
from editinfinity.settings.groups import SamplingSettings as SamplingSettings
from editinfinity.settings.groups import TrainingSettings as TrainingSettings
