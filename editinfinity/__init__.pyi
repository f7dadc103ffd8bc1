# The names of the package and where they live: read by lazy_loader and by type checkers.

from .editing.blend_mask import make_blend_mask as make_blend_mask
from .editing.kernel import smoothing_kernel as smoothing_kernel
from .errors import UserError as UserError
from .files.weights import load_text_encoder as load_text_encoder
from .files.weights import load_tokenizer as load_tokenizer
from .files.weights import load_transformer as load_transformer
from .inverted import Inversion as Inversion
from .models.tokenizer import Tokenizer as Tokenizer
from .models.transformer import Infinity as Infinity
from .models.transformer import TextFeatures as TextFeatures
from .pipeline import EditInfinityPipeline as EditInfinityPipeline
from .presets import PRESETS as PRESETS
from .presets import Preset as Preset
from .presets import preset as preset
from .progress import Progress as Progress
from .scales import ScaleSchedule as ScaleSchedule
from .scales import nearest_ratio as nearest_ratio
from .scales import schedule as schedule
from .settings.groups import LoraSettings as LoraSettings
from .settings.groups import ModelSettings as ModelSettings
from .settings.groups import SamplingSettings as SamplingSettings
from .settings.groups import TrainingSettings as TrainingSettings
from .stages.attention_map import collect_attention as collect_attention
from .stages.check import check_case as check_case
from .stages.edit import edit as edit
from .stages.finish import finish as finish
from .stages.image_features import extract_image_features as extract_image_features
from .stages.jsonl import write_jsonl as write_jsonl
from .stages.kernel import make_kernel as make_kernel
from .stages.rendering import render_photograph as render_photograph
from .stages.text_features import extract_text_features as extract_text_features
from .stages.train_lora import train_lora as train_lora
from .stages.train_textembedding import train_textembedding as train_textembedding

__version__: str
