#!/usr/bin/env python3
"""SegNeXt in plain PyTorch (2.4 or newer, nothing else), to time next to nextgrad.

  peer.py --variant tiny --size 512 --batch 16 --train --precision bf16 --json peer.json
  peer.py --variant base --size 768x1536 --batch 1 --infer
  peer.py --check            parameters and logits against ../golden; runs on the CPU

The same work as `segnext bench`: a training step is forward, loss on logits upsampled to the
labels' size, backward and AdamW; a prediction ends with the logits at 1/8 of the image's size
(--labels: with each pixel's class). Everything that makes PyTorch fast without changing what is
computed is on: channels_last, cudnn.benchmark, fused AdamW, TF32 for what bf16 leaves in f32. Each
way to run it (eager, compiled, compiled into CUDA graphs) is a measurement of its own, and the
fastest counts: "best" in the JSON. One that fails says so and does not stop the others.
"""

import argparse
import contextlib
import gc
import json
import math
import pathlib
import statistics
import sys
import time
import traceback

import torch
import torch.nn.functional as F
from torch import nn

# variant: channels, blocks, largest drop path, decoder width, rank of the NMF, parameters of 150
# classes.
VARIANTS = {
    "tiny": ((32, 64, 160, 256), (3, 3, 5, 2), 0.1, 256, 16, 4263414),
    "small": ((64, 128, 320, 512), (2, 2, 4, 2), 0.1, 256, 16, 13932886),
    "base": ((64, 128, 320, 512), (3, 3, 12, 3), 0.1, 512, 64, 0),
    "large": ((64, 128, 320, 512), (3, 5, 27, 3), 0.3, 1024, 64, 48926550),
}
RATIOS = (8, 8, 4, 4)
GROUPS = 32
IGNORED = 255


# --- the model; names are those of the published files ---


def depthwise(channels, height, width):
    padding = (height // 2, width // 2)
    return nn.Conv2d(channels, channels, (height, width), padding=padding, groups=channels)


class MSCA(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv0 = depthwise(c, 5, 5)
        for i, k in enumerate((7, 11, 21)):
            setattr(self, f"conv{i}_1", depthwise(c, 1, k))
            setattr(self, f"conv{i}_2", depthwise(c, k, 1))
        self.conv3 = nn.Conv2d(c, c, 1)

    def forward(self, u):
        local = self.conv0(u)
        context = local + self.conv0_2(self.conv0_1(local))
        context = context + self.conv1_2(self.conv1_1(local))
        context = context + self.conv2_2(self.conv2_1(local))
        return self.conv3(context) * u


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.proj_1 = nn.Conv2d(c, c, 1)
        self.spatial_gating_unit = MSCA(c)
        self.proj_2 = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return x + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x))))


class Position(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dwconv = depthwise(c, 3, 3)

    def forward(self, x):
        return self.dwconv(x)


class FeedForward(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.fc1 = nn.Conv2d(c, hidden, 1)
        self.dwconv = Position(hidden)
        self.fc2 = nn.Conv2d(hidden, c, 1)

    def forward(self, x):
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    def __init__(self, c, ratio, drop_path):
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((c,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((c,), 0.01))
        self.norm1 = nn.BatchNorm2d(c)
        self.attn = Attention(c)
        self.norm2 = nn.BatchNorm2d(c)
        self.mlp = FeedForward(c, c * ratio)
        self.drop_path = drop_path

    def branch(self, scale, y):
        y = scale.view(1, -1, 1, 1).to(y.dtype) * y
        if not self.training or self.drop_path == 0:
            return y
        kept = 1 - self.drop_path
        return y * torch.empty(y.shape[0], 1, 1, 1, dtype=y.dtype, device=y.device).bernoulli_(
            kept).div_(kept)

    def forward(self, x):
        x = x + self.branch(self.layer_scale_1, self.attn(self.norm1(x)))
        return x + self.branch(self.layer_scale_2, self.mlp(self.norm2(x)))


class Stem(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, c // 2, 3, 2, 1), nn.BatchNorm2d(c // 2), nn.GELU(),
            nn.Conv2d(c // 2, c, 3, 2, 1), nn.BatchNorm2d(c))

    def forward(self, x):
        return self.proj(x)


class Downsample(nn.Module):
    def __init__(self, of, to):
        super().__init__()
        self.proj = nn.Conv2d(of, to, 3, 2, 1)
        self.norm = nn.BatchNorm2d(to)

    def forward(self, x):
        return self.norm(self.proj(x))


class MSCAN(nn.Module):
    def __init__(self, channels, blocks, drop_path):
        super().__init__()
        total, at = sum(blocks), 0
        for i, c in enumerate(channels):
            stage = []
            for _ in range(blocks[i]):
                stage.append(Block(c, RATIOS[i], drop_path * at / (total - 1)))
                at += 1
            setattr(self, f"patch_embed{i + 1}", Downsample(channels[i - 1], c) if i else Stem(c))
            setattr(self, f"block{i + 1}", nn.Sequential(*stage))
            setattr(self, f"norm{i + 1}", nn.LayerNorm(c))

    def forward(self, x):
        stages = []
        for i in range(1, 5):
            x = getattr(self, f"block{i}")(getattr(self, f"patch_embed{i}")(x))
            # No copy: channels are the last axis in memory already.
            x = getattr(self, f"norm{i}")(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            stages.append(x)
        return stages


class ConvNorm(nn.Module):
    def __init__(self, of, to):
        super().__init__()
        self.conv = nn.Conv2d(of, to, 1, bias=False)
        self.gn = nn.GroupNorm(GROUPS, to)

    def forward(self, x):
        return self.gn(self.conv(x))


class HamIn(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return F.relu(self.conv(x))


class NMF(nn.Module):
    """Non-negative factors by multiplicative updates, differentiated through all of them."""

    def __init__(self, channels, rank):
        super().__init__()
        # Of the evaluation; in training each image draws its own.
        bases = torch.rand(1, channels, rank, generator=torch.Generator().manual_seed(1))
        self.register_buffer("bases", F.normalize(bases, dim=1), persistent=False)
        self.rank = rank

    @staticmethod
    def update_coef(x, bases, coef):
        return coef * (x @ bases) / (coef @ (bases.mT @ bases) + 1e-6)

    def forward(self, image):
        # In f32, as sums over all pixels need more digits than bf16 has.
        with torch.autocast(image.device.type, enabled=False):
            n, c, h, w = image.shape
            wide = torch.float64 if image.dtype == torch.float64 else torch.float32
            x = image.permute(0, 2, 3, 1).reshape(n, h * w, c).to(wide)
            with torch.no_grad():
                if self.training:
                    bases = F.normalize(torch.rand(n, c, self.rank, device=x.device, dtype=wide),
                                        dim=1)
                else:
                    bases = self.bases.to(wide).expand(n, -1, -1)
            coef = torch.softmax(x @ bases, -1)
            for _ in range(6 if self.training else 7):
                coef = self.update_coef(x, bases, coef)
                bases = bases * (x.mT @ coef) / (bases @ (coef.mT @ coef) + 1e-6)
            coef = self.update_coef(x, bases, coef)
            y = (coef @ bases.mT).to(image.dtype)
            return y.reshape(n, h, w, c).permute(0, 3, 1, 2)


class Hamburger(nn.Module):
    def __init__(self, c, rank):
        super().__init__()
        self.ham_in = HamIn(c)
        self.ham = NMF(c, rank)
        self.ham_out = ConvNorm(c, c)

    def forward(self, x):
        return F.relu(x + self.ham_out(self.ham(self.ham_in(x))))


def resize(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class LightHamHead(nn.Module):
    def __init__(self, channels, width, rank, classes):
        super().__init__()
        self.squeeze = ConvNorm(sum(channels), width)
        self.hamburger = Hamburger(width, rank)
        self.align = ConvNorm(width, width)
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, stages):
        size = stages[0].shape[2:]
        x = torch.cat([stages[0]] + [resize(s, size) for s in stages[1:]], 1)
        x = self.hamburger(F.relu(self.squeeze(x)))
        return self.conv_seg(self.dropout(F.relu(self.align(x))))


class SegNeXt(nn.Module):
    def __init__(self, variant, classes):
        super().__init__()
        channels, blocks, drop_path, width, rank, _ = VARIANTS[variant]
        self.backbone = MSCAN(channels, blocks, drop_path)
        self.decode_head = LightHamHead(channels[1:], width, rank, classes)

    def forward(self, x):
        return self.decode_head(self.backbone(x)[1:])

    def loss(self, images, labels):
        logits = resize(self(images), labels.shape[1:])
        return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / labels.numel()

    def classes_of(self, images):
        return resize(self(images), images.shape[2:]).argmax(1)


# --- measurements ---


class Clock:
    """Seconds of each call, by events on a GPU."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"

    def times(self, work, runs):
        if not self.cuda:
            seconds = []
            for _ in range(runs):
                begin = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - begin)
            return seconds
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
                  for _ in range(runs)]
        for begin, end in events:
            begin.record()
            work()
            end.record()
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) / 1e3 for begin, end in events]


def forget(device):
    """A measurement must not pay for the one before it."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def autocast(args, device):
    if args.precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


# How torch.compile is asked; None: not at all.
MODES = {"eager": None, "compiled": "default", "compiled, CUDA graphs": "reduce-overhead"}


def compiled(fn, mode):
    if MODES[mode] is None:
        return fn
    return torch.compile(fn, mode=MODES[mode], dynamic=False, fullgraph=False)


def images_of(batch, size, device):
    images = torch.randn(batch, 3, *size, device=device)
    return images.contiguous(memory_format=torch.channels_last)


def training_step(args, batch, size, mode, device):
    model = SegNeXt(args.variant, args.classes).to(device, memory_format=torch.channels_last)
    model.train()
    groups = {"head": [], "norm": [], "rest": []}
    for name, parameter in model.named_parameters():
        kind = "head" if "head" in name else "norm" if "norm" in name else "rest"
        groups[kind].append(parameter)
    optimizer = torch.optim.AdamW([
        {"params": groups["head"], "lr": 6e-4},
        {"params": groups["norm"], "weight_decay": 0.0},
        {"params": groups["rest"]}], lr=6e-5, weight_decay=0.01, fused=True)
    images = images_of(batch, size, device)
    labels = torch.randint(args.classes, (batch, *size), device=device)
    labels[torch.rand(labels.shape, device=device) < 0.1] = IGNORED
    loss_of = compiled(model.loss, mode)

    def step():
        if "graphs" in mode:
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        with autocast(args, device):
            loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def prediction(args, batch, size, mode, device, cast, no_grad):
    """`cast`: the weights themselves are bf16, instead of being rounded in every call."""
    model = SegNeXt(args.variant, args.classes).to(device, memory_format=torch.channels_last)
    model.eval()
    images = images_of(batch, size, device)
    if cast:
        model, images = model.bfloat16(), images.bfloat16()
    fn = compiled(model.classes_of if args.labels else model.forward, mode)

    def predict():
        if "graphs" in mode:
            torch.compiler.cudagraph_mark_step_begin()
        with no_grad(), contextlib.nullcontext() if cast else autocast(args, device):
            return fn(images)

    return predict


def measure(args, device, work):
    """Median seconds of at least 20 runs, and memory beyond what warming up took for a while."""
    clock = Clock(device)
    clock.times(work, args.warm_up)
    result = {}
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = clock.times(work, args.runs)
    result["seconds"] = statistics.median(seconds)
    result["least_seconds"] = min(seconds)
    if device.type == "cuda":
        result["allocated_bytes"] = torch.cuda.max_memory_allocated()
        result["reserved_bytes"] = torch.cuda.max_memory_reserved()
    return result


def report(entry):
    head = "{kind:<10} {variant} {height}x{width} batch {batch:<3} {precision:<5} {mode:<30}".format(
        **entry)
    if "error" in entry:
        print(f"{head} failed: {entry['error']}", flush=True)
        return
    line = f"{head} {entry['images_per_second']:10.2f} images/s  {entry['seconds'] * 1e3:9.3f} ms"
    if "allocated_bytes" in entry:
        line += "  {:.2f} GiB allocated, {:.2f} GiB reserved".format(
            entry["allocated_bytes"] / 2**30, entry["reserved_bytes"] / 2**30)
    print(line, flush=True)


def measured(args, device, kind, batch, size, mode, makers):
    """The first of `makers` that works: later ones are ways around a fault of PyTorch's."""
    entry = {"kind": kind, "variant": args.variant, "height": size[0], "width": size[1],
             "batch": batch, "classes": args.classes, "precision": args.precision, "mode": mode}
    for maker in makers:
        forget(device)
        entry.pop("error", None)
        try:
            entry.update(measure(args, device, maker()))
            entry["images_per_second"] = batch / entry["seconds"]
            break
        except Exception as fault:  # whatever it is: other measurements may still work
            lines = str(fault).strip().splitlines() or [type(fault).__name__]
            entry["error"] = f"{type(fault).__name__}: {lines[0][:200]}"
            if args.verbose:
                traceback.print_exc()
    report(entry)
    return entry


def modes_of(args, device):
    if args.compile == "off":
        return ["eager"]
    return [m for m in MODES if device.type == "cuda" or "graphs" not in m]


def predictions(args, device, batch, size):
    for mode in modes_of(args, device):
        for cast in (False, True) if args.precision == "bf16" else (False,):
            if not cast and args.precision == "bf16" and mode != "eager":
                continue  # compiled code with rounded weights has less to do in any case
            makers = [lambda guard=guard: prediction(args, batch, size, mode, device, cast, guard)
                      for guard in (torch.inference_mode, torch.no_grad)]
            name = mode + (", bf16 weights" if cast else "")
            yield measured(args, device, "prediction", batch, size, name, makers)


def training(args, device, batch, size):
    for mode in modes_of(args, device):
        yield measured(args, device, "training", batch, size, mode,
                       [lambda: training_step(args, batch, size, mode, device)])


def best_of(entries):
    best = {}
    for e in entries:
        key = (e["kind"], e["batch"], e["height"], e["width"])
        if "seconds" in e and (key not in best or e["seconds"] < best[key]["seconds"]):
            best[key] = e
    return list(best.values())


# --- whether it is the same model: the golden cases, see ../golden/formula.h ---

MASK = (1 << 64) - 1


def hash_name(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def units(name, count):
    def signed(v):
        return v - (1 << 64) if v >= 1 << 63 else v

    def shifted(z, by):  # of the bits, without a sign
        return (z >> by) & ((1 << (64 - by)) - 1)

    z = torch.arange(1, count + 1) * signed(0x9E3779B97F4A7C15) + signed(hash_name(name))
    z = (z ^ shifted(z, 30)) * signed(0xBF58476D1CE4E5B9)
    z = (z ^ shifted(z, 27)) * signed(0x94D049BB133111EB)
    return shifted(z ^ shifted(z, 31), 40).double() / (1 << 24)


def golden_weights(name, shape, layer_scale):
    offset, scale = 0.0, 0.1
    if "layer_scale" in name:
        offset, scale = layer_scale, 0.2 * layer_scale
    elif name.endswith("running_var"):
        offset = 1.0
    elif len(shape) == 4:
        scale = math.sqrt(3.0 / (shape[1] * shape[2] * shape[3]))
    elif name.endswith("weight"):
        offset = 1.0
    return (offset + scale * (2 * units(name, math.prod(shape)) - 1)).reshape(shape)


def golden_error(path):
    case = json.loads(path.read_text())
    if "variant" not in case:
        return None
    torch.manual_seed(0)
    model = SegNeXt(case["variant"], case["num_classes"]).double().eval()
    ours = {n: list(p.shape) for n, p in model.named_parameters()}
    if ours != case["parameters"]:
        sys.exit(f"{path.name}: other parameters: {set(ours) ^ set(case['parameters'])}")
    state = {n: v if n.endswith("tracked") else golden_weights(n, list(v.shape), case.get("layer_scale", 0.5))
             for n, v in model.state_dict().items()}
    model.load_state_dict(state)
    n, rank = case["batch"], model.decode_head.hamburger.ham.rank
    width = VARIANTS[case["variant"]][3]
    model.decode_head.hamburger.ham.bases = F.normalize(
        units("bases", n * width * rank).reshape(n, width, rank), dim=1)
    shape = (n, 3, case["height"], case["width"])
    images = 2 * (2 * units("image", math.prod(shape)) - 1).reshape(shape)
    with torch.inference_mode():
        logits = model(images).contiguous().flatten()
    total, norm, dot = case["eval"]["logits"]["digest"]
    signs = 2 * units("digest:eval.logits", logits.numel()) - 1
    errors = (logits.sum() - total, logits.norm() - norm, logits @ signs - dot)
    return max(float(e.abs().nan_to_num(math.inf)) for e in errors) / norm


def check():
    for variant, (*_, parameters) in VARIANTS.items():
        count = sum(p.numel() for p in SegNeXt(variant, 150).parameters())
        print(f"{variant}: {count} parameters")
        if parameters not in (0, count):
            sys.exit(f"{variant}: {parameters} are right")
    for path in sorted((pathlib.Path(__file__).parent.parent / "golden").glob("*.json")):
        error = golden_error(path)
        if error is None:
            continue
        print(f"{path.name}: logits differ by {error:.1e}")
        if not error < 1e-6:
            sys.exit("another model")


# --- the program ---


def size_of(text):
    parts = [int(p) for p in text.lower().split("x")]
    if len(parts) not in (1, 2) or min(parts) < 32:
        raise argparse.ArgumentTypeError(f"{text}: one number or HxW, at least 32")
    return (parts[0], parts[-1])


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--variant", choices=VARIANTS, default="tiny")
    p.add_argument("--size", type=size_of, help="HxW; without it 512x512, and 768x1536 for --infer")
    p.add_argument("--batch", type=int, help="without it 16 for --train, 1 and 32 for --infer")
    p.add_argument("--classes", type=int, default=150)
    p.add_argument("--train", action="store_true")
    p.add_argument("--infer", action="store_true")
    p.add_argument("--labels", action="store_true", help="predict each pixel's class, not logits")
    p.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="bf16")
    p.add_argument("--compile", choices=("auto", "off"), default="auto")
    p.add_argument("--device", default="cuda")
    p.add_argument("--runs", type=int, default=20, help="of which the median counts")
    p.add_argument("--warm-up", type=int, default=10)
    p.add_argument("--json", type=pathlib.Path)
    p.add_argument("--verbose", action="store_true", help="where a measurement failed")
    p.add_argument("--check", action="store_true", help="whether this is the same model")
    return p.parse_args()


def main():
    args = arguments()
    if args.check:
        check()
        return
    device = torch.device(args.device)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = args.precision != "f32"
    torch.set_float32_matmul_precision("highest" if args.precision == "f32" else "high")
    size = args.size or (512, 512)
    entries = []

    def add(found):
        for entry in found:
            entries.append(entry)
            if args.json:  # so that a run that is cut off leaves what it has
                name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
                args.json.write_text(json.dumps(
                    {"torch": torch.__version__, "device": name, "best": best_of(entries),
                     "measurements": entries}, indent=1))

    both = not args.train and not args.infer
    if args.train or both:
        add(training(args, device, args.batch or 16, size))
    if args.infer or both:
        for batch in [args.batch] if args.batch else [1, 32]:
            add(predictions(args, device, batch, size))
        if args.size is None:
            add(predictions(args, device, args.batch or 1, (768, 1536)))
    if not any("seconds" in e for e in entries):
        sys.exit("no measurement succeeded")


if __name__ == "__main__":
    main()
