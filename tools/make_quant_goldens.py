"""Makes tests/goldens/quant/: what bitsandbytes makes of small tensors in NF4 and FP4.

Two backends of bitsandbytes are recorded. `cuda` is the reference: its quantize_4bit,
quantize_blockwise and dequantize_4bit kernels on a GPU. `default` is its pure PyTorch code (the
native CPU search of 8-bit codes is a coarse lookup table and is not used here). What the tensors
mean is in tests/goldens/quant/README.md.

    python tools/make_quant_goldens.py --cuda-out FILE   on a machine with a CUDA GPU
    python tools/make_quant_goldens.py [--cuda-in FILE]  then here; without FILE the CUDA records
                                                         already committed are kept
"""

import argparse
import importlib.util
import json
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from unittest import mock

import bitsandbytes
import torch
from bitsandbytes import functional
from safetensors import safe_open
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "goldens" / "quant"
TYPES = ("nf4", "fp4")
BLOCK = 64
NESTED_BLOCK = 256
# Literals of bitsandbytes' CUDA kernels (csrc/kernels.cu, 0.50), float constants there, in
# ascending order. dQuantizeNF4 compares x / absmax with them, dQuantizeFP4 |x| / absmax; a value
# strictly above takes the next code, of FP4_BY_MAGNITUDE (plus 8 where x < 0) for FP4.
NF4_THRESHOLDS = [
    "-0.8480964004993439", "-0.6106329262256622", "-0.4599952697753906", "-0.33967943489551544",
    "-0.23460740596055984", "-0.13791173323988914", "-0.045525018125772476", "0.03979014977812767",
    "0.1202552504837513", "0.2035212516784668", "0.2920137718319893", "0.3893125355243683",
    "0.5016634166240692", "0.6427869200706482", "0.8614784181118011"]
FP4_THRESHOLDS = ["0.00260417", "0.0859375", "0.20833333", "0.29166667", "0.4166667", "0.583333",
                  "0.8333333"]
FP4_BY_MAGNITUDE = [0, 1, 6, 7, 4, 5, 2, 3]


def bits(value):
    return f"{struct.unpack('<I', struct.pack('<f', value))[0]:08x}"


def float32(literal):
    """A decimal literal as a compiler reads it with suffix f: rounded once. By way of double, four
    literals of NF4 (nearly midway between two floats) would come out one unit off."""
    near = torch.tensor(float(literal), dtype=torch.float32)
    ends = torch.tensor([-2.0, 2.0])
    return min((v.item() for v in (near, *torch.nextafter(near.expand(2), ends))),
               key=lambda v: abs(Fraction(v) - Fraction(literal)))


def make_sources():
    """name -> source tensor, all from one seed."""
    generator = torch.Generator().manual_seed(20)

    def normal(*shape, scale=1.0):
        return torch.randn(shape, generator=generator) * scale

    zeros = normal(5, 64)
    zeros[1] = 0.0
    zeros[3, ::2] = -0.0
    zeros[3, 1::2] = 0.0
    peaks = torch.zeros(3, 64)
    peaks[0, :2] = torch.tensor([1.0, -1.0])
    peaks[1] = torch.where(torch.rand(64, generator=generator) < 0.5, 3.0, -3.0)
    peaks[2] = torch.linspace(-1, 1, 64)
    magnitudes = 10.0 ** (torch.rand(40, 1, generator=generator) * 6 - 5)
    sources = {
        "normal": normal(16, 64).bfloat16(),
        "weights": normal(16, 64, scale=0.02).bfloat16(),
        "tiny": normal(4, 64, scale=1e-6).bfloat16(),
        "huge": normal(4, 64, scale=1e6).bfloat16(),
        "magnitudes": (normal(40, 64) * magnitudes).bfloat16(),
        "zero_blocks": torch.cat([zeros.flatten(), torch.zeros(10)]).bfloat16(),
        "all_zero": torch.zeros(2, 64).bfloat16(),
        "constant": torch.full((3, 64), 0.5).bfloat16(),
        "peaks": peaks.bfloat16(),
        "short_last_block": normal(5, 56, scale=0.3).bfloat16(),
        "odd": normal(3, 47).bfloat16(),
        "rows_48": normal(12, 48, scale=0.05).bfloat16(),
        "rows_100": normal(9, 100, scale=0.05).bfloat16(),
        "single": torch.tensor([0.37]).bfloat16(),
        "single_negative": torch.tensor([-0.37]).bfloat16(),
        "normal_f16": normal(8, 64).half(),
        "normal_f32": normal(8, 64),
        "nested": (normal(33025, scale=0.02) * (1 + normal(33025).abs())).bfloat16(),
        "fp4_fractions": fractions().bfloat16(),
    }
    for kind, thresholds in (("nf4", nf4_midpoints()),
                             ("fp4", map(float32, FP4_THRESHOLDS))):
        sources[f"{kind}_thresholds_f32"] = around(thresholds)
    return sources


def nf4_midpoints():
    code = functional.get_4bit_type("nf4", device="cpu")
    return ((code[:-1] + code[1:]) / 2).tolist()


def around(thresholds):
    """Blocks of absmax 1.0 with each threshold and its float32 neighbours, in both signs: scaling
    is exact, so the codes show the comparison itself."""
    middle = torch.tensor([sign * t for t in thresholds for sign in (1, -1)], dtype=torch.float32)
    up, down = (torch.nextafter(middle, torch.full_like(middle, end)) for end in (2.0, -2.0))
    values = torch.stack([down, middle, up], dim=1).flatten()
    filled = torch.ones(-(len(values) // -63), 64)
    filled[:, 1:] = 0.0
    for i, chunk in enumerate(values.split(63)):
        filled[i, 1 : 1 + len(chunk)] = chunk
    return filled


def fractions():
    """Exact bfloat16 ratios at the FP4 thresholds (twelfths, twenty-fourths, 11/128) of several
    absmax: whether these land above or below depends on how the scaling rounds."""
    rows = []
    for absmax in (24.0, 48.0, 0.75, 1.5, 6.0, 12.0):
        values = [absmax * n / 24 for n in (24, 5, 7, 10, 14, 20, 1, 2, 3)] + [absmax * 11 / 128]
        rows.append(torch.tensor(values + [-v for v in values] + [0.0] * (64 - 2 * len(values))))
    return torch.stack(rows)


def default_kernels():
    """The functions of bitsandbytes' pure PyTorch backend, whatever the dispatcher would choose."""
    kernels = {}

    def collect(name, backend):
        return lambda function: kernels.setdefault(name.split("::")[1], function)

    origin = Path(bitsandbytes.__file__).parent / "backends" / "default" / "ops.py"
    spec = importlib.util.spec_from_file_location("bitsandbytes.backends.default.copy", origin)
    module = importlib.util.module_from_spec(spec)
    with mock.patch("bitsandbytes._ops.register_kernel", collect), \
            mock.patch("torch.compile", lambda function, **_: function):
        spec.loader.exec_module(module)
    return kernels


def cuda_kernels():
    names = ("quantize_4bit", "quantize_blockwise", "dequantize_4bit", "dequantize_blockwise")
    return {name: getattr(torch.ops.bitsandbytes, name).default for name in names}


def record(name, source, kernels, device):
    """All results for one source, as `<name>.<what>`; nested statistics do not depend on the type
    of the codes, so they are recorded once."""
    source = source.to(device)
    dynamic_map = functional.create_dynamic_map().to(device)
    out = {}
    for kind in TYPES:
        packed, absmax = kernels["quantize_4bit"](source, BLOCK, kind, torch.uint8)
        offset = absmax.mean()
        nested, nested_absmax = kernels["quantize_blockwise"](absmax - offset, dynamic_map,
                                                              NESTED_BLOCK)
        scales = kernels["dequantize_blockwise"](nested, nested_absmax, dynamic_map, NESTED_BLOCK,
                                                 torch.float32) + offset
        out[f"{kind}.codes"] = packed.flatten()

        def dequantize(scale, dtype):
            return kernels["dequantize_4bit"](packed, scale, BLOCK, kind, source.shape, dtype)

        if name != "nested":
            out[f"{kind}.dequantized_f32"] = dequantize(absmax, torch.float32)
            out[f"{kind}.dequantized_bf16"] = dequantize(absmax, torch.bfloat16)
            out[f"{kind}.double_dequantized_f32"] = dequantize(scales, torch.float32)
        if name != "nested" or kind == "nf4":
            out[f"{kind}.double_dequantized_bf16"] = dequantize(scales, torch.bfloat16)
    out.update({"absmax": absmax, "offset": offset.reshape(1), "nested_codes": nested,
                "nested_absmax": nested_absmax, "scales": scales})
    return {f"{name}.{key}": value.cpu().contiguous() for key, value in out.items()}


def same(a, b):
    """Bitwise, so that -0.0 is not 0.0 and NaN is itself."""
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy(force=True).tobytes() == \
        b.numpy(force=True).tobytes() if a.dtype != torch.bfloat16 else \
        same(a.view(torch.int16), b.view(torch.int16))


def read(path):
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()


def difference(cuda, default):
    """How many elements of a record differ, and where first."""
    if cuda.dtype == torch.bfloat16:
        cuda, default = cuda.view(torch.int16), default.view(torch.int16)
    elif cuda.dtype == torch.float32:
        cuda, default = cuda.view(torch.int32), default.view(torch.int32)
    unequal = (cuda != default).flatten().nonzero().flatten()
    return {"unequal": len(unequal), "of": cuda.numel(), "first": unequal[0].item()}


def check_thresholds(cuda):
    """The tables above must explain the codes that the CUDA kernels gave at the thresholds."""
    for kind, literals in (("nf4", NF4_THRESHOLDS), ("fp4", FP4_THRESHOLDS)):
        source = cuda[f"{kind}_thresholds_f32.source"].flatten()  # every absmax is 1.0
        compared = source if kind == "nf4" else source.abs()
        rank = (compared[:, None] > torch.tensor([float32(t) for t in literals])).sum(dim=1)
        expected = rank if kind == "nf4" else \
            torch.tensor(FP4_BY_MAGNITUDE)[rank] + 8 * (source < 0)
        packed = cuda[f"{kind}_thresholds_f32.{kind}.codes"]
        assert torch.equal(expected, torch.stack([packed >> 4, packed & 15], 1).flatten().long())


def code_tables():
    """The 4-bit codes by index and the thresholds of the CUDA kernel, with their float32 bits."""
    tables = {}
    for kind in TYPES:
        code = functional.get_4bit_type(kind, device="cpu").tolist()
        tables[kind] = {"values": code, "bits": [bits(v) for v in code],
                        "crc32": f"{zlib.crc32(struct.pack('<16f', *code)):08x}"}
    for kind, literals in (("nf4", NF4_THRESHOLDS), ("fp4", FP4_THRESHOLDS)):
        tables[kind]["cuda_thresholds"] = [{"literal": t, "bits": bits(float32(t))}
                                           for t in literals]
    tables["fp4"]["cuda_codes_by_magnitude"] = FP4_BY_MAGNITUDE
    return tables


def versions():
    return {"torch": torch.__version__, "bitsandbytes": bitsandbytes.__version__}


def write_cuda(path):
    tensors = {}
    for name, source in make_sources().items():
        tensors[f"{name}.source"] = source
        tensors.update(record(name, source, cuda_kernels(), "cuda"))
    about = {**versions(), "device": torch.cuda.get_device_name()}
    save_file(tensors, path, metadata={"about": json.dumps(about)})


def cuda_records(path):
    """The CUDA half, from the file just brought or from the golden already there."""
    tensors, metadata = read(path or FOLDER / "cuda.safetensors")
    return tensors, json.loads(metadata["about"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuda-out", type=Path)
    parser.add_argument("--cuda-in", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.cuda_out:
        write_cuda(arguments.cuda_out)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    cuda, cuda_about = cuda_records(arguments.cuda_in)
    check_thresholds(cuda)
    kernels = default_kernels()
    default, cases = {}, {}
    for name, source in make_sources().items():
        assert same(cuda[f"{name}.source"], source), f"{name}: sources changed, record CUDA again"
        cases[name] = {"dtype": str(source.dtype).removeprefix("torch."),
                       "shape": list(source.shape), "default_differs": {}}
        for key, value in record(name, source, kernels, "cpu").items():
            if not same(cuda[key], value):
                what = key.removeprefix(f"{name}.")
                if "dequantized" not in what:  # these follow from the others
                    default[key] = value
                cases[name]["default_differs"][what] = difference(cuda[key], value)
    save_file(cuda, FOLDER / "cuda.safetensors", metadata={"about": json.dumps(cuda_about)})
    save_file(default, FOLDER / "default.safetensors", metadata={"about": json.dumps(versions())})
    index = {"block": BLOCK, "nested_block": NESTED_BLOCK,
             "versions": {"cuda": cuda_about, "default": versions()},
             "tables": code_tables(), "cases": cases}
    (FOLDER / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    for path in FOLDER.glob("*.safetensors"):
        path.chmod(0o644)


if __name__ == "__main__":
    main()
