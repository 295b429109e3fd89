"""Networks whose inputs to ReLU, ReLU6 and max-pooling keep a distance from the kinks of these functions.

Near a kink, rounding would decide whether a gradient passes, and float32 could not be compared with float64.
"""
import math

from reference_file import F, torch

# Least distance of a value of the reference model, which has many, from a kink, as a fraction of the values' rms.
MODEL_MARGIN = 5e-6
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Margins:
    """The least distance of any input from a kink of its function, as a fraction of the inputs' rms.

    A kink is where ReLU, ReLU6 or max-pooling is not differentiable.
    """

    def __init__(self):
        self.least = math.inf

    def add(self, distances, x):
        if distances.numel():
            self.least = min(self.least, (distances.min() / x.square().mean().sqrt()).item())

    def relu(self, x):
        self.add(x.detach().abs(), x.detach())
        return F.relu(x)

    def relu6(self, x):
        self.add((x.detach() - 6).abs(), x.detach())
        self.add(x.detach().abs(), x.detach())
        return F.relu6(x)

    def max_pool(self, x, kernel, stride, padding):
        n, c, h, w = x.shape
        padded = F.pad(x.detach(), (padding,) * 4, value=-math.inf).reshape(n * c, 1, h + 2 * padding, w + 2 * padding)
        padded = padded.clamp(min=-1e300)
        windows = F.unfold(padded, kernel, stride=stride)
        best = windows.topk(2, dim=1).values
        gaps = best[:, 0] - best[:, 1]
        # Equal values are copies of one value or ReLU's zeros: the gradient does not depend on which of them is chosen.
        self.add(gaps[gaps > 0], x.detach())
        return F.max_pool2d(x, kernel, stride, padding)


class NoMargins(Margins):
    """Does not measure distances."""

    def add(self, distances, x):
        pass

    def max_pool(self, x, kernel, stride, padding):
        return F.max_pool2d(x, kernel, stride, padding)


class Network:
    """Layers of a case or of the reference model, with named parameters, each drawn at random when it is first used."""

    def __init__(self, seed, dtype=None):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype or torch.float64
        self.parameters, self.statistics = {}, {}
        self.training, self.margins = True, Margins()

    def draw(self, name, shape, make):
        if name not in self.parameters:
            value = make(torch.randn(shape, generator=self.generator, dtype=torch.float64)).to(torch.float32)
            self.parameters[name] = value.to(self.dtype).requires_grad_()
        return self.parameters[name]

    def draw_kernel(self, name, channels, inputs, kernel, scale=1.0):
        deviation = scale / math.sqrt(inputs * kernel * kernel)
        return self.draw(name + ".weight", (channels, inputs, kernel, kernel), lambda t: t * deviation)

    def convolution(self, x, name, channels, kernel=3, stride=1, padding=-1, groups=1, bias=False, scale=1.0):
        weight = self.draw_kernel(name, channels, x.shape[1] // groups, kernel, scale)
        offset = self.draw(name + ".bias", (channels,), lambda t: t * 0.3) if bias else None
        return F.conv2d(x, weight, offset, stride, kernel // 2 if padding < 0 else padding, groups=groups)

    def linear(self, x, name, features, bias=True):
        weight = self.draw(name + ".weight", (features, x.shape[1]), lambda t: t / math.sqrt(x.shape[1]))
        return F.linear(x, weight, self.draw(name + ".bias", (features,), lambda t: t * 0.3) if bias else None)

    def coral(self, x, name, classes):
        """CORAL's logits; evaluated, the biases are in descending order."""
        weight = self.draw(name + ".weight", (1, x.shape[1]), lambda t: t / math.sqrt(x.shape[1]))
        bias = self.draw(name + ".bias", (classes - 1,), lambda t: t * 0.3)
        return F.linear(x, weight) + (bias if self.training else bias.sort(descending=True).values)

    def draw_normalisation(self, name, channels):
        weight = self.draw(name + ".weight", (channels,), lambda t: 1 + 0.25 * t.clamp(-2, 2))
        offset = self.draw(name + ".bias", (channels,), lambda t: 0.5 * t)
        if name not in self.statistics:
            mean = (0.3 * torch.randn(channels, generator=self.generator)).to(self.dtype)
            var = (0.5 + torch.rand(channels, generator=self.generator)).to(self.dtype)
            self.statistics[name] = (mean, var)
        return weight, offset

    def draw_unit(self, conv, bn, channels, inputs, kernel):
        self.draw_kernel(conv, channels, inputs, kernel)
        self.draw_normalisation(bn, channels)

    def settle(self, name, outputs, pool):
        """Redraws the rows of a weight for which a value of outputs(rows) is near a kink.

        outputs: returns {batch, rows, height, width}; pool: whether ReLU and 2x2 max-pooling follow.
        """
        weight = self.parameters[name]
        deviation = 1 / math.sqrt(weight[0].numel())
        rows = torch.arange(weight.shape[0])
        while rows.numel():
            y = outputs(rows)
            least = y.abs().amin((0, 2, 3))
            if pool:
                windows = F.relu(y).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).topk(2).values
                gaps = windows[..., 0] - windows[..., 1]
                least = torch.minimum(least, torch.where(gaps > 0, gaps, gaps.max()).amin((0, 2, 3)))
            rows = rows[least <= 1.5 * MODEL_MARGIN * y.square().mean().sqrt()]
            drawn = torch.randn((rows.numel(), *weight.shape[1:]), generator=self.generator) * deviation
            weight.data[rows] = drawn.to(weight.dtype)

    def batch_norm(self, x, name, eps=1e-5, momentum=0.1):
        weight, offset = self.draw_normalisation(name, x.shape[1])
        mean, var = self.statistics[name]
        if self.training:  # the buffers stay as drawn; updated_statistics computes the new ones
            return F.batch_norm(x, None, None, weight, offset, True, 0.0, eps)
        return F.batch_norm(x, mean, var, weight, offset, False, 0.0, eps)

    def updated_statistics(self, x, name, momentum):
        """Running mean and variance after a training step on x."""
        mean, var = self.statistics[name]
        x = x.detach()
        return (mean + momentum * (x.mean((0, 2, 3)) - mean),
                var + momentum * (x.var((0, 2, 3), unbiased=True) - var))


def converted(net, dtype):
    """A copy of the network with its parameters and statistics in the given data type."""
    copy = Network(0, dtype)
    copy.parameters = {k: v.detach().to(dtype).clone().requires_grad_() for k, v in net.parameters.items()}
    copy.statistics = {k: tuple(s.to(dtype).clone() for s in v) for k, v in net.statistics.items()}
    copy.margins = NoMargins()
    return copy


def image_input(pixels, dtype, mean, std):
    """Converts {batch, height, width, 3} bytes to normalised {batch, 3, height, width}."""
    mean, std = (torch.tensor(v, dtype=torch.float32).to(dtype).reshape(1, 3, 1, 1) for v in (mean, std))
    return (pixels.to(dtype).permute(0, 3, 1, 2) / 255 - mean) / std


def weights_of(net):
    tensors = {f"weight.{name}": value for name, value in net.parameters.items()}
    for name, (mean, var) in net.statistics.items():
        tensors[f"weight.{name}.running_mean"] = mean
        tensors[f"weight.{name}.running_var"] = var
    return tensors


def tensors_of(net, pixels, labels, logits, loss, gradients):
    tensors = {"pixels": pixels, "labels": torch.stack(labels), "loss": loss.reshape(1), **weights_of(net)}
    tensors.update({f"logits.{name}": value for name, value in logits.items()})
    tensors.update({f"gradient.{name}": value for name, value in zip(net.parameters, gradients)})
    return tensors
