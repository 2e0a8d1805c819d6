"""Read the catalog: the kit's own ``models.yaml``, and a user's files over it.

A file may add weights to a model that is known, or a model of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from conversion.catalog import (
    Catalog,
    Format,
    License,
    Model,
    NgcVersion,
    Precision,
    RemoteFile,
    Weights,
)
from conversion.catalog_tensors import SHAPE_KEYS, Shape, read_outputs, read_shape
from conversion.errors import CatalogError
from conversion.yaml_nodes import Entry, listed, read
from facekit.contract import is_optional

BUILT_IN = Path(__file__).with_name("models.yaml")
REPOSITORY = "{repository}"
"""What a file's path starts with if the file is the model repository's own."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NGC = re.compile(rf"({_NAME.pattern})/({_NAME.pattern})/({_NAME.pattern}):({_NAME.pattern})")
_QUANTIZES = b"QuantizeLinear"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_WEIGHTS_KEYS = ("ngc", "files", "calibration", "format", "key", "public_key", "outputs")
_SUFFIXES = {
    ".onnx": (Format.ONNX,),
    ".etlt": (Format.UFF_ETLT, Format.ONNX_ETLT),
}


def load(extra: Sequence[Path] = (), *, repository: Path, built_in: Path = BUILT_IN) -> Catalog:
    """Return the catalog.

    Args:
        extra: a user's files; what they say wins over the kit's, and a later file over an earlier.
        repository: the model repository, where the kit's own networks lie.
        built_in: the kit's file.

    Raises:
        CatalogError: a file is wrong; names file, line, key and what was expected, all at once.
    """
    licenses: dict[str, License] = {}
    models: dict[str, Model] = {}
    for path in (built_in, *extra):
        _File(path, repository, licenses, models).merge()
    return Catalog(models)


class _File:
    """One file, merged into what the files before it gave."""

    def __init__(
        self, path: Path, repository: Path, licenses: dict[str, License], models: dict[str, Model]
    ) -> None:
        self._path, self._repository = path, repository
        self._licenses, self._models = licenses, models

    def merge(self) -> None:
        root = read(self._path, CatalogError)
        fields = root.fields(("models",), ("licenses",))
        if "licenses" in fields:
            for name, entry in fields["licenses"].entries().items():
                self._licenses[name] = _license(entry)
        if "models" in fields:
            entries = fields["models"].entries()
            if not entries:
                fields["models"].expected("at least one model")
            for name, entry in entries.items():
                model = self._model(name, entry)
                if model is not None:
                    self._models[name] = model
        root.problems.stop()

    def _model(self, name: str, entry: Entry) -> Model | None:
        _check_name(name, entry)
        known = self._models.get(name)
        # A model of the kit is known by its tensors; a new one must tell them.
        required, optional = (("weights",), SHAPE_KEYS) if known else ((*SHAPE_KEYS, "weights"), ())
        fields = entry.fields(required, optional)
        shape = read_shape(name, fields, known)
        weights = dict(known.weights) if known else {}
        if "weights" in fields:
            entries = fields["weights"].entries()
            if not entries:
                fields["weights"].expected("at least one source of weights")
            for label, stanza in entries.items():
                _check_name(label, stanza)
                weights[label] = self._weights(name, label, stanza, shape)
        if shape.batch is None:
            return None
        return Model(name, shape.input, shape.input_dims, shape.batch, weights)

    def _weights(self, model: str, name: str, entry: Entry, shape: Shape) -> Weights:
        fields = entry.fields(("file", "precision", "license"), (*_WEIGHTS_KEYS, "config", "note"))
        ngc, folder, network = self._source(fields)
        format_ = _format(network, entry, fields)
        precision = Precision.FP32
        if "precision" in fields:
            word = fields["precision"].choice([p.value for p in Precision])
            precision = Precision(word) if word else precision
        license = License("", "", False)
        if "license" in fields:
            label = fields["license"].text()
            if label and label not in self._licenses:
                fields["license"].expected(f"one of {listed(self._licenses)}")
            license = self._licenses.get(label, license)
        outputs = shape.outputs
        if "outputs" in fields:
            outputs = read_outputs(model, fields["outputs"])
        config = fields["config"].text("a name, such as open") if "config" in fields else ""
        if config and is_optional(model):
            fields["config"].add(f"{model} has one configuration for all weights: leave this out")
        elif config and not _NAME.fullmatch(config):
            fields["config"].expected("the name of a configs/<name>.pbtxt")
        return Weights(
            model=model,
            name=name,
            format=format_,
            network=network,
            calibration=_calibration(entry, fields, precision, ngc, folder, network),
            precision=precision,
            key=_key(entry, fields, format_),
            key_is_public=fields["public_key"].flag() if "public_key" in fields else False,
            license=license,
            ngc=ngc,
            folder=folder,
            outputs=outputs,
            config=config,
            note=fields["note"].text() if "note" in fields else "",
        )

    def _source(self, fields: Mapping[str, Entry]) -> tuple[NgcVersion | None, Path | None, str]:
        """Return where the network comes from, as ``Weights`` has it: ngc, folder, file name."""
        file = fields["file"].text("a file's name") if "file" in fields else ""
        if "ngc" in fields:
            ngc = _ngc(fields)
            if file and not _NAME.fullmatch(file):
                fields["file"].expected("a plain file name")
            elif file and ngc and file not in [remote.name for remote in ngc.files]:
                fields["file"].expected(f"one of files ({listed([f.name for f in ngc.files])})")
            return ngc, None, file
        if "files" in fields:
            fields["files"].add("is for a download alone: give ngc too, or leave it out")
        if file.startswith(REPOSITORY):
            # Looked for when it is chosen: who deletes it can still convert NVIDIA's.
            path = Path(str(self._repository) + file.removeprefix(REPOSITORY))
            return None, path.parent, path.name
        if not file:
            return None, None, ""
        path = self._path.parent / Path(file).expanduser()
        _check_file(fields["file"], path)
        return None, path.parent, path.name


def _license(entry: Entry) -> License:
    fields = entry.fields(("name", "url", "accept"))
    name = fields["name"].text() if "name" in fields else ""
    url = ""
    # "" says that there is no text to point at.
    if "url" in fields and not getattr(fields["url"].node, "value", None) == "":
        url = fields["url"].text('an address, or ""')
    return License(name, url, fields["accept"].flag() if "accept" in fields else False)


def _ngc(fields: Mapping[str, Entry]) -> NgcVersion | None:
    label = fields["ngc"].text("org/team/model:version")
    match = _NGC.fullmatch(label)
    if label and not match:
        fields["ngc"].expected("org/team/model:version, such as nvidia/tao/fpenet:deployable_v3.0")
    remote: list[RemoteFile] = []
    if "files" not in fields:
        # Then what is built from is all there is to download.
        names = [fields[name].text() for name in ("file", "calibration") if name in fields]
        remote = [RemoteFile(name) for name in names if name]
    entries = fields["files"].entries() if "files" in fields else {}
    for name, entry in entries.items():
        if not _NAME.fullmatch(name):
            entry.add("expected a plain file name")
        about = entry.fields((), ("size", "sha256"))
        size = about["size"].whole(1) if "size" in about else None
        digest = about["sha256"].text("a SHA-256") if "sha256" in about else None
        if digest and not _SHA256.fullmatch(digest):
            about["sha256"].expected("64 hexadecimal digits")
        remote.append(RemoteFile(name, size, digest.lower() if digest else None))
    if match is None:
        return None
    org, team, model, version = match.groups()
    return NgcVersion(org, team, model, version, tuple(remote))


def _format(network: str, entry: Entry, fields: Mapping[str, Entry]) -> Format:
    given = None
    if "format" in fields:
        name = fields["format"].choice([f.value for f in Format])
        given = Format(name) if name else None
    suffix = Path(network).suffix.lower()
    fitting = _SUFFIXES.get(suffix, ())
    if network and not fitting:
        what = ".onnx or .etlt"
        if suffix in (".plan", ".engine", ".trt"):
            what += " (an engine runs only where it was built: give the network)"
        fields["file"].expected(what)
    elif given and fitting and given not in fitting:
        fields["format"].expected(f"{' or '.join(f.value for f in fitting)} for {suffix}")
    elif "format" not in fields and len(fitting) > 1:
        entry.add(f"missing: format, one of {', '.join(f.value for f in fitting)}")
    return given or (fitting[0] if fitting else Format.ONNX)


def _key(entry: Entry, fields: Mapping[str, Entry], format_: Format) -> str | None:
    if format_ is Format.ONNX:
        for name in ("key", "public_key"):
            if name in fields:
                fields[name].add("is for an .etlt alone: an .onnx is not encrypted")
        return None
    if "key" not in fields:
        entry.add("missing: key, what the .etlt is encrypted with (NVIDIA's own: nvidia_tlt)")
        return None
    return fields["key"].text("the key", secret=True)


def _calibration(
    entry: Entry,
    fields: Mapping[str, Entry],
    precision: Precision,
    ngc: NgcVersion | None,
    folder: Path | None,
    network: str,
) -> str | None:
    if "calibration" not in fields:
        if precision is Precision.INT8 and not (folder and _is_quantized(folder / network)):
            entry.add(
                "missing: calibration, the INT8 calibration cache of this network (a .onnx of this "
                "machine that is quantized already, with QuantizeLinear in it, needs none)"
            )
        return None
    name = fields["calibration"].text("a file's name")
    if ngc and name and name not in [file.name for file in ngc.files]:
        fields["calibration"].expected(f"one of files ({listed([f.name for f in ngc.files])})")
    elif folder is not None and name:
        if Path(name).name != name:
            fields["calibration"].expected("the name of a file in the network's folder")
        else:
            _check_file(fields["calibration"], folder / name)
    return name


def _is_quantized(path: Path) -> bool:
    """Whether an ONNX file holds the operator that quantizes, looked for as bytes."""
    # An ONNX file has the names of its operators as they are; to parse it takes a library.
    try:
        return path.suffix.lower() == ".onnx" and _QUANTIZES in path.read_bytes()
    except OSError:  # who looks for the file tells
        return False


def _check_name(name: str, entry: Entry) -> None:
    if not _NAME.fullmatch(name):
        entry.add("expected a name of letters, digits, '_', '-' and '.'")


def _check_file(entry: Entry, path: Path) -> None:
    if not path.is_file():
        is_what = "is no file" if path.exists() else "does not exist"
        entry.add(f"expected a file, but {path} {is_what}")
