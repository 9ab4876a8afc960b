"""The globals that a checkpoint may name, and the sizes of torch's types.

Naming one never imports or calls it: each becomes an inert value of ours. The list still decides what
is refused, because a trainer that loads the file with torch would call them for real.
"""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

ITEM_BYTES: dict[str, int] = {
    **dict.fromkeys(["float64", "double", "int64", "long", "uint64", "complex64", "cfloat"], 8),
    **dict.fromkeys(["float32", "float", "int32", "int", "uint32", "qint32", "complex32", "chalf"], 4),
    **dict.fromkeys(["float16", "half", "bfloat16", "int16", "short", "uint16", "bits16"], 2),
    **dict.fromkeys(["uint8", "int8", "bool", "qint8", "quint8", "quint4x2", "quint2x4"], 1),
    **dict.fromkeys(["bits8", "bits1x8", "bits2x4", "bits4x2", "float4_e2m1fn_x2"], 1),
    **dict.fromkeys(["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"], 1),
    **dict.fromkeys(["float8_e4m3fnuz", "float8_e5m2fnuz"], 1),
    **dict.fromkeys([f"{kind}{bits}" for kind in ("int", "uint") for bits in range(1, 8)], 1),
    **dict.fromkeys(["complex128", "cdouble"], 16),
}
"""Bytes of one element by torch dtype; the types below a byte are stored a byte each."""

STORAGE_DTYPE: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt32Storage": "qint32",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}

MAPPINGS = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "builtins.dict",
        "addict.addict.Dict",
        "addict.Dict",
        "easydict.EasyDict",
        "mmcv.utils.config.ConfigDict",
        "mmengine.config.config.ConfigDict",
    }
)
"""Dictionaries under another name: read as plain ones."""

_OPTIMIZERS = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD")
"""Those with which OneCycleLR works: older torch saves it whole, with the optimizer that it steps."""

_MEMBERS: dict[str, str] = {
    "builtins": (
        "bool bytearray bytes complex float frozenset getattr int list object range set slice str tuple"
    ),
    "collections": "deque",
    "copyreg": "_reconstructor",
    "_codecs": "encode",
    "_io": "BytesIO",
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "uuid": "UUID",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "numpy": (
        "dtype ndarray bool bool_ str_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
        "float16 float32 float64 complex64 complex128"
    ),
    "numpy.core.multiarray": "scalar _reconstruct",
    "numpy._core.multiarray": "scalar _reconstruct",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "deepspeed.runtime.fp16.loss_scaler": "DynamicLossScaler LossScaler",
    "deepspeed.runtime.zero.config": "ZeroStageEnum",
    "deepspeed.utils.tensor_fragment": "fragment_address",
    "mmengine.logging.history_buffer": "HistoryBuffer",
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode BytesNode FloatNode IntegerNode PathNode StringNode",
    "typing": "Any",
    "torch": (
        "Size Tensor device strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc contiguous_format "
        "channels_last channels_last_3d preserve_format per_tensor_affine per_tensor_symmetric "
        "per_channel_affine per_channel_symmetric per_channel_affine_float_qparams"
    ),
    **{f"torch.optim.{name.lower()}": name for name in _OPTIMIZERS},
    "torch.optim.lr_scheduler": "OneCycleLR",
    "torch.nn.parameter": "Parameter Buffer UninitializedParameter UninitializedBuffer",
    "torch.serialization": "_get_layout",
    "torch.storage": "UntypedStorage TypedStorage",
    "torch.torch_version": "TorchVersion",
    "torch._tensor": "_rebuild_from_type_v2",
    "torch._utils": (
        "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
        "_rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor "
        "_rebuild_meta_tensor_no_storage _rebuild_nested_tensor _rebuild_device_tensor_from_cpu_tensor"
    ),
}


def is_allowed(module: str, name: str) -> bool:
    """Whether a checkpoint may name this global; exact names only, nothing dotted is followed."""
    return f"{module}.{name}" in _ALLOWED


def today(module: str, name: str) -> tuple[str, str]:
    """A global under the name it has today: torch saves with protocol 2, which uses Python 2's names."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


_ALLOWED = (
    MAPPINGS
    | {f"{module}.{name}" for module, names in _MEMBERS.items() for name in names.split()}
    | {f"torch.{dtype}" for dtype in ITEM_BYTES}
    | {f"{module}.{name}" for module in ("torch", "torch.cuda") for name in STORAGE_DTYPE}
)
