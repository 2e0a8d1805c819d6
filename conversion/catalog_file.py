"""Read the catalog: ``models.yaml``, and the files of a user over it.

A file may add weights to a known model or bring a model of its own. The tensors of the kit's models
are checked against ``facekit.contract``, because an engine with other tensors would load and break
every ensemble that it is a step of.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field

from conversion.catalog import (
    Catalog,
    Count,
    Format,
    License,
    Model,
    NgcVersion,
    Precision,
    RemoteFile,
    Text,
    Weights,
    listed,
)
from conversion.errors import CatalogError
from conversion.yaml_file import Entry, Key, YamlFile, matching
from facekit.contract import MAX_BATCH_SIZE, MODELS, TensorSpec, is_optional
from facekit.engines.manifest import Batch
from facekit.landmarks.scheme import POINT_COUNTS

BUILT_IN = Path(__file__).with_name("models.yaml")
REPOSITORY = "{repository}"
"""A file's path starts with it if the file is the model repository's own."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_QUANTIZES = b"QuantizeLinear"


Name = Annotated[str, matching(_NAME, "a name of letters, digits, '_', '-' and '.'")]
Label = Annotated[
    str,
    matching(
        f"{_NAME}/{_NAME}/{_NAME}:{_NAME}",
        "org/team/model:version, such as nvidia/tao/fpenet:deployable_v3.0",
    ),
]
Dims = Annotated[tuple[Count, ...], Field(min_length=1)]
Outputs = Annotated[dict[str, Dims], Field(min_length=1)]


class _BatchEntry(Entry):
    minimum: Count
    optimum: Count
    maximum: Count


class _WeightsEntry(Entry):
    file: Text
    precision: Precision
    license: str = Field(validation_alias=AliasChoices("license", "licence"))
    ngc: Label | None = None
    files: dict[Name, RemoteFile] | None = None
    calibration: Text | None = None
    format: Format | None = None
    key: Text | None = None
    public_key: bool | None = None
    outputs: Outputs | None = None
    config: Name | None = None
    note: str = ""


class _ModelEntry(Entry):
    input: Text | None = None
    input_dims: Dims | None = None
    batch: _BatchEntry | None = None
    outputs: Outputs | None = None
    weights: Annotated[dict[Name, _WeightsEntry], Field(min_length=1)]


class _CatalogFile(Entry):
    licenses: dict[str, License] = Field(
        default={}, validation_alias=AliasChoices("licenses", "licences")
    )
    models: Annotated[dict[Name, _ModelEntry], Field(min_length=1)]


def load_catalog(extra: Sequence[Path] = (), *, repository: Path) -> Catalog:
    """Return every model that can be converted, by name.

    Args:
        extra: a user's files; each overrides the kit's file and the files before it.
        repository: the model repository, which has the kit's own networks.

    Raises:
        CatalogError: a file is wrong; names file, line, key and what was expected, for everything
            that is wrong with it.
    """
    licenses: dict[str, License] = {}
    models: dict[str, Model] = {}
    for path in (BUILT_IN, *extra):
        file = YamlFile(path, _CatalogFile, CatalogError)
        licenses.update(file.root.licenses)
        for name, entry in file.root.models.items():
            models[name] = _Reader(file, repository, licenses).model(name, entry, models.get(name))
        file.check()
    return models


class _Reader:
    """Turns the entries of one file into models; its problems go to the file."""

    def __init__(
        self, file: YamlFile[_CatalogFile], repository: Path, licenses: Mapping[str, License]
    ) -> None:
        self._file, self._repository, self._licenses = file, repository, licenses

    def model(self, name: str, entry: _ModelEntry, known: Model | None) -> Model:
        key: Key = ("models", name)
        if known is None:
            known = Model(name, "", (), Batch(1, 1, MAX_BATCH_SIZE), {}, {})
            fields = ("input", "input_dims", "batch", "outputs")
            missing = [field for field in fields if getattr(entry, field) is None]
            if missing:
                self._file.add(key, f"missing: {', '.join(missing)}")
        input_, dims = entry.input or known.input, entry.input_dims or known.input_dims
        outputs, batch = entry.outputs or known.outputs, known.batch
        if entry.batch is not None:
            batch = Batch(**entry.batch.model_dump())
            self._check_batch((*key, "batch"), batch)
        spec = MODELS.get(name)
        if spec is not None:
            (tensor,) = spec.inputs
            if input_ != tensor.name:
                expected = f"expected {tensor.name!r}, which the ensembles feed, got {input_!r}"
                self._file.add((*key, "input"), expected)
            if dims != tensor.dims:
                expected = f"expected {list(tensor.dims)}, got {list(dims)}"
                self._file.add((*key, "input_dims"), expected)
            self._check_outputs((*key, "outputs"), spec.outputs, outputs)
        own = {n: self._weights(name, n, each, outputs) for n, each in entry.weights.items()}
        weights = {**known.weights, **own}
        return Model(name, input_, dims, batch, outputs, weights)

    def _weights(
        self, model: str, name: str, entry: _WeightsEntry, outputs: Mapping[str, tuple[int, ...]]
    ) -> Weights:
        key: Key = ("models", model, "weights", name)
        license = self._licenses.get(entry.license)
        if license is None:
            expected = f"expected one of {listed(self._licenses)}, got {entry.license!r}"
            self._file.add((*key, "license"), expected)
        if entry.outputs and model in MODELS:
            self._check_outputs((*key, "outputs"), MODELS[model].outputs, entry.outputs)
        if entry.config and is_optional(model):
            reason = f"{model} has one configuration for all weights: leave this out"
            self._file.add((*key, "config"), reason)
        ngc, folder, network = self._source(key, entry)
        format_ = self._format(key, entry)
        if format_ is Format.ONNX:
            for name_ in ("key", "public_key"):
                if getattr(entry, name_) is not None:
                    self._file.add((*key, name_), "is only for an .etlt: an .onnx is not encrypted")
        elif entry.key is None:
            reason = "missing: key, which the .etlt is encrypted with (NVIDIA's own: nvidia_tlt)"
            self._file.add(key, reason)
        self._check_calibration(key, entry, ngc, folder)
        return Weights(
            model=model,
            name=name,
            format=format_,
            network=network,
            calibration=entry.calibration,
            precision=entry.precision,
            key=entry.key,
            key_is_public=bool(entry.public_key),
            license=license or License(name="unknown", url="", accept=True),
            ngc=ngc,
            folder=folder,
            outputs=entry.outputs or outputs,
            config=entry.config or "",
            note=entry.note,
        )

    def _source(self, key: Key, entry: _WeightsEntry) -> tuple[NgcVersion | None, Path | None, str]:
        """Return where the network comes from: NGC or a folder, and the file name there."""
        if entry.ngc is not None:
            # Without a list of files, what the engine is built from is all there is to download.
            names = filter(None, (entry.file, entry.calibration))
            files = entry.files or {name: RemoteFile() for name in names}
            if Path(entry.file).name != entry.file:
                self._file.add((*key, "file"), f"expected a plain file name, got {entry.file!r}")
            else:
                self._check_listed((*key, "file"), entry.file, files)
            return NgcVersion(entry.ngc, files), None, entry.file
        if entry.files is not None:
            self._file.add((*key, "files"), "is only for a download: add ngc, or leave it out")
        if entry.file.startswith(REPOSITORY):
            # Looked for when it is chosen: who deletes it can still convert NVIDIA's.
            path = Path(str(self._repository) + entry.file.removeprefix(REPOSITORY))
        else:
            path = self._file.path.parent / Path(entry.file).expanduser()
            self._check_exists((*key, "file"), path)
        return None, path.parent, path.name

    def _format(self, key: Key, entry: _WeightsEntry) -> Format:
        suffix = Path(entry.file).suffix.lower()
        fitting = {".onnx": [Format.ONNX], ".etlt": [Format.UFF_ETLT, Format.ONNX_ETLT]}.get(suffix)
        if fitting is None:
            expected = "expected .onnx or .etlt"
            if suffix in (".plan", ".engine", ".trt"):
                expected += " (an engine runs only where it was built: give the network)"
            self._file.add((*key, "file"), f"{expected}, got {entry.file!r}")
            return entry.format or Format.ONNX
        names = " or ".join(format_.value for format_ in fitting)
        if entry.format is None and len(fitting) > 1:
            self._file.add(key, f"missing: format, {names}")
        elif entry.format and entry.format not in fitting:
            expected = f"expected {names} for {suffix}, got {entry.format.value!r}"
            self._file.add((*key, "format"), expected)
        return entry.format or fitting[0]

    def _check_calibration(
        self, key: Key, entry: _WeightsEntry, ngc: NgcVersion | None, folder: Path | None
    ) -> None:
        name, at = entry.calibration, (*key, "calibration")
        if name is None:
            quantized = folder is not None and _is_quantized(folder / Path(entry.file).name)
            if entry.precision is Precision.INT8 and not quantized:
                self._file.add(
                    key,
                    "missing: calibration, the INT8 calibration cache of this network (not needed "
                    "for an .onnx of this machine that is quantized: has QuantizeLinear in it)",
                )
        elif ngc is not None:
            self._check_listed(at, name, ngc.files)
        elif Path(name).name != name:
            self._file.add(at, f"expected the name of a file in the network's folder, got {name!r}")
        elif folder is not None:
            self._check_exists(at, folder / name)

    def _check_batch(self, key: Key, batch: Batch) -> None:
        if batch.minimum != 1:
            expected = "expected 1: an engine with a larger one refuses single photos"
            self._file.add((*key, "minimum"), f"{expected}, got {batch.minimum}")
        if batch.maximum != MAX_BATCH_SIZE:
            expected = f"expected {MAX_BATCH_SIZE}, the max_batch_size of every config.pbtxt"
            self._file.add((*key, "maximum"), f"{expected}, got {batch.maximum}")
        if not batch.minimum <= batch.optimum <= batch.maximum:
            expected = "expected a number between minimum and maximum"
            self._file.add((*key, "optimum"), f"{expected}, got {batch.optimum}")

    def _check_outputs(
        self, key: Key, spec: Sequence[TensorSpec], outputs: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Check a model's outputs against the contract; ``-1`` there is the number of points."""
        wanted = {tensor.name: tensor.dims for tensor in spec}
        if set(outputs) != set(wanted):
            expected = f"expected the outputs {listed(wanted)}, got {listed(outputs)}"
            self._file.add(key, expected)
            return
        points = set()
        for name, dims in outputs.items():
            pairs = list(zip(wanted[name], dims, strict=False))
            same = all(want in (-1, have) for want, have in pairs)
            if len(dims) != len(wanted[name]) or not same:
                expected = str(list(wanted[name])).replace("-1", "points")
                self._file.add((*key, name), f"expected {expected}, got {list(dims)}")
                return
            points |= {have for want, have in pairs if want == -1}
        if len(points) > 1 or not points <= set(POINT_COUNTS):
            counts = " or ".join(map(str, POINT_COUNTS))
            reason = f"expected the same number of points in each, {counts}, got {sorted(points)}"
            self._file.add(key, reason)

    def _check_listed(self, key: Key, name: str, files: Mapping[str, RemoteFile]) -> None:
        if name not in files:
            self._file.add(key, f"expected one of files ({listed(files)}), got {name!r}")

    def _check_exists(self, key: Key, path: Path) -> None:
        if not path.is_file():
            state = "is not one" if path.exists() else "does not exist"
            self._file.add(key, f"expected a file, but {path} {state}")


def _is_quantized(path: Path) -> bool:
    """Return whether an ONNX file has the operator that quantizes, looked for as bytes."""
    # An ONNX file has the names of its operators in plain text; parsing it takes a library.
    try:
        return path.suffix.lower() == ".onnx" and _QUANTIZES in path.read_bytes()
    except OSError:  # reported where the file itself is checked
        return False
